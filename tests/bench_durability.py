#!/usr/bin/env python3
"""What durability costs: quorate beside redis-server with the same settings, one run.

    tests/bench_durability.py [--runs 5] [--requests 200000] [--keys 1000000] [--quorate PATH] [--redis redis-server]

Needs redis-server and redis-benchmark (Debian: redis-server, redis-tools), python3, two cores. Servers are pinned
to core 0, clients to core 1 (not for snapshots); the servers take turns, and each figure is the median of the runs:

    log        SET with 50 clients: requests a second and server CPU per request, without a log, with everysec, with always
    start      from exec to the first answer that is not -LOADING, with a log of --keys keys that has been compacted
    snapshot   BGREWRITEAOF with --keys keys: resident bytes while it runs beside before, and the longest time that a GET
               every millisecond waited for its answer meanwhile, beside the same without a snapshot; server and probe
               are scheduled before all else on the machine, where that is allowed

Exit code 1 if a bound is missed (everysec costs more than 15 %, always or the start slower than redis-server,
a snapshot that adds 5 % or makes a GET wait 5 ms longer), 2 if something is missing.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from bench_redis import Server, build, check_machine, fill

LOGS = {"none": ["--appendonly", "no"],
        "everysec": ["--appendonly", "yes", "--appendfsync", "everysec"],
        "always": ["--appendonly", "yes", "--appendfsync", "always"]}
GET = b"*2\r\n$3\r\nGET\r\n$16\r\nkey:%012d\r\n"


class Link:
    """A connection for single commands."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request):
        self.socket.sendall(request)
        return self.socket.recv(1 << 20)

    def info(self, field):
        answer = b""
        self.socket.sendall(b"INFO persistence\r\n")
        while not answer.endswith(b"\r\n\r\n") and b"\r\n" + field not in answer:
            answer += self.socket.recv(1 << 16)
        time.sleep(0.01)
        self.socket.setblocking(False)
        try:
            answer += self.socket.recv(1 << 16)
        except BlockingIOError:
            pass
        self.socket.setblocking(True)
        for line in answer.split(b"\r\n"):
            if line.startswith(field + b":"):
                return line.split(b":")[1].decode()
        sys.exit(f"no {field} in INFO persistence")


def sets(server, requests):
    """Requests a second, and server CPU in microseconds per request."""
    cpu, began = server.cpu_seconds(), time.monotonic()
    subprocess.run(
        ["taskset", "-c", "1", "redis-benchmark", "-p", str(server.port), "-c", "50", "-n",
         str(requests), "-t", "set", "-r", "100000", "-q"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)
    taken = time.monotonic() - began
    return requests / taken, (server.cpu_seconds() - cpu) * 1e6 / requests


def measure_log(names, options):
    """By (server, log): a list of (requests a second, CPU per request)."""
    seen = {}
    for _ in range(options.runs):
        for log, flags in LOGS.items():
            requests = options.requests // (4 if log == "always" else 1)
            for name, command in names.items():
                with tempfile.TemporaryDirectory() as directory:
                    server = Server(name, command + flags, directory)
                    seen.setdefault((name, log), []).append(sets(server, requests))
                    server.stop()
    return {key: tuple(statistics.median(column) for column in zip(*runs)) for key, runs in seen.items()}


def wait_for_rewrite(link):
    while link.info(b"aof_rewrite_in_progress") == "1":
        time.sleep(0.05)


def start_seconds(command, directory):
    """From exec to the first answer of a server that has loaded its data."""
    began = time.monotonic()
    server = Server("start", command, directory)
    link = Link(server.port)
    while link.ask(GET % 1).startswith(b"-LOADING"):
        time.sleep(0.005)
    taken = time.monotonic() - began
    server.stop()
    return taken


def measure_start(names, options):
    seen, kept = {}, {}
    with tempfile.TemporaryDirectory() as base:
        for name, command in names.items():
            directory = os.path.join(base, name)
            os.mkdir(directory)
            kept[name] = (command + LOGS["everysec"], directory)
            server = Server(name, *kept[name])
            fill(server, options.keys)
            link = Link(server.port)
            if not link.ask(b"BGREWRITEAOF\r\n").startswith(b"+"):
                sys.exit(f"{name} refuses BGREWRITEAOF")
            wait_for_rewrite(link)
            server.stop()
        for _ in range(options.runs):
            for name in names:
                seen.setdefault(name, []).append(start_seconds(*kept[name]))
    return {name: statistics.median(runs) for name, runs in seen.items()}


def hurry(pid):
    """Other work on the machine does not make the thread wait, where that is allowed."""
    try:
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        print("no real-time scheduling here: waits are longer by what else runs on the machine")


def probe(link, server, until, keys):
    """The longest wait for the answer to a GET, seconds, and the most resident bytes, until `until()` holds."""
    longest, most, number = 0.0, 0, 0
    while True:
        number += 1
        began = time.monotonic()
        link.ask(GET % (number * 7919 % keys))
        longest = max(longest, time.monotonic() - began)
        if number % 20 == 0:
            most = max(most, server.resident_bytes())
            if until():
                return longest, most
        time.sleep(0.001)


def measure_snapshot(names, options):
    """By server: longest wait without and with a snapshot, seconds; resident bytes while it runs by those before."""
    hurry(0)
    seen = {}
    for name, command in names.items():
        with tempfile.TemporaryDirectory() as directory:
            server = Server(name, command + LOGS["everysec"], directory, cores="0,1")
            fill(server, options.keys)
            link, other = Link(server.port), Link(server.port)
            time.sleep(2)
            hurry(server.process.pid)
            for _ in range(options.runs):
                end = time.monotonic() + 2
                calm, _ = probe(link, server, lambda: time.monotonic() > end, options.keys)
                before = server.resident_bytes()
                other.ask(b"BGREWRITEAOF\r\n")
                done = lambda: other.info(b"aof_rewrite_in_progress") == "0"
                longest, most = probe(link, server, done, options.keys)
                seen.setdefault(name, []).append((calm, longest, most / before))
                time.sleep(1)
            server.stop()
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return {name: tuple(statistics.median(column) for column in zip(*runs)) for name, runs in seen.items()}


def main():
    parser = argparse.ArgumentParser(description="quorate beside redis-server: logs, start, snapshots")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200_000, help="per run; a quarter of it with always")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--quorate")
    parser.add_argument("--redis", default="redis-server")
    options = parser.parse_args()
    check_machine(options)
    names = {"quorate": [options.quorate or build(), "server"],
             "redis": [options.redis, "--save", "", "--daemonize", "no"]}
    missed = []

    logs = measure_log(names, options)
    print(f"{'SET, 50 clients':24}{'quorate /s':>12}{'redis /s':>12}{'quorate us':>12}{'redis us':>12}")
    for log in LOGS:
        (ours, our_cpu), (theirs, their_cpu) = logs["quorate", log], logs["redis", log]
        print(f"{log:24}{ours:12.0f}{theirs:12.0f}{our_cpu:12.2f}{their_cpu:12.2f}")
    cost = 1 - logs["quorate", "everysec"][0] / logs["quorate", "none"][0]
    print(f"everysec costs {cost:.1%} of the requests a second")
    if cost > 0.15:
        missed.append("everysec costs more than 15 %")
    if logs["quorate", "always"][0] < logs["redis", "always"][0]:
        missed.append("always is slower than redis-server's")

    start = measure_start(names, options)
    print(f"{'start, seconds':24}{start['quorate']:12.2f}{start['redis']:12.2f}")
    if start["quorate"] > start["redis"]:
        missed.append("the start is slower than redis-server's")

    snapshot = measure_snapshot(names, options)
    for name in names:
        calm, longest, grown = snapshot[name]
        print(f"snapshot, {name:14}longest wait {longest * 1000:.1f} ms (without {calm * 1000:.1f} ms), "
              f"resident {grown - 1:+.1%}")
    calm, longest, grown = snapshot["quorate"]
    if longest - calm > 0.005:
        missed.append("a snapshot makes a GET wait 5 ms longer")
    if grown > 1.05:
        missed.append("a snapshot adds 5 % resident memory")
    for bound in missed:
        print(f"MISSED: {bound}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
