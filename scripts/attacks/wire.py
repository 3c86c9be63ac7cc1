"""Requests that no well-behaved client writes: HTTP/1 byte by byte, and protobuf by hand."""

import contextlib
import encodings.idna  # noqa: F401  Another user may not be able to load it.
import json
import socket

from home import PATIENCE


def varint(value):
    """A number as protobuf writes it."""
    digits = b""
    while value > 127:
        digits += bytes([value & 127 | 128])
        value >>= 7
    return digits + bytes([value])


def field(number, value):
    """A field of a protobuf message: a number, or what has a length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


class Answer:
    """An answer over HTTP/1: status 0 is a connection that was closed without one."""

    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode(errors="replace").split("\r\n")
        words = lines[0].split(" ")
        self.status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}

    @property
    def text(self):
        return self.body.decode(errors="replace")

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def __repr__(self):
        return f"{self.status} {self.text[:300]}"


def connect(address, source=None, timeout=PATIENCE):
    """A connection over TCP, from this address of the machine."""
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout, source_address=(source, 0) if source else None)


def head(method, path, address, headers=(), length=None):
    """The head of a request."""
    names = {name.lower() for name, _ in headers}
    lines = [f"{method} {path} HTTP/1.1"]
    if "host" not in names:
        lines.append(f"Host: {address}")
    lines += [f"{name}: {value}" for name, value in headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def exchange(stream, data):
    """Sends all that is taken, and reads what comes until the connection is closed."""
    with contextlib.suppress(OSError):
        stream.sendall(data)
    return read_all(stream)


def read_all(stream):
    """All that comes until the connection is closed."""
    received = b""
    try:
        while piece := stream.recv(1 << 16):
            received += piece
    except OSError:
        pass
    return received


def http(address, method, path, headers=(), body=b"", source=None, timeout=PATIENCE):
    """One request on a connection of its own."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    length = len(body) if method == "POST" or body else None
    try:
        with connect(address, source, timeout) as stream:
            return Answer(
                exchange(stream, head(method, path, address, [*headers, ("Connection", "close")], length) + body)
            )
    except OSError as error:
        return Answer(f"HTTP/1.1 0 {error}".encode())


def bearer(token):
    """The header of a token."""
    return [("Authorization", f"Bearer {token}")] if token else []


def post(address, path, body, token=None, form="application/json", source=None, timeout=PATIENCE):
    """A call of the HTTP API."""
    return http(address, "POST", path, [("Content-Type", form), *bearer(token)], body, source, timeout)
