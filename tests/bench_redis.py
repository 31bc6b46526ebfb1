#!/usr/bin/env python3
"""Server CPU per operation and resident bytes per key: quorate beside redis-server, one run.

    tests/bench_redis.py [--runs 5] [--requests 1000000] [--keys 1000000] [--quorate PATH] [--redis redis-server]

Needs redis-server and redis-benchmark (Debian: redis-server, redis-tools), python3, two cores. Both servers
run without persistence, pinned to core 0, redis-benchmark on core 1; the servers take turns. CPU is user plus
system time of the server process (/proc/PID/stat) divided by the number of requests. Without --quorate the
binary is built first. Exit code 1 if quorate needs more than redis-server anywhere, 2 if something is missing.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TICKS = os.sysconf("SC_CLK_TCK")
MEASUREMENTS = [("SET", 1), ("GET", 1), ("SET", 16), ("GET", 16)]


class Server:
    """A server pinned to core 0, or others, with a directory of its own."""

    def __init__(self, name, command, directory, cores="0"):
        self.name = name
        self.port = free_port()
        command = ["taskset", "-c", cores] + command + ["--port", str(self.port), "--dir", directory]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as probe:
                    probe.sendall(b"*1\r\n$4\r\nPING\r\n")
                    if probe.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"{name} does not answer")
            time.sleep(0.005)

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def benchmark(server, command, pipeline, requests):
    """Microseconds of server CPU per request."""
    before = server.cpu_seconds()
    subprocess.run(
        ["taskset", "-c", "1", "redis-benchmark", "-p", str(server.port), "-c", "50", "-n",
         str(requests), "-P", str(pipeline), "-t", command.lower(), "-r", "100000", "-q"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
    return (server.cpu_seconds() - before) * 1e6 / requests


def fill(server, keys):
    """Resident bytes per key of `keys` keys with 16-byte names and 64-byte values."""
    before = server.resident_bytes()
    step = 1000
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        for first in range(0, keys, step):
            count = min(step, keys - first)
            batch = b"".join(
                b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$64\r\n%064d\r\n" % (k, k)
                for k in range(first, first + count))
            link.sendall(batch)
            answer = b""
            while len(answer) < 5 * count:
                answer += link.recv(65536)
            if answer != b"+OK\r\n" * count:
                sys.exit(f"{server.name} refused: {answer[:200]!r}")
    time.sleep(1)
    return (server.resident_bytes() - before) / keys


def build():
    target = os.path.join(ROOT, "target", "real")
    subprocess.run(["cargo", "build", "--release", "-p", "quorate", "--bin", "quorate",
                    "--target-dir", target], check=True, cwd=ROOT)
    return os.path.join(target, "release", "quorate")


def check_machine(options):
    """Ends with code 2 if something is missing."""
    for tool in [options.redis, "redis-benchmark", "taskset"]:
        if shutil.which(tool) is None:
            print(f"{tool} is not installed", file=sys.stderr)
            sys.exit(2)
    if len(os.sched_getaffinity(0)) < 2:
        print("two cores are needed", file=sys.stderr)
        sys.exit(2)


def main():
    parser = argparse.ArgumentParser(description="quorate beside redis-server: CPU and memory")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1_000_000, help="per run; a fifth of it at -P 1")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--quorate")
    parser.add_argument("--redis", default="redis-server")
    options = parser.parse_args()
    check_machine(options)
    ours = [options.quorate or build(), "server", "--appendonly", "no"]
    theirs = [options.redis, "--save", "", "--appendonly", "no"]
    worse = False
    with tempfile.TemporaryDirectory() as directory:

        def start(name, command):
            place = os.path.join(directory, f"{name}-{time.monotonic_ns()}")
            os.mkdir(place)
            return Server(name, command, place)

        version = subprocess.run([options.redis, "--version"], capture_output=True, text=True)
        print(version.stdout.strip())
        print(f"{'':<22}{'quorate':>10}{'redis':>10}{'ratio':>8}   (median of {options.runs})")

        def row(title, our_figures, their_figures, unit):
            nonlocal worse
            our, their = statistics.median(our_figures), statistics.median(their_figures)
            worse |= our > their
            print(f"{title:<22}{our:>10.2f}{their:>10.2f}{our / their:>8.2f}   {unit}", flush=True)

        servers = [start("quorate", ours), start("redis", theirs)]
        for command, pipeline in MEASUREMENTS:
            requests = options.requests if pipeline > 1 else options.requests // 5
            figures = [[], []]
            for server in servers:
                benchmark(server, command, pipeline, requests // 10)
            for _ in range(options.runs):
                for server, list_of_server in zip(servers, figures):
                    list_of_server.append(benchmark(server, command, pipeline, requests))
            row(f"{command} -c 50 -P {pipeline}", *figures, "µs CPU per operation")
        for server in servers:
            server.stop()
        figures = [[], []]
        for (name, command), list_of_server in zip([("quorate", ours), ("redis", theirs)], figures):
            server = start(name, command)
            list_of_server.append(fill(server, options.keys))
            server.stop()
        row("memory", *figures, f"resident bytes per key ({options.keys} keys, 16 + 64 bytes)")
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
