#!/usr/bin/env python3
"""Strong mode beside etcd, three nodes each, one run.

    tests/bench_etcd.py [--runs 5] [--seconds 3] [--records 1000000] [--only SECTION] [--quorate PATH] [--etcd etcd]

Needs etcd and etcdctl (Debian: etcd-server, etcd-client), python3, two cores. Servers are pinned to core 0, the client to
core 1, before all else on the machine where that is allowed; the servers take turns, and each figure is the median of
the runs. The client is the same for both: 50 connections
with one request each, RESP to the master of each key, or gRPC to etcd's leader, which spares etcd a forwarding. What is
counted is the servers' CPU, all three together.

    load       writes and linearizable reads per CPU second of the servers, synced (appendfsync always; etcd as it is) and
               not (appendfsync no; --unsafe-no-fsync); bound: five times etcd's each. And reads per round
    failover   from kill -9 of a master to the first acknowledged write of one of its keys; bound: the heartbeat timeout
               and 200 ms
    migration  p99 of writes while --records records are copied, beside the same at rest; bound: five times
    split      six nodes, three of which stand still: batches that the other three send each other until they serve their
               half of 4096 partitions, beyond heartbeats; bound: 64 for each ordered pair

Exit code 1 if a bound is missed, 2 if something is missing.
"""

import argparse
import atexit
import binascii
import json
import os
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from bench_redis import build, free_port

TICKS = os.sysconf("SC_CLK_TCK")
CLIENTS = 50
KEYS = 10_000
VALUE = b"v" * 64
HEARTBEAT_TIMEOUT_MS = 1500


class Process:
    """A server pinned to core 0."""

    def __init__(self, command, cores="0"):
        command = ["taskset", "-c", cores] + command
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        atexit.register(self.stop)

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


def cpu_seconds(servers):
    return sum(server.cpu_seconds() for server in servers)


# ----- quorate ------------------------------------------------------------------------------------


def slot_of(key):
    return binascii.crc_hqx(key, 0) % 16384


def command(*words):
    text = b"*%d\r\n" % len(words)
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        text += b"$%d\r\n%s\r\n" % (len(word), word)
    return text


class Link:
    """A connection for single commands."""

    def __init__(self, port, timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        self.socket.sendall(command(*words))
        return self.answer()

    def answer(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        if not line:
            raise OSError("closed")
        return int(rest) if kind == b":" else kind + rest

    def close(self):
        self.file.close()
        self.socket.close()


class Quorate:
    """A cluster of strong nodes."""

    def __init__(self, binary, directory, count, policy):
        self.ports = [free_port() for _ in range(count)]
        seeds = sum((["--mesh-seed", "127.0.0.1", str(port)] for port in self.ports), [])
        log = ["--appendonly", "yes", "--appendfsync", policy]
        self.servers = []
        for number, port in enumerate(self.ports):
            home = os.path.join(directory, f"q{number}")
            os.makedirs(home)
            self.servers.append(Process(
                [binary, "server", "--port", str(port), "--dir", home, "--strong-consistency", "yes",
                 "--cluster-name", "bench", "--node-id", f"A{number + 1}", "--rack-id", str(number % 2 + 1)]
                + seeds + log))
        until("the nodes answer", self.answers)
        link = Link(self.ports[0])
        until("all nodes are seen", lambda: link.ask("QUORATE", "ROSTER", "STAGE", "OBSERVED")[:1] != b"-"
              and self.staged(link) == count)
        answer = link.ask("QUORATE", "RECLUSTER")
        if answer[:1] == b"-":
            sys.exit(f"no cluster: {answer}")
        link.close()
        until("all nodes agree who serves what", self.agree)
        time.sleep(1)

    def answers(self):
        try:
            for port in self.ports:
                Link(port).close()
            return True
        except OSError:
            return False

    @staticmethod
    def staged(link):
        rows = link.ask("QUORATE", "ROSTER", "SHOW")
        return rows[rows.index(b"pending") + 1].count(b"@")

    def agree(self):
        views = [self.owners([port]) for port in self.ports]
        return views[0] is not None and all(view == views[0] for view in views)

    def owners(self, ports=None, count=16384):
        """The master's port of each slot; None while fewer than `count` are served."""
        owners = {}
        for port in ports or self.ports:
            try:
                link = Link(port, 2)
                ranges = link.ask("CLUSTER", "SLOTS")
                link.close()
            except OSError:
                continue
            if not isinstance(ranges, list):
                continue
            for first, last, master, *_ in ranges:
                for slot in range(first, last + 1):
                    owners[slot] = int(master[1])
        return owners if len(owners) >= count else None

    def info(self, field, ports=None):
        total = 0
        for port in ports or self.ports:
            link = Link(port)
            lines = link.ask("INFO", "all").split(b"\r\n")
            values = [line.split(b":")[1] for line in lines if line.startswith(field + b":")]
            if not values:
                sys.exit(f"INFO has no {field.decode()}")
            total += int(values[0])
            link.close()
        return total

    def requests(self, kind):
        """Where each request goes, and what it is."""
        owners = self.owners()
        requests = []
        for number in range(KEYS):
            key = b"key:%06d" % number
            text = command("SET", key, VALUE) if kind == "write" else command("GET", key)
            requests.append((owners[slot_of(key)], text))
        return requests

    def stop(self):
        for server in self.servers:
            server.stop()


class RespClient:
    """One request at a time, at the node that serves it."""

    def __init__(self, ports, poll, clients):
        self.sockets = {}
        for port in ports:
            link = socket.create_connection(("127.0.0.1", port), timeout=10)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.setblocking(False)
            self.sockets[port] = link
            poll.register(link, select.EPOLLIN)
            clients[link.fileno()] = (self, link)
        self.have = b""

    def send(self, request):
        self.sockets[request[0]].send(request[1])

    def receive(self, link):
        """True when the answer is complete."""
        self.have += link.recv(65536)
        if self.have[:1] == b"-":
            sys.exit(f"quorate answers {self.have}")
        end = self.have.find(b"\r\n")
        if end < 0:
            return False
        if self.have[:1] == b"$" and self.have[1:2] != b"-":
            end += 2 + int(self.have[1:end])
            if len(self.have) < end + 2:
                return False
        self.have = b""
        return True


# ----- etcd ---------------------------------------------------------------------------------------


class Etcd:
    """A cluster of etcd."""

    def __init__(self, options, directory, policy):
        ports = [(free_port(), free_port()) for _ in range(3)]
        cluster = ",".join(f"e{n}=http://127.0.0.1:{peer}" for n, (_, peer) in enumerate(ports))
        extra = ["--unsafe-no-fsync"] if policy == "no" else []
        self.servers = []
        for number, (port, peer) in enumerate(ports):
            self.servers.append(Process(
                [options.etcd, "--name", f"e{number}", "--data-dir", os.path.join(directory, f"e{number}"),
                 "--listen-client-urls", f"http://127.0.0.1:{port}",
                 "--advertise-client-urls", f"http://127.0.0.1:{port}",
                 "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                 "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                 "--initial-cluster", cluster, "--initial-cluster-state", "new",
                 "--log-level", "error", "--quota-backend-bytes", str(8 << 30)] + extra))
        self.clients = [port for port, _ in ports]
        until("etcd has a leader", self.find_leader)
        self.ports = [self.leader]

    def find_leader(self):
        for port in self.clients:
            asked = subprocess.run(
                ["etcdctl", "--endpoints", f"http://127.0.0.1:{port}", "endpoint", "status", "-w", "json"],
                env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, timeout=30)
            if asked.returncode == 0:
                status = json.loads(asked.stdout)[0]["Status"]
                if status["leader"] and status["leader"] == status["header"]["member_id"]:
                    self.leader = port
                    return True
        return False

    def requests(self, kind):
        requests = []
        for number in range(KEYS):
            key = b"key:%06d" % number
            body = field(1, key) + (field(2, VALUE) if kind == "write" else b"")
            requests.append(("Put" if kind == "write" else "Range", body))
        return requests

    def stop(self):
        for server in self.servers:
            server.stop()


def field(number, data):
    return bytes([number << 3 | 2, len(data)]) + data


def header(first, value):
    return bytes([first, len(value)]) + value


def literal(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def frame(kind, flags, stream, body=b""):
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


class GrpcClient:
    """gRPC over HTTP/2, one request at a time: what etcd's own client sends, without its library."""

    DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8

    def __init__(self, ports, poll, clients):
        self.link = socket.create_connection(("127.0.0.1", ports[0]), timeout=10)
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.link.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(self.SETTINGS, 0, 0)
                          + frame(self.WINDOW, 0, 0, struct.pack(">I", (1 << 30))))
        self.link.setblocking(False)
        poll.register(self.link, select.EPOLLIN)
        clients[self.link.fileno()] = (self, self.link)
        self.stream = -1
        self.have = b""
        self.answered = False
        self.heads = {}
        for method in ["Put", "Range"]:
            path = b"/etcdserverpb.KV/" + method.encode()
            self.heads[method] = (b"\x83\x86" + header(0x04, path) + header(0x01, b"127.0.0.1")
                                  + literal(b"content-type", b"application/grpc") + literal(b"te", b"trailers"))

    def send(self, request):
        method, body = request
        self.stream += 2
        self.answered = False
        message = b"\0" + struct.pack(">I", len(body)) + body
        self.link.send(frame(self.HEADERS, 4, self.stream, self.heads[method])
                       + frame(self.DATA, 1, self.stream, message))

    def receive(self, link):
        self.have += link.recv(65536)
        done = False
        while len(self.have) >= 9:
            length = int.from_bytes(self.have[:3], "big")
            if len(self.have) < 9 + length:
                break
            kind, flags = self.have[3], self.have[4]
            stream = int.from_bytes(self.have[5:9], "big")
            body, self.have = self.have[9:9 + length], self.have[9 + length:]
            if kind in (self.SETTINGS, self.PING) and not flags & 1:
                link.send(frame(kind, 1, 0, body if kind == self.PING else b""))
            elif kind in (self.RESET, self.GOAWAY):
                sys.exit(f"etcd breaks off: frame {kind} {body}")
            elif kind == self.DATA and stream == self.stream:
                self.answered |= length > 5
            elif kind == self.HEADERS and flags & 1 and stream == self.stream:
                # (An error has no message.)
                if not self.answered:
                    sys.exit("etcd answers with an error")
                done = True
        return done


# ----- load ---------------------------------------------------------------------------------------


def load(cluster, kind, seconds):
    """Requests answered, the servers' CPU seconds, and each request's milliseconds, sorted."""
    poll, clients = select.epoll(), {}
    make = RespClient if isinstance(cluster, Quorate) else GrpcClient
    requests = cluster.requests(kind)
    everybody = [make(cluster.ports, poll, clients) for _ in range(CLIENTS)]
    sent, waits, count = {}, [], 0
    before, began = cpu_seconds(cluster.servers), time.monotonic()
    for number, client in enumerate(everybody):
        sent[client] = time.monotonic()
        client.send(requests[number * 7919 % KEYS])
    end = began + seconds
    busy = CLIENTS
    while busy:
        for descriptor, _ in poll.poll(20):
            client, link = clients[descriptor]
            if not client.receive(link):
                continue
            now = time.monotonic()
            waits.append((now - sent[client]) * 1000)
            count += 1
            if now >= end:
                busy -= 1
                continue
            sent[client] = now
            client.send(requests[(count + CLIENTS) * 7919 % KEYS])
        if time.monotonic() > end + 20:
            sys.exit("a request gets no answer")
    cpu = cpu_seconds(cluster.servers) - before
    for _, link in clients.values():
        link.close()
    poll.close()
    return count, cpu, sorted(waits)


def p99(waits):
    return waits[len(waits) * 99 // 100]


def until(what, holds, seconds=60):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(0.02)


class Verdicts:
    def __init__(self):
        self.missed = []

    def say(self, text, holds):
        print(f"{text}  {'ok' if holds else 'MISSED'}", flush=True)
        if not holds:
            self.missed.append(text)


def measure_load(options, verdicts):
    figures, rounds = {}, []
    for _ in range(options.runs):
        for policy in ["always", "no"]:
            for name in ["quorate", "etcd"]:
                with tempfile.TemporaryDirectory(dir=options.dir) as directory:
                    cluster = (Quorate(options.quorate, directory, 3, policy) if name == "quorate"
                               else Etcd(options, directory, policy))
                    for kind in ["write", "read"]:
                        asked = cluster.info(b"rounds_begun") if name == "quorate" else 0
                        count, cpu, waits = load(cluster, kind, options.seconds)
                        figures.setdefault((policy, kind, name), []).append((count / cpu, count / options.seconds,
                                                                             p99(waits)))
                        if name == "quorate" and kind == "read":
                            rounds.append(count / max(1, cluster.info(b"rounds_begun") - asked))
                    cluster.stop()
    for policy, synced in [("always", "synced"), ("no", "not synced")]:
        for kind in ["write", "read"]:
            medians = {}
            for name in ["quorate", "etcd"]:
                runs = figures[policy, kind, name]
                medians[name] = [statistics.median(run[at] for run in runs) for at in range(3)]
                print(f"load: {kind}s, {synced}, {name}: {medians[name][0]:.0f} per CPU second, "
                      f"{medians[name][1]:.0f} per second, p99 {medians[name][2]:.1f} ms", flush=True)
            times = medians["quorate"][0] / medians["etcd"][0]
            verdicts.say(f"load: {kind}s per CPU second, {synced}: {times:.1f} times etcd's, expected 5", times >= 5)
    per_round = statistics.median(rounds)
    verdicts.say(f"load: {per_round:.1f} reads per round, expected more than 2", per_round > 2)


def measure_failover(options, verdicts):
    times = []
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(dir=options.dir) as directory:
            cluster = Quorate(options.quorate, directory, 3, "always")
            load(cluster, "write", 0.5)
            owners = cluster.owners()
            victim = 1
            key = next(key for key in (b"key:%06d" % n for n in range(KEYS))
                       if owners[slot_of(key)] == cluster.ports[victim])
            others = [Link(port, 10) for at, port in enumerate(cluster.ports) if at != victim]
            began = time.monotonic()
            cluster.servers[victim].signal(signal.SIGKILL)
            while not any(link.ask("SET", key, b"after") == b"+OK" for link in others):
                if time.monotonic() > began + 30:
                    sys.exit("nobody takes over")
                time.sleep(0.002)
            times.append((time.monotonic() - began) * 1000)
            cluster.stop()
    bound = HEARTBEAT_TIMEOUT_MS + 200
    time_ms = statistics.median(times)
    verdicts.say(f"failover: {time_ms:.0f} ms ({min(times):.0f} to {max(times):.0f}), at most {bound} expected",
                 time_ms <= bound)


def fill(cluster, records):
    owners = cluster.owners()
    links = {port: Link(port, 120) for port in cluster.ports}
    batch = {port: [] for port in cluster.ports}

    def flush(port):
        links[port].socket.sendall(b"".join(batch[port]))
        answers = links[port].file.read(5 * len(batch[port]))
        if answers != b"+OK\r\n" * len(batch[port]):
            sys.exit(f"quorate answers {answers[:100]}")
        batch[port] = []

    for number in range(records):
        key = b"r:%07d" % number
        port = owners[slot_of(key)]
        batch[port].append(command("SET", key, VALUE))
        if len(batch[port]) == 1000:
            flush(port)
    for port in links:
        flush(port)
        links[port].close()


def measure_migration(options, verdicts):
    """A node is away: the records of its copies are copied to the others. Writes go to what was not its own."""
    quiet, moving, moved = [], [], []
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(dir=options.dir) as directory:
            cluster = Quorate(options.quorate, directory, 3, "no")
            fill(cluster, options.records)
            load(cluster, "write", 1)
            quiet.append(p99(load(cluster, "write", options.seconds)[2]))
            before = records_of(cluster) * 2 / 3
            cluster.servers[2].signal(signal.SIGKILL)
            cluster.servers[2].process.wait()
            ports, servers = cluster.ports, cluster.servers
            cluster.ports, cluster.servers = ports[:2], servers[:2]

            def others_serve():
                owners = cluster.owners()
                return owners is not None and ports[2] not in owners.values()

            until("the others serve all slots", others_serve)
            begun = records_of(cluster) - before
            moving.append(p99(load(cluster, "write", options.seconds)[2]))
            moved.append((begun, records_of(cluster) - before - begun))
            cluster.servers = servers[:2]
            cluster.stop()
    at_rest, meanwhile = statistics.median(quiet), statistics.median(moving)
    copied = statistics.median(during for _, during in moved)
    earlier = statistics.median(begun for begun, _ in moved)
    verdicts.say(f"migration: p99 of writes {meanwhile:.1f} ms while {copied:.0f} records were copied, after {earlier:.0f}, "
                 f"{at_rest:.1f} ms at rest: {meanwhile / at_rest:.1f} times, at most 5 expected",
                 meanwhile <= 5 * at_rest and copied > 0)


def records_of(cluster):
    """Records that the nodes hold, all copies counted."""
    total = 0
    for port in cluster.ports:
        link = Link(port, 60)
        for line in link.ask("INFO", "keyspace").split(b"\r\n"):
            if line.startswith(b"db0:keys="):
                total += int(line[9:].split(b",")[0])
        link.close()
    return total


def measure_split(options, verdicts):
    counts, items = [], []
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(dir=options.dir) as directory:
            cluster = Quorate(options.quorate, directory, 6, "no")
            # Racks take turns, so these are one of them.
            side = cluster.ports[0::2]
            time.sleep(3)
            before = cluster.info(b"mesh_batches_sent", side)
            time.sleep(3)
            beats = (cluster.info(b"mesh_batches_sent", side) - before) / 3
            before = cluster.info(b"mesh_batches_sent", side), cluster.info(b"mesh_items_sent", side)
            began = time.monotonic()
            for server in cluster.servers[1::2]:
                server.signal(signal.SIGSTOP)

            def half_is_served():
                owners = cluster.owners(side, 0)
                return sum(port in side for port in owners.values()) >= 8192 and time.monotonic() > began + 1.6

            until("a half serves its half", half_is_served)
            took = time.monotonic() - began
            batches = cluster.info(b"mesh_batches_sent", side) - before[0] - beats * took
            counts.append(batches / 6)
            items.append((cluster.info(b"mesh_items_sent", side) - before[1]) / 6)
            cluster.stop()
    each = statistics.median(counts)
    verdicts.say(f"split: {each:.0f} batches for each ordered pair beyond heartbeats, with "
                 f"{statistics.median(items):.0f} things said; at most 64 expected", each <= 64)


SECTIONS = {"load": measure_load, "failover": measure_failover, "migration": measure_migration,
            "split": measure_split}


def main():
    parser = argparse.ArgumentParser(description="strong mode beside etcd")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--only", choices=sorted(SECTIONS))
    parser.add_argument("--quorate")
    parser.add_argument("--etcd", default="etcd")
    parser.add_argument("--dir", help="where the servers' files go; the system's directory for such, if not given")
    options = parser.parse_args()
    for tool in [options.etcd, "etcdctl", "taskset"]:
        if shutil.which(tool) is None:
            print(f"{tool} is not installed", file=sys.stderr)
            sys.exit(2)
    if len(os.sched_getaffinity(0)) < 2:
        print("two cores are needed", file=sys.stderr)
        sys.exit(2)
    options.quorate = options.quorate or build()
    # (The servers end with this process.)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    os.sched_setaffinity(0, {1})
    try:
        # (Servers inherit it.)
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    except PermissionError:
        pass
    verdicts = Verdicts()
    for name, measure in SECTIONS.items():
        if options.only in (None, name):
            measure(options, verdicts)
    for text in verdicts.missed:
        print(f"missed: {text}", file=sys.stderr)
    sys.exit(1 if verdicts.missed else 0)


if __name__ == "__main__":
    main()
