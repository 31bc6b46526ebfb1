"""Unique INCRs by `redis-cli -c`, a process for each: redis_cli.py SECONDS WORKERS HOST:PORT …"""

import subprocess
import sys
import threading
import time

seconds, workers = float(sys.argv[1]), int(sys.argv[2])
addresses = [address.split(":") for address in sys.argv[3:]]
began = time.monotonic()
printing = threading.Lock()


def work(worker):
    host, port = addresses[worker % len(addresses)]
    n = 0
    while time.monotonic() - began < seconds:
        n += 1
        key = f"{worker}:{n}"
        command = ["redis-cli", "-c", "--no-auth-warning", "-a", "p", "-h", host, "-p", port, "INCR", key]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20)
            text = " ".join((done.stdout + done.stderr).split())
        except subprocess.TimeoutExpired:
            text = "timed out"
        with printing:
            ms = int((time.monotonic() - began) * 1000)
            print(ms, key, "ok" if text.isdigit() else "error", text, sep="\t", flush=True)


threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
