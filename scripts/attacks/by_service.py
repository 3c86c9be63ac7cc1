"""Attacks by a service: what it says without an end, and what it answers that is no answer."""

import pathlib
import threading
import time

import http2
from attack import MIB, attack
from home import eventually
from registry import REGISTER, listener, service
from wire import http, post

# How long a call of such a service may take, in seconds; the least that a server needs is added.
DEADLINE = 2


def served(stream, kind):
    """Answers one connection in this way, until it is closed."""
    settings = http2.frame(http2.SETTINGS, 0, 0)
    head = http2.header(":status", "200") + http2.header("content-type", "application/grpc")
    answer = settings + http2.frame(http2.HEADERS, http2.END_HEADERS, 1, head)
    endless = {
        "garbage": b"\0garbage" * 8192,
        "HTTP/1": b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n" + b"x" * 65536,
        "pings": http2.frame(http2.PING, 0, 0, b"12345678") * 4096,
        "settings": settings * 4096,
        "a message without an end": http2.frame(http2.DATA, 0, 1, b"x" * 16384) * 4,
        "messages without an end": http2.frame(http2.DATA, 0, 1, http2.message(b"\x0a\x04Jane") * 1000) * 4,
        "headers without an end": http2.frame(http2.CONTINUATION, 0, 1, http2.header("x", "y" * 8000)) * 8,
    }
    first = {
        "pings": settings,
        "a message without an end": answer + http2.frame(http2.DATA, 0, 1, b"\0\xff\xff\xff\xff"),
        "messages without an end": answer,
        "headers without an end": settings + http2.frame(http2.HEADERS, 0, 1, head),
    }
    try:
        if kind == "silence":
            while stream.recv(1 << 16):
                pass
            return
        # Once the call is there; what comes later of the window is not looked at.
        stream.recv(1 << 16)
        time.sleep(0.1)
        stream.sendall(first.get(kind, b""))
        while True:
            stream.sendall(endless[kind])
    except OSError:
        pass
    finally:
        stream.close()


KINDS = [
    "silence", "garbage", "HTTP/1", "pings", "settings", "a message without an end", "messages without an end",
    "headers without an end",
]  # fmt: skip


@attack(
    "hostile-service", "a service that answers without an end, or nothing, costs nobody but its callers", callers=16
)
def hostile_service(trial):
    state = trial.state
    for number, _kind in enumerate(KINDS):
        address = listener(trial, f"n{number}")
        trial.holds(
            post(state["api"], REGISTER, service(f"hostile{number}", address), trial.token).status == 200,
            "a registration",
        )

    def serve():
        def accept(number, kind):
            while True:
                stream, _ = trial.sockets[number].accept()
                threading.Thread(target=served, args=(stream, kind), daemon=True).start()

        for number, kind in enumerate(KINDS):
            threading.Thread(target=accept, args=(number, kind), daemon=True).start()
        time.sleep(600)

    trial.beside(serve)

    def call(number, kind):
        begun = time.monotonic()
        headers = [("Timeout", str(DEADLINE * 10**9))]
        answer = http_call(state, number, headers)
        trial.holds(answer.status >= 400, f"{kind}: {answer}")
        with http2.Connection(state["proxy"]) as connection:
            try:
                reply = connection.call(f"/hostile{number}.A/Call", b"{}", [("grpc-timeout", f"{DEADLINE}S")])
                trial.holds(reply.status != 0, f"{kind} by gRPC: {reply}")
            except OSError as error:
                trial.holds(False, f"{kind} by gRPC: {error}")
        took = time.monotonic() - begun
        trial.holds(took < 2 * DEADLINE + 10, f"{kind}: two calls of {DEADLINE} s took {took:.1f} s")

    threads = [threading.Thread(target=call, args=pair) for _ in range(trial.times(4, 1)) for pair in enumerate(KINDS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trial.alive()


def http_call(state, number, headers):
    return http(
        state["api"], "POST", f"/hostile{number}/A/Call", [("Content-Type", "application/json"), *headers], b"{}"
    )


@attack("endless-output", "what a service writes without an end fills neither disk nor memory", callers=4)
def endless_output(trial):
    home, logs = trial.home, trial.home.folder / "home/data/logs"
    size = lambda: sum(path.stat().st_size for path in pathlib.Path(logs).rglob("*") if path.is_file())  # noqa: E731
    scripts = {
        "lines": "yes 0123456789",
        "one-line": "tr '\\0' x </dev/zero",
        "bytes": "cat /dev/urandom",
        "errors": "yes >&2",
    }
    for name, script in scripts.items():
        home.ok("run", ".", "--name", name, "--command", f"sh -c '{script}'", "--detach")
    eventually("output", lambda: size() > MIB)
    time.sleep(trial.times(15, 2))
    trial.holds(size() < 4 * 64 * MIB, f"{size() // MIB} MB of logs")
    for name in scripts:
        done = home.micro("logs", name, "--lines", "5", timeout=30)
        trial.holds(done.returncode == 0, f"`logs {name}`: {done.stderr}")
        home.ok("kill", name)
    trial.note(f"{size() // MIB} MB of logs")
