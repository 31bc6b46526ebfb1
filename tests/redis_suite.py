#!/usr/bin/env python3
"""Redis's own tests of its commands, run against redis-server and against Quorate.

    tests/redis_suite.py [--quorate PATH] [--redis-server PATH] [--source DIR] [UNIT …]

UNITs are names of Redis's suite, such as unit/type/hash, the default. What passes with redis-server has to pass with Quorate,
but for the exceptions below, each of which has its reason. Both servers are started anew for each unit.

The suite is that of Debian's source package of redis, in the version of the redis-server beside it; it is fetched from where this
machine has its packages from, or taken from --source, an unpacked one. Needs tclsh and redis-server (Debian: tcl, redis-server),
and dpkg-dev to fetch.

Exit code 1 if a test passes with redis-server only and is no exception, 2 if something is missing.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from bench_redis import build, free_port

UNITS = ["unit/type/hash"]
TAGS = "-slow -needs:repl -needs:debug"
TIMEOUT_S = 900
# Unit and test, without what differs from run to run: why it does not pass.
ORDER = "wants the fields in the order in which they were written, which is not kept"
EXCEPTIONS = {
    ("unit/type/hash", "Hash ziplist of various encodings"): ORDER,
    ("unit/type/hash", "Hash ziplist of various encodings - sanitize dump"): ORDER,
}


def missing(what):
    print(what, file=sys.stderr)
    sys.exit(2)


def fetch(into):
    """Unpacks the source package, from where the binary packages come from."""
    listed = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    targets = sorted(set(subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\n")))
    sources = into / "sources.list"
    lines = [f"deb-src {target}\n" for target in targets if len(target.split()) == 3]
    sources.write_text("".join(lines))
    for name in ["lists/partial", "cache/archives/partial"]:
        (into / name).mkdir(parents=True)
    options = [f"Dir::Etc::sourcelist={sources}", "Dir::Etc::sourceparts=-", f"Dir::State::lists={into}/lists"]
    options += [f"Dir::Cache={into}/cache", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-qq"] + [word for option in options for word in ["-o", option]]
    subprocess.run(apt + ["update"], cwd=into)
    if subprocess.run(apt + ["source", "redis"], cwd=into, stdout=subprocess.DEVNULL).returncode != 0:
        missing("the source package of redis cannot be fetched: see --source")
    return next(path for path in into.iterdir() if (path / "runtest").is_file())


def run(unit, source, command):
    """What became of each test of a unit, by name."""
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        server = subprocess.Popen(command(port, data), stdout=subprocess.DEVNULL, cwd=data)
        try:
            wait_for(port)
            suite = ["./runtest", "--host", "127.0.0.1", "--port", str(port), "--tags", TAGS, "--single", unit]
            found = subprocess.run(suite, cwd=source, capture_output=True, text=True, timeout=TIMEOUT_S)
        finally:
            server.kill()
            server.wait()
    text = re.sub(r"\x1b\[[0-9;]*m", "", found.stdout)
    results = {}
    for state, name in re.findall(r"^\[(ok|err|exception)\]: (.*)$", text, re.MULTILINE):
        name = re.sub(r" \(\d+ ms\)$", "", name)
        name = re.sub(r" in tests/.*$", "", name)
        results[name] = state if results.get(name, "ok") == "ok" else results[name]
    ended = "\\o/ All tests passed" in text or "!!! WARNING" in text
    return results, ended, text


def wait_for(port):
    import socket

    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    missing("a server does not answer")


def main():
    parser = argparse.ArgumentParser(description="Redis's own tests against Quorate")
    parser.add_argument("--quorate")
    parser.add_argument("--redis-server", default="redis-server")
    parser.add_argument("--source", type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true", help="what the suite says of Quorate")
    parser.add_argument("units", nargs="*", default=UNITS)
    options = parser.parse_args()
    for tool in ["tclsh", options.redis_server]:
        if shutil.which(tool) is None:
            missing(f"{tool} is not installed")
    quorate = os.path.abspath(options.quorate or build())
    servers = {
        "redis-server": lambda port, data: [options.redis_server, "--port", str(port), "--dir", data, "--save", ""],
        "quorate": lambda port, data: [quorate, "server", "--port", str(port), "--dir", data],
    }
    failed = False
    with tempfile.TemporaryDirectory() as into:
        source = options.source or fetch(pathlib.Path(into))
        for unit in options.units:
            told = {}
            for name, command in servers.items():
                results, ended, text = run(unit, source, command)
                told[name] = {test for test, state in results.items() if state == "ok"}
                print(f"{unit}, {name}: {len(told[name])} of {len(results)} passed" + ("" if ended else ", BROKEN OFF"))
                if options.verbose and name == "quorate":
                    print(text)
            for test in sorted(told["redis-server"] - told["quorate"]):
                why = EXCEPTIONS.get((unit, test))
                failed |= why is None
                print(f"  {test}: {why or 'passes with redis-server only'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
