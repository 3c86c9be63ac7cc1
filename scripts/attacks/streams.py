"""Attacks with streams: snapshots that nobody reads, floods of frames."""

import struct
import time

import http2
from attack import MIB, attack
from wire import post


def threads(pid):
    """How many threads a process has."""
    with open(f"/proc/{pid}/status") as status:
        return int(next(line.split()[1] for line in status if line.startswith("Threads:")))


@attack("stalled-snapshot", "a snapshot that nobody reads ends, and stops neither checkpoints nor others", callers=60)
def stalled_snapshot(trial):
    state, token = trial.state, trial.token
    record = {"record": {"key": "k", "value": "A" * MIB}}
    for number in range(trial.times(60, 4)):
        record["record"]["key"] = f"k{number}"
        trial.holds(post(state["api"], "/store/Store/Write", record, token).status == 200, "a write")
    headers, held = [("authorization", f"Bearer {token}")], []
    before = threads(trial.server.pid)
    for index in range(trial.times(60, 8)):
        connection = http2.Connection(state[("proxy", "network")[index % 2]], window=trial.times(65535, 16384))
        connection.start("/store.Store/Snapshot", headers, http2.message(b""), "application/grpc+proto")
        held.append(connection)
    written, most = trial.times(400, 12), 0
    wal = trial.home.folder / "home/data/server/micro.db-wal"
    for number in range(written):
        record["record"]["key"] = f"k{number % 8}"
        trial.holds(post(state["api"], "/store/Store/Write", record, token).status == 200, "a write beside a snapshot")
        most = max(most, wal.stat().st_size)
    more = threads(trial.server.pid) - before
    trial.holds(more < 16, f"{more} threads more")
    if not trial.short:
        trial.holds(most < 128 * MIB, f"a log of {most // MIB} MB before the database")
    trial.note(f"{most // MIB} MB of write-ahead log, {more} threads more")
    for connection in held:
        connection.close()


@attack("frame-floods", "floods of frames of HTTP/2 end the connection that sends them", callers=16)
def frame_floods(trial):
    state, times = trial.state, trial.times(200_000, 10_000)
    fields = [(":method", "POST"), (":scheme", "http"), (":path", "/none.Nothing/Call"), (":authority", "localhost")]
    fields += [("content-type", "application/grpc")]
    call = b"".join(http2.header(*pair) for pair in fields)

    def resets():
        for number in range(times // 10):
            stream = 2 * number + 1
            yield http2.frame(http2.HEADERS, http2.END_HEADERS, stream, call)
            yield http2.frame(http2.RESET, 0, stream, struct.pack(">I", 8))

    def continuations():
        yield http2.frame(http2.HEADERS, 0, 1, call)
        for _ in range(times // 10):
            yield http2.frame(http2.CONTINUATION, 0, 1, http2.header("x", "y" * 1000))

    def indexed():
        # One large entry of the dynamic table, named again and again.
        large = b"\x40" + http2.header("x", "y" * 3000)[1:]
        for number in range(times // 100):
            block = (large if number == 0 else b"") + call + b"\xbe" * 4000
            yield http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 2 * number + 1, block)

    def many(piece):
        return lambda: (piece for _ in range(times))

    floods = {
        "resets": resets,
        "continuations": continuations,
        "indexed headers": indexed,
        "settings": many(http2.frame(http2.SETTINGS, 0, 0, struct.pack(">HI", 4, 70000))),
        "pings": many(http2.frame(http2.PING, 0, 0, b"12345678")),
        "empty data": lambda: (
            piece
            for part in ([http2.frame(http2.HEADERS, http2.END_HEADERS, 1, call)], many(http2.frame(http2.DATA, 0, 1))())
            for piece in part
        ),
        "window updates": many(http2.frame(http2.WINDOW, 0, 0, struct.pack(">I", 1))),
        "priorities": many(http2.frame(2, 0, 1, struct.pack(">IB", 0, 1))),
    }

    def flood(door, make):
        connection = http2.Connection(state[door], timeout=2)
        try:
            batch = b""
            for piece in make():
                batch += piece
                if len(batch) > 1 << 16:
                    connection.send(batch)
                    batch = b""
            connection.send(batch)
            connection.ends_within(1)
        except OSError:
            pass
        return True

    running = []
    for door in ("api", "proxy", "network"):
        for make in floods.values():
            running.append(trial.beside(lambda door=door, make=make: flood(door, make)))
            if len(running) % 4 == 0:
                for child in running[-4:]:
                    child.result(60)
    for child in running:
        if child.reader is not None:
            child.result(60)
    time.sleep(0.2)
    trial.alive()

