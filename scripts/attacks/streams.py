"""Attacks with streams: snapshots that nobody reads, floods of frames."""

import pathlib
import struct
import time

import http2
from attack import MIB, attack
from home import eventually
from registry import listener, service
from wire import field, post


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


@attack("streams-by-the-thousand", "open streams that nobody uses are bounded in number and memory", callers=16)
def streams_by_the_thousand(trial):
    state, token = trial.state, trial.account("jane")
    headers, form, held = [("authorization", f"Bearer {token}")], "application/grpc+proto", []
    for index in range(trial.times(12, 3)):
        connection = http2.Connection(state[("proxy", "network", "api")[index % 3]])
        for _ in range(trial.times(1000, 100)):
            connection.start("/registry.Registry/Watch", headers, http2.message(b""), form)
        held.append(connection)
    address = listener(trial)
    for number in range(trial.times(50, 5)):
        changed = service("shop", address, metadata={"u": f"{number}" * 500})
        trial.by_owner("/registry.Registry/Register", changed, "a registration")
    for connection in held:
        connection.close()
    trial.alive()


@attack(
    "unfinished-uploads",
    "uploads without an end take neither all descriptors nor the disk",
    callers=16,
    prefix=("sh", "-c", 'ulimit -Sn 1024 && ulimit -Hn 2048 && exec "$0" "$@"'),
)
def unfinished_uploads(trial):
    state, token = trial.state, trial.account("jane", ["admin"])
    headers, form, held = [("authorization", f"Bearer {token}")], "application/grpc+proto", []
    begun = field(1, "draft") + field(3, b"x" * 1000)
    uploads = [
        ("/store.BlobStore/Write", begun),
        ("/store.Store/Restore", field(1, "micro")),
        ("/runtime.Source/Upload", field(2, b"x")),
    ]
    for index in range(trial.times(12, 6)):
        path, message = uploads[0 if index < 4 else index % 3]
        connection = http2.Connection(state[("proxy", "network")[index % 2]], timeout=10)
        for _ in range(trial.times(900, 400)):
            try:
                stream = connection.start(f"{path}", headers, None, form, end=False)
                connection.write(stream, http2.message(message.replace(b"draft", b"%05d" % stream)))
            except OSError:
                break
        held.append(connection)
    time.sleep(1)
    for number in range(trial.times(10, 3)):
        record = {"record": {"key": f"k{number}", "value": "QQ=="}}
        trial.by_owner("/store.Store/Write", record, "a write beside open uploads")
        trial.holds(trial.home.micro("services", timeout=30).returncode == 0, "the owner gets no connection")
        answer = post(state["api"], "/store/BlobStore/Write", {"key": "blob", "blob": "QQ=="}, trial.token)
        trial.holds(answer.status in (200, 503), f"a blob beside open uploads: {answer}")
    descriptors = len(list(pathlib.Path(f"/proc/{trial.server.pid}/fd").iterdir()))
    trial.note(f"{descriptors} descriptors of 2,048")
    for connection in held:
        connection.close()
    drafts = trial.home.folder / "home/data/server/blobs/drafts"
    eventually("the drafts to be removed", lambda: not list(drafts.iterdir()))


@attack("frame-floods", "floods of frames of HTTP/2 hold no memory and keep nobody waiting", callers=16)
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
            for part in (
                [http2.frame(http2.HEADERS, http2.END_HEADERS, 1, call)],
                many(http2.frame(http2.DATA, 0, 1))(),
            )
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

