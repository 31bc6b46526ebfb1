"""redis-py against a running server: redis_py.py PORT PORT_WITH_PASSWORD"""

import sys

import redis

port, guarded = int(sys.argv[1]), int(sys.argv[2])

r = redis.Redis(port=port, decode_responses=True)
assert r.ping() is True
assert r.set("name", "grüße") is True
assert r.get("name") == "grüße"
assert r.get("missing") is None
assert r.set("name", "x", nx=True) is None
assert r.set("name", "new", get=True) == "grüße"
assert r.set("volatile", "v", px=100_000) is True
assert 99 <= r.ttl("volatile") <= 100
assert r.persist("volatile") is True and r.ttl("volatile") == -1
assert r.incr("n") == 1 and r.incrby("n", 41) == 42 and r.decr("n") == 41
assert r.mset({"a": 1, "b": 2}) is True
assert r.mget("a", "missing", "b") == ["1", None, "2"]
assert r.append("a", "23") == 3 and r.strlen("a") == 3
assert r.exists("a", "b", "missing") == 2
assert r.delete("a", "b", "missing") == 2
assert sorted(r.scan_iter("*", count=2)) == sorted(r.keys("*")) == ["n", "name", "volatile"]
assert r.type("n") == "string" and r.dbsize() == 3

# Both protocols show the same, in their own shapes.
for protocol in (2, 3):
    p = redis.Redis(port=port, protocol=protocol, client_name=f"test{protocol}")
    assert p.set("bytes", b"\x00\xff\r\n") is True
    assert p.get("bytes") == b"\x00\xff\r\n"
    assert p.client_getname() in (f"test{protocol}", f"test{protocol}".encode())
    settings = p.config_get("maxclients")
    assert {str(k) for k in settings} in ({"maxclients"}, {"b'maxclients'"}), settings
    info = p.info("replication")
    assert info["role"] == "master", info
    assert p.info()["redis_version"].startswith("7."), p.info()
    try:
        p.incr("name")
        raise AssertionError("INCR of a text was accepted")
    except redis.ResponseError as e:
        assert str(e) == "value is not an integer or out of range", e
    try:
        p.execute_command("NO SUCH COMMAND")
        raise AssertionError("an unknown command was accepted")
    except redis.ResponseError as e:
        assert "unknown command" in str(e), e
    p.close()

# A long pipeline without and with a transaction around it.
with r.pipeline(transaction=False) as pipe:
    for i in range(10_000):
        pipe.set(f"p{i}", i)
        pipe.get(f"p{i}")
    answers = pipe.execute()
assert answers[0::2] == [True] * 10_000
assert answers[1::2] == [str(i) for i in range(10_000)]
with r.pipeline(transaction=True) as pipe:
    assert pipe.set("t", 1).incr("t").get("t").execute() == [True, 2, "2"]
with r.pipeline() as pipe:
    pipe.set("t", "text").incr("t").get("t")
    answers = pipe.execute(raise_on_error=False)
    assert answers[0] is True and isinstance(answers[1], redis.ResponseError) and answers[2] == "text"

# WATCH: a change by another client in between makes EXEC fail, and redis-py's loop succeeds.
other = redis.Redis(port=port)
r.set("balance", 100)
attempts = []
def spend(pipe):
    balance = int(pipe.get("balance"))
    if not attempts:
        other.incrby("balance", 1000)
    attempts.append(balance)
    pipe.multi()
    pipe.set("balance", balance - 30)
assert r.transaction(spend, "balance") == [True]
assert attempts == [100, 1100] and r.get("balance") == "1070"
with r.pipeline() as pipe:
    pipe.watch("balance")
    other.set("balance", 5)
    pipe.multi()
    pipe.set("balance", 6)
    try:
        pipe.execute()
        raise AssertionError("EXEC after a change of a watched key")
    except redis.WatchError:
        pass
assert r.get("balance") == "5"
assert r.flushdb() is True and r.dbsize() == 0

# Databases and passwords.
second = redis.Redis(port=port, db=2, decode_responses=True)
second.set("only", "here")
assert r.get("only") is None and second.get("only") == "here"
for protocol in (2, 3):
    try:
        redis.Redis(port=guarded, protocol=protocol).get("a")
        raise AssertionError("served without a password")
    except redis.AuthenticationError:
        pass
    g = redis.Redis(port=guarded, protocol=protocol, password="mypass")
    assert g.set("a", "1") is True and g.get("a") == b"1"
try:
    redis.Redis(port=guarded, password="wrong").ping()
    raise AssertionError("served with a wrong password")
except redis.AuthenticationError:
    pass

print("all held")
