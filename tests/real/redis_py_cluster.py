"""redis-py's cluster client against a running cluster: redis_py_cluster.py PORT"""

import sys

import redis
from redis.cluster import RedisCluster

port = int(sys.argv[1])

r = RedisCluster(host="127.0.0.1", port=port, decode_responses=True)
assert len(r.get_nodes()) == 6, r.get_nodes()
for i in range(500):
    assert r.set(f"py:{i}", f"v{i}") is True
assert [r.get(f"py:{i}") for i in range(500)] == [f"v{i}" for i in range(500)]
assert r.incr("{tag}:n") == 1 and r.incrby("{tag}:n", 41) == 42
assert r.set("{tag}:a", "1", nx=True) is True and r.set("{tag}:a", "2", nx=True) is None
assert r.delete("{tag}:a") == 1 and r.get("{tag}:a") is None
try:
    r.incr("py:1")
    raise AssertionError("INCR of a text was accepted")
except redis.ResponseError as e:
    assert str(e) == "value is not an integer or out of range", e
r.close()

print("all held")
