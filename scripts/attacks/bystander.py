"""Who has nothing to do with an attack: calls all the time, by TCP and by the owner's socket, and
notes how long each call took."""

import json
import os
import selectors
import threading
import time

import http2
from child import Child
from home import Failed
from wire import Answer, bearer, connect, head

PATH = "/registry/Registry/ListServices"
# In a namespace of its own: what others register makes its answers no larger.
MESSAGE = {"options": {"domain": "bystander"}}
# What a bystander waits between two calls, in seconds.
PAUSE = 0.002
# A call that takes longer than this has failed, in seconds.
PATIENCE = 30


class Bystander:
    """Calls from now on, in a process of its own."""

    def __init__(self, state, token, pause=PAUSE):
        stopping, self.stop = os.pipe()
        self.child = Child(lambda: watch(state, token, pause, stopping))
        os.close(stopping)

    def end(self):
        """Ends it: how long each call took, in seconds, and what failed."""
        os.write(self.stop, b".")
        os.close(self.stop)
        said = self.child.result(2 * PATIENCE)
        return sorted(said["waits"]), said["failures"]


def watch(state, token, pause, stopping):
    """Calls until something is written to the pipe."""
    over, waits, failures = threading.Event(), [], []
    ways = [lambda: by_tcp(state["api"], token), lambda: by_socket(state["socket"])]
    threads = [threading.Thread(target=repeat, args=(way, over, pause, waits, failures)) for way in ways]
    for thread in threads:
        thread.start()
    os.read(stopping, 1)
    over.set()
    for thread in threads:
        thread.join()
    return {"waits": waits, "failures": failures[:20]}


def repeat(way, over, pause, waits, failures):
    """Makes one call after the other; a broken connection is made anew."""
    calls = None
    while not over.is_set():
        begun = time.monotonic()
        try:
            calls = calls or way()
            next(calls)
        except (OSError, Failed, StopIteration) as error:
            failures.append(f"{error!r} after {time.monotonic() - begun:.2f} s")
            calls = None
            over.wait(0.1)
        waits.append(time.monotonic() - begun)
        over.wait(pause)


def question(address, token, message):
    """The request of a call of the HTTP API."""
    body = json.dumps(message).encode()
    return head("POST", PATH, address, [("Content-Type", "application/json"), *bearer(token)], len(body)) + body


def by_tcp(address, token):
    """Calls of the HTTP API on one connection."""
    request = question(address, token, MESSAGE)
    stream = connect(address, timeout=PATIENCE)
    while True:
        stream.sendall(request)
        answered(read_one(stream))
        yield


def read_one(stream):
    """One answer of a connection that stays open."""
    received = b""
    while not (length := complete(received)):
        piece = stream.recv(1 << 16)
        if not piece:
            raise ConnectionError(f"the connection was closed after {received[:100]!r}")
        received += piece
    return received[:length]


def complete(received):
    """The length of the answer at the beginning of what was received, once it is whole."""
    top, found, _ = received.partition(b"\r\n\r\n")
    if not found:
        return 0
    length = int(Answer(top).headers.get("content-length", 0)) + len(top) + 4
    return length if len(received) >= length else 0


def answered(raw):
    answer = Answer(raw)
    if answer.status != 200:
        raise Failed(f"answered {answer}")


def by_socket(path):
    """Calls of the owner on one connection."""
    connection = http2.Connection(path, timeout=PATIENCE)
    while True:
        reply = connection.call("/registry.Registry/ListServices", MESSAGE)
        if reply.status != 0:
            raise Failed(f"answered {reply}")
        yield


def well_formed(state, token, callers):
    """So many callers that list all services again and again, each on a connection of its own, for ever."""
    address, waiting = state["api"], selectors.DefaultSelector()
    request = question(address, token, {})
    for _ in range(callers):
        stream = connect(address)
        stream.setblocking(False)
        stream.send(request)
        waiting.register(stream, selectors.EVENT_READ, [b""])
    while True:
        for key, _ in waiting.select():
            key.data[0] += key.fileobj.recv(1 << 16)
            if complete(key.data[0]):
                key.data[0] = b""
                key.fileobj.send(request)
