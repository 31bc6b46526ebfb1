"""Cluster clients during a split of a strong cluster, and after it: unique INCRs, each looked at in the end.

    run.py [--binary FILE] [--node-modules DIR] [--place middle|left] [--cut split|kill|pause] [CLIENT …]

As root on Linux: six servers on two racks and the client's program, each in a network namespace of its own; between the
racks nothing passes for a while (iptables). The client reaches all servers (`middle`), or only those of one rack (`left`).
Instead of a split a server may be killed and started again, or paused. Every key is incremented once, and what the client's
program was told is compared with what the key is in the end:

    told                  the key must be
    1                     1
    an error              0; with INDOUBT, a closed connection or a time-out of the client's own: 0 or 1

An increment that was applied twice, or in spite of a definite error, is printed, and makes the exit code 1. (A library that
sends a command again after its connection has broken does that by itself: redis-py and ioredis do when a server is killed.)
CLIENTs are the programs beside this file: redis_py, redis_cli, ioredis, node_redis, valkey_glide; all, if none is named. They
need redis from PyPI, redis-cli, and ioredis, redis and @valkey/valkey-glide from npm in DIR.
"""

import argparse
import collections
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
NET = "10.77.0"
LEFT, RIGHT = [1, 2, 3], [4, 5, 6]
CLIENT = 9
CLIENTS = ["redis_py", "redis_cli", "ioredis", "node_redis", "valkey_glide"]
# Seconds: until the fault, of the fault, afterwards.
BEFORE, DURING, AFTER = 4, 8, 8
WORKERS = 12


def sh(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Network:
    """A namespace for each host, joined by a bridge in one more."""

    def __init__(self):
        self.prefix = f"qcc{os.getpid()}"
        self.made = []

    def build(self):
        self.make(0)
        self.inside(0, "ip", "link", "add", "br0", "type", "bridge")
        self.inside(0, "ip", "link", "set", "br0", "up")
        for host in LEFT + RIGHT + [CLIENT]:
            self.make(host)
            names = [f"{self.prefix}a{host}", f"{self.prefix}b{host}"]
            sh("ip", "link", "add", names[0], "type", "veth", "peer", "name", names[1])
            sh("ip", "link", "set", names[0], "netns", self.name(host))
            sh("ip", "link", "set", names[1], "netns", self.name(0))
            self.inside(host, "ip", "link", "set", names[0], "name", "eth0")
            self.inside(host, "ip", "addr", "add", f"{NET}.{host}/24", "dev", "eth0")
            self.inside(host, "ip", "link", "set", "eth0", "up")
            self.inside(0, "ip", "link", "set", names[1], "master", "br0", "up")

    def name(self, host):
        return f"{self.prefix}-{host}"

    def make(self, host):
        self.made.append(self.name(host))
        sh("ip", "netns", "add", self.name(host))
        self.inside(host, "ip", "link", "set", "lo", "up")

    def inside(self, host, *words):
        return sh("ip", "netns", "exec", self.name(host), *words)

    def cut(self, hosts, others):
        """Nothing passes between these hosts and the others, in either direction."""
        for host in hosts:
            for other in others:
                self.inside(host, "iptables", "-A", "INPUT", "-s", f"{NET}.{other}", "-j", "DROP")
                self.inside(host, "iptables", "-A", "OUTPUT", "-d", f"{NET}.{other}", "-j", "DROP")

    def heal(self):
        for host in LEFT + RIGHT + [CLIENT]:
            self.inside(host, "iptables", "-F")

    def remove(self):
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Cluster:
    def __init__(self, network, binary, directory):
        self.network, self.binary, self.directory = network, binary, directory
        self.nodes = {}

    def found(self):
        for host in LEFT + RIGHT:
            self.nodes[host] = self.start(host)
        first = self.admin("show roster")
        while not all(f"A{host}@" in first for host in LEFT + RIGHT):
            time.sleep(0.1)
            first = self.admin("show roster")
        self.admin("manage roster stage nodes " + " ".join(f"A{h}@{rack(h)}" for h in LEFT + RIGHT))
        self.admin("manage recluster")
        self.await_balance()

    def start(self, host):
        directory = self.directory / str(host)
        directory.mkdir(exist_ok=True)
        flags = ["--strong-consistency", "yes", "--cluster-name", "clients", "--node-id", f"A{host}"]
        flags += ["--rack-id", str(rack(host)), "--requirepass", "p", "--masterauth", "p"]
        for seed in (1, 4):
            flags += ["--mesh-seed", f"{NET}.{seed}", "6379"] if seed != host else []
        command = ["ip", "netns", "exec", self.network.name(host), self.binary, "server", *flags]
        log = open(directory / "log", "ab")
        # (`ip netns exec` becomes the server.)
        return subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def admin(self, words):
        command = ["ip", "netns", "exec", self.network.name(CLIENT), self.binary, "admin", "-h", f"{NET}.1", "-a", "p"]
        done = subprocess.run([*command, *words.split()], capture_output=True, text=True)
        return done.stdout + done.stderr

    def await_balance(self):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            rows = re.findall(r"\|A\d.*\| *(\d+)\| *(\d+)\| *0\| *0", self.admin("show pmap"))
            primary, secondary = [[int(row[at]) for row in rows] for at in (0, 1)]
            if len(rows) == 6 and sum(primary) == sum(secondary) == 4096 and set(primary) <= {682, 683}:
                return
            time.sleep(0.1)
        raise RuntimeError("not balanced within 60 s:\n" + self.admin("show pmap"))

    def signal(self, host, number):
        self.nodes[host].send_signal(number)

    def stop(self):
        for node in self.nodes.values():
            node.kill()
            node.wait()


def rack(host):
    return 1 if host in LEFT else 2


# Nothing is known of the command's fate, or the client's library may have sent it before.
UNKNOWN = re.compile("INDOUBT|[Tt]imed? ?out|closed|reset|Broken pipe|ECONN|[Dd]isconnect|ConnectionError|I/O error|Error: $")


def play(client, arguments, network, cluster):
    addresses = [f"{NET}.{host}:6379" for host in (LEFT if arguments.place == "left" else LEFT + RIGHT)]
    seconds = BEFORE + DURING + AFTER
    file = next(HERE / f"{client}{end}" for end in (".py", ".js") if (HERE / f"{client}{end}").exists())
    interpreter = sys.executable if file.suffix == ".py" else "node"
    command = ["ip", "netns", "exec", network.name(CLIENT), interpreter, str(file), str(seconds), str(WORKERS)]
    environment = os.environ | {"NODE_PATH": arguments.node_modules or ""}
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as complaints:
        program = subprocess.Popen([*command, *addresses], stdout=told, stderr=complaints, env=environment)
        try:
            time.sleep(BEFORE)
            if arguments.cut == "split":
                network.cut(LEFT + ([CLIENT] if arguments.place == "left" else []), RIGHT)
            else:
                cluster.signal(6, signal.SIGKILL if arguments.cut == "kill" else signal.SIGSTOP)
            time.sleep(DURING)
            network.heal()
            if arguments.cut == "kill":
                cluster.nodes[6].wait()
                cluster.nodes[6] = cluster.start(6)
            elif arguments.cut == "pause":
                cluster.signal(6, signal.SIGCONT)
            program.wait(AFTER + 60)
        except subprocess.TimeoutExpired:
            print(f"{client}: still running a minute after its time; killed")
        finally:
            program.kill()
            program.wait()
        told.seek(0)
        complaints.seek(0)
        lines = [line.split("\t", 3) for line in told.read().splitlines()]
        # (valkey-glide logs to standard output.)
        others = [line[0] for line in lines if len(line) != 4]
        complaint = "\n".join([*others, complaints.read()]).strip()
    cluster.await_balance()
    return [line for line in lines if len(line) == 4], program.returncode, complaint


def judge(client, told, code, complaint, network):
    """Prints what was told and what is there; how many promises were broken."""
    reader = ["ip", "netns", "exec", network.name(CLIENT), sys.executable, str(HERE / "read.py"), f"{NET}.1"]
    keys = "".join(f"{key}\n" for _, key, _, _ in told)
    values = subprocess.run(reader, input=keys, capture_output=True, text=True, check=True).stdout.splitlines()
    kinds, wrong, phases = collections.Counter(), [], collections.Counter()
    waits, latest = {"ok": 0, "error": 0}, {}
    for (ms, key, outcome, text), value in zip(told, map(int, values), strict=True):
        phase = "before" if int(ms) < BEFORE * 1000 else "during" if int(ms) < (BEFORE + DURING) * 1000 else "after"
        if outcome == "ok":
            kind, right = f"ok {text}, applied {value} times", value == 1 and text == "1"
        elif UNKNOWN.search(text):
            kind, right = f"unknown ({words(text)}), applied {value} times", value in (0, 1)
        else:
            kind, right = f"refused ({words(text)}), applied {value} times", value == 0
        kinds[kind] += 1
        phases[phase, outcome] += 1
        worker = key.split(":")[0]
        waits[outcome] = max(waits[outcome], int(ms) - latest.get(worker, 0))
        latest[worker] = int(ms)
        if not right:
            wrong.append(f"{ms} ms: {key}: told {text!r}, and it is {value}")
    print(f"\n{client}: {len(told)} increments, exit code {code}")
    print("  " + ", ".join(f"{phase} {outcome}: {count}" for (phase, outcome), count in phases.items()))
    print(f"  the longest wait for a success: {waits['ok']} ms, for an error: {waits['error']} ms")
    for kind, count in kinds.most_common():
        print(f"  {count:7} {kind}")
    if complaint:
        print("  it complains: " + complaint[-400:].replace("\n", "\n    "))
    for line in wrong[:10]:
        print(f"  NOT AS TOLD: {line}")
    return len(wrong)


def words(text):
    """An error without what differs from one to the next."""
    return re.sub(r"\d+", "N", text)[:100]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--binary", default=str(HERE.parents[1] / "target/release/quorate"))
    parser.add_argument("--node-modules")
    parser.add_argument("--place", choices=["middle", "left"], default="middle")
    parser.add_argument("--cut", choices=["split", "kill", "pause"], default="split")
    parser.add_argument("clients", nargs="*", metavar="CLIENT")
    arguments = parser.parse_args()
    unknown = set(arguments.clients) - set(CLIENTS)
    if unknown:
        parser.error(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    binary = os.path.abspath(arguments.binary)
    # Servers and namespaces go in any case.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wrong = 0
    for client in arguments.clients or CLIENTS:
        with tempfile.TemporaryDirectory() as directory:
            network = Network()
            cluster = Cluster(network, binary, pathlib.Path(directory))
            try:
                network.build()
                cluster.found()
                told, code, complaint = play(client, arguments, network, cluster)
                wrong += judge(client, told, code, complaint, network)
            finally:
                cluster.stop()
                network.remove()
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
