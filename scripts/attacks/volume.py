"""Messages that are large, become large, or never end."""

import contextlib
import gzip
import json
import os
import threading
import time

import http2
from attack import MIB, attack, nofile
from wire import Answer, bearer, connect, field, head, http, post

MOST = 16 * MIB
REFUSED = (0, 400, 401, 403, 404, 413, 415, 431, 501, 503)


def repeated(piece, bytes_=MOST - 64):
    """A message of one piece again and again."""
    return piece * (bytes_ // len(piece))


def amplifiers():
    """Messages of many small parts: the path, whether they are JSON, and the message."""
    register, batch = "/registry/Registry/Register", "/store/Store/Batch"
    yield register, False, repeated(b"\x22\x00")
    yield register, False, repeated(b"\x2a\x00")
    yield register, False, repeated(b"\x1a\x00")
    yield batch, False, repeated(b"\x0a\x00")
    yield "/store/Store/Write", False, field(1, field(1, "k") + repeated(b"\x22\x00"))
    yield "/broker/Broker/Publish", False, field(2, repeated(b"\x0a\x00"))
    yield "/events/Stream/Publish", False, repeated(b"\x12\x00")
    yield "/runtime/Runtime/Create", False, field(2, repeated(b"\x0a\x00"))
    yield "/auth/Auth/Generate", False, repeated(b"\x22\x00")
    nested = b""
    for _ in range(5000):
        nested = field(3, nested)
    yield register, False, field(4, field(2, nested))
    yield "/store/Store/Read", False, repeated(field(100, b""))
    objects = b'{"x":[' + repeated(b'{"":0},', MOST - 128) + b"{}]}"
    for path in (register, batch, "/helloworld/Helloworld/Call", "/none/Nothing/Call"):
        yield path, True, objects
    yield batch, True, b'{"changes":[' + repeated(b"{},", MOST - 128) + b"{}]}"
    yield "/store/Store/Write", True, b'{"record":{"metadata":{' + many_entries() + b"}}}"
    yield "/helloworld/Helloworld/Call", True, b"[" * (MOST - 64)
    yield "/helloworld/Helloworld/Call", True, b'{"name":' * (MIB)
    yield "/config/Config/Set", True, b'{"path":"a","value":{"data":"' + b"[" * MIB + b'"}}'


def other_forms():
    """What becomes large in another way: forms, queries, and what is compressed."""
    form = "application/x-www-form-urlencoded"
    for path in ("/helloworld/Helloworld/Call", "/store/Store/Batch", "/none/Nothing/Call"):
        yield path, [("Content-Type", form)], repeated(b"a=&")
        yield path, [("Content-Type", form)], repeated(b"&")
        yield path + "?" + "a=&" * 20_000, [], b""
        yield path + "?" + "a." * 10_000 + "a=1", [], b""
        yield path + "?" + "a[0]" * 5_000 + "=1", [], b""
    zeros = gzip.compress(bytes(64 * MIB))
    for name in ("Content-Encoding", "Transfer-Encoding", "Grpc-Encoding"):
        yield "/helloworld/Helloworld/Call", [("Content-Type", "application/json"), (name, "gzip")], zeros


def many_entries():
    return b",".join(b'"%x":{}' % number for number in range(1_200_000))


@attack(
    "empty-elements",
    "a message becomes no more than 8 times its size, and nothing before its caller is known",
    callers=4,
)
def empty_elements(trial):
    trial.run_service()
    state, messages = trial.state, list(amplifiers())
    # A part of them in the short tier: each is large, and takes its time to be made.
    for path, is_json, body in messages[:: trial.times(1, 3)]:
        for token in (None, trial.token):
            form = "application/json" if is_json else "application/protobuf"
            answer = post(state["api"], path, body, token, form)
            anonymous = token is None and not path.startswith(("/helloworld", "/none", "/broker", "/events"))
            allowed = (0, 401) if anonymous else REFUSED
            trial.holds(
                answer.status in allowed, f"{path} {body[:12]!r} {'anonymous' if not token else 'admin'}: {answer}"
            )
            if trial.short and len(body) > MIB:
                continue
            for door in ("proxy", "network"):
                with http2.Connection(state[door]) as connection:
                    form = f"application/grpc+{'json' if is_json else 'proto'}"
                    headers = [("authorization", f"Bearer {token}")] if token else []
                    reply = connection.call(path[0] + grpc_path(path), body, headers, form)
                    trial.holds(reply.code != 200 or not anonymous, f"{door} {path} {body[:12]!r}: {reply}")
    for path, headers, body in list(other_forms())[:: trial.times(1, 4)]:
        answer = http(state["api"], "POST", path, headers, body)
        trial.holds(answer.status in (0, 200, *REFUSED, 414), f"{path[:40]} {headers} {body[:12]!r}: {answer}")
    for door in ("proxy", "network"):
        with http2.Connection(state[door]) as connection:
            squeezed = gzip.compress(bytes(trial.times(64, 17) * MIB))
            body = b"\1" + len(squeezed).to_bytes(4, "big") + squeezed
            for path in ("/auth.Auth/Token", "/store.Store/Write", "/helloworld.Helloworld/Call"):
                headers = [("grpc-encoding", "gzip"), ("authorization", f"Bearer {trial.token}")]
                stream = connection.start(path, headers, body, "application/grpc")
                reply = connection.finish(stream)
                trial.holds(reply.code != 200, f"a compressed message at {door}: {reply}")
    trial.alive()


def grpc_path(path):
    """The path of gRPC for one of the HTTP API: `registry.Registry/Register`."""
    block, handler, method = path.strip("/").split("/")
    return f"{block}.{handler}/{method}"


@attack("many-at-once", "large messages of many callers have a budget together", callers=60)
def many_at_once(trial):
    state, number = trial.state, trial.times(60, 12)
    body = json.dumps({"record": {"key": "k", "value": "A" * (11 * MIB)}}).encode()

    def write(token, path, results):
        results.append(post(state["api"], path, body, token).status)

    for path, token in (("/store/Store/Write", trial.token), ("/none/Nothing/Call", None)):
        results = []
        threads = [threading.Thread(target=write, args=(token, path, results)) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        trial.holds(set(results) <= {0, 200, 404, 413, 503}, f"{path}: {sorted(set(results))}")
    trial.holds(post(state["api"], "/store/Store/Write", body, trial.token).status == 200, "one alone is refused")


@attack("unfinished-messages", "who sends a part of a message and stops is ended; the others go on", callers=60)
def unfinished_messages(trial):
    state, number, token = trial.state, trial.times(60, 8), trial.token

    def by_http(path, credentials):
        streams = []
        for _ in range(number):
            stream = connect(state["api"], timeout=60)
            headers = [("Content-Type", "application/json"), ("Timeout", "3600000000000"), *bearer(credentials)]
            stream.settimeout(3)
            with contextlib.suppress(OSError):
                stream.sendall(head("POST", path, state["api"], headers, MOST - 1) + b"x" * trial.times(MOST - 2, MIB))
            stream.settimeout(60)
            streams.append(stream)
        return streams

    def by_grpc(door, path, credentials):
        connections = []
        for _ in range(trial.times(6, 2)):
            connection = http2.Connection(state[door], timeout=3)
            headers = [("authorization", f"Bearer {credentials}")] if credentials else []
            headers += [("grpc-timeout", "1H")]
            try:
                for _ in range(number // 2):
                    stream = connection.start(path, headers, end=False)
                    connection.write(stream, b"\0\0\xff\xff\xff" + b"x" * trial.times(MOST // 8, 65536))
            except OSError:
                pass
            connections.append(connection)
        return connections

    def hold():
        nofile()
        begun = time.monotonic()
        held = by_http("/store/Store/Write", token) + by_http("/none/Nothing/Call", None)
        grpc = by_grpc("proxy", "/store.Store/Write", token) + by_grpc("network", "/none.Nothing/Call", None)
        open_ = [stream for stream in held if not ended(stream, begun + 45)]
        open_ += [
            connection for connection in grpc if not connection.ends_within(max(begun + 45 - time.monotonic(), 1))
        ]
        return len(open_), time.monotonic() - begun

    holder = trial.beside(hold, as_stranger=os.geteuid() == 0)
    left, took = holder.result(150)
    trial.holds(left == 0, f"{left} are still held after {took:.0f} s")
    trial.alive()


def ended(stream, deadline):
    """Whether an answer or the end of the connection comes before this moment."""
    stream.settimeout(max(deadline - time.monotonic(), 0.1))
    try:
        stream.recv(1 << 16)
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@attack("dripping-messages", "who sends a byte a second holds nothing for long", callers=16)
def dripping_messages(trial):
    state = trial.state

    def drip():
        stream = connect(state["api"])
        headers = [("Content-Type", "application/json"), *bearer(trial.token)]
        stream.sendall(head("POST", "/store/Store/Write", state["api"], headers, MOST) + b" " * 70_000)
        begun = time.monotonic()
        try:
            while time.monotonic() - begun < 40:
                stream.sendall(b" ")
                stream.settimeout(0.5)
                try:
                    return Answer(stream.recv(1 << 16)).status
                except TimeoutError:
                    continue
        except OSError:
            return 0
        return "taken for 40 s"

    drips = [trial.beside(drip) for _ in range(trial.times(16, 3))]
    for one in drips:
        status = one.result(60)
        trial.holds(status in (0, 408), f"a message of one byte a second: {status}")


@attack(
    "memory-after-a-burst", "after logins, connections and large messages memory comes back", callers=16, returns=True
)
def memory_after_a_burst(trial):
    state = trial.state
    login = json.dumps({"id": "admin", "secret": "micro"}).encode()
    for _ in range(20):
        post(state["api"], "/auth/Auth/Token", login)
    body = json.dumps({"record": {"key": "k", "value": "A" * (11 * MIB)}}).encode()
    for _ in range(trial.times(20, 2)):
        trial.holds(post(state["api"], "/store/Store/Write", body, trial.token).status == 200, "a write of 8 MiB")
    nofile()
    streams = []
    for _ in range(trial.times(9000, 300)):
        stream = connect(state["api"])
        stream.sendall(head("GET", "/", state["api"]))
        streams.append(stream)
    for stream in streams:
        stream.recv(1 << 16)
        stream.close()

