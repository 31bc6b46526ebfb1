"""Unique INCRs by redis-py's cluster client: redis_py.py SECONDS WORKERS HOST:PORT …"""

import sys
import threading
import time

from redis.cluster import ClusterNode, RedisCluster

seconds, workers = float(sys.argv[1]), int(sys.argv[2])
nodes = [ClusterNode(*address.split(":")) for address in sys.argv[3:]]
began = time.monotonic()
# Longer than the server's write-timeout-ms, or the client would send again what is only not yet decided.
client = RedisCluster(startup_nodes=nodes, password="p", socket_timeout=10, socket_connect_timeout=1)
printing = threading.Lock()


def work(worker):
    n = 0
    while time.monotonic() - began < seconds:
        n += 1
        key = f"{worker}:{n}"
        try:
            outcome = ("ok", client.incr(key))
        except Exception as error:
            outcome = ("error", f"{type(error).__name__}: {error}")
        with printing:
            ms = int((time.monotonic() - began) * 1000)
            print(ms, key, *outcome, sep="\t", flush=True)
        time.sleep(0.005)


threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
