"""HTTP/2 and gRPC by hand, for what finished clients do not send: a message without an end, a window
that stays closed, a header that no library writes.

Only what the attacks need: HPACK without a dynamic table (RFC 7541), one thread a connection.
"""

import json
import socket
import struct
import time
import urllib.parse

from home import PATIENCE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
HEADER_TABLE, STREAMS, INITIAL_WINDOW, FRAME_SIZE = 1, 3, 4, 5
# After how many bytes taken in a window is opened by as many. Small frames for each piece would fill
# the socket towards a server that is busy writing; it then waits for us to read and we for it.
REFILL = 1 << 22
# The code words of up to 19 bits, by their length (RFC 7541, appendix B): within a length the words
# count up, so the symbols in order are enough. Symbols beyond these do not occur in ASCII.
HUFFMAN = {
    5: "012aceiost", 6: " %-./3456789=A_bdfghlmnpru", 7: ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz", 8: "&*,;XZ",
    10: '!"()?', 11: "'+|", 12: "#>", 13: "\0$@[]~", 14: "^}", 15: "<`{", 19: "\\",
}  # fmt: skip
# The static table (RFC 7541, appendix A), as far as answers use its names and values.
STATIC = {
    8: (":status", "200"), 9: (":status", "204"), 10: (":status", "206"), 11: (":status", "304"),
    12: (":status", "400"), 13: (":status", "404"), 14: (":status", "500"), 28: ("content-length", ""),
    31: ("content-type", ""), 33: ("date", ""), 53: ("retry-after", ""),
}  # fmt: skip


def words():
    """The symbol of each code word, by its bits."""
    found, code, before = {}, 0, 5
    for length, symbols in HUFFMAN.items():
        code <<= length - before
        before = length
        for symbol in symbols:
            found[f"{code:0{length}b}"] = symbol
            code += 1
    return found


WORDS = words()


def unpacked(data):
    """Text in Huffman's code."""
    text, word = "", ""
    for bit in "".join(f"{byte:08b}" for byte in data):
        word += bit
        if word in WORDS:
            text, word = text + WORDS[word], ""
    return text


def number(data, at, bits):
    """A number of HPACK behind so many bits, and where the next thing begins."""
    value, at = data[at] & ((1 << bits) - 1), at + 1
    if value < (1 << bits) - 1:
        return value, at
    shift = 0
    while True:
        value += (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def text(data, at):
    """A text of HPACK, and where the next thing begins."""
    packed = data[at] & 128
    length, at = number(data, at, 7)
    raw = data[at : at + length]
    return unpacked(raw) if packed else raw.decode(errors="replace"), at + length


def headers_of(block):
    """The headers of a block that refers to no dynamic table."""
    found, at = {}, 0
    while at < len(block):
        first = block[at]
        if first & 128:
            index, at = number(block, at, 7)
            name, value = STATIC.get(index, (f"static {index}", ""))
        elif first & 64 or not first & 32:
            index, at = number(block, at, 6 if first & 64 else 4)
            name = STATIC.get(index, (f"static {index}", ""))[0] if index else None
            if not name:
                name, at = text(block, at)
            value, at = text(block, at)
        else:
            _, at = number(block, at, 5)
            continue
        found[name] = value
    return found


def header(name, value):
    """A header field without indexing, its name written out."""

    def written(word):
        word = word if isinstance(word, bytes) else str(word).encode()
        if len(word) < 127:
            return bytes([len(word)]) + word
        rest, digits = len(word) - 127, b"\x7f"
        while rest >= 128:
            digits += bytes([rest % 128 + 128])
            rest //= 128
        return digits + bytes([rest]) + word

    return b"\0" + written(name) + written(value)


def frame(kind, flags, stream, payload=b""):
    """A frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def message(payload):
    """A message of gRPC, behind its length."""
    return b"\0" + struct.pack(">I", len(payload)) + payload


class Reply:
    """What came back on a stream."""

    def __init__(self):
        self.headers, self.data, self.ended, self.reset = {}, b"", False, None

    @property
    def status(self):
        """The status of gRPC; -1 for none."""
        return int(self.headers.get("grpc-status", -1))

    @property
    def error(self):
        """The error that the message of gRPC holds."""
        try:
            return json.loads(urllib.parse.unquote(self.headers.get("grpc-message", "")))
        except ValueError:
            return {}

    @property
    def code(self):
        """The code of the outcome as HTTP has it; 0 where there is none."""
        if self.status == 0:
            return 200
        return self.error.get("code") or int(self.headers.get(":status", 0)) * (self.status < 0)

    def messages(self):
        """The messages of gRPC that are there."""
        found, rest = [], self.data
        while len(rest) >= 5 and len(rest) >= 5 + (length := struct.unpack(">I", rest[1:5])[0]):
            found.append(rest[5 : 5 + length])
            rest = rest[5 + length :]
        return found

    def __repr__(self):
        return f"{self.headers} {self.data[:200]!r} reset={self.reset}"


class Closed(OSError):
    """The other side has closed the connection."""


class Connection:
    """A connection that speaks HTTP/2. What is received is taken in only while something is waited for."""

    def __init__(self, address, window=None, settings=(), timeout=PATIENCE, source=None):
        if str(address).startswith("/"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(str(address))
            self.authority = "localhost"
        else:
            host, port = address.rsplit(":", 1)
            self.socket = socket.create_connection(
                (host, int(port)), timeout, source_address=(source, 0) if source else None
            )
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.authority = address
        self.timeout, self.stalled = timeout, window is not None
        self.next, self.replies, self.buffer = 1, {}, b""
        self.room, self.initial, self.rooms, self.taken = 65535, 65535, {}, {}
        self.block, self.pings = None, 0
        wanted = [(HEADER_TABLE, 0), *settings]
        wanted += [(INITIAL_WINDOW, window if self.stalled else 1 << 24)]
        self.send(PREFACE + frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in wanted)))
        if not self.stalled:
            self.send(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 30)))

    def send(self, data):
        self.socket.sendall(data)

    def start(self, path, headers=(), body=None, form="application/grpc+json", end=True):
        """Sends the head of a call, and its body if there is one; the number of the stream."""
        stream, self.next = self.next, self.next + 2
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", self.authority)]
        fields += [("content-type", form), ("te", "trailers"), *headers]
        block = b"".join(header(name, value) for name, value in fields)
        self.replies[stream], self.rooms[stream] = Reply(), self.initial
        flags, first = END_STREAM * (body is None and end), True
        while True:
            piece, block = block[:16384], block[16384:]
            last = END_HEADERS * (not block)
            self.send(
                frame(HEADERS, flags | last, stream, piece) if first else frame(CONTINUATION, last, stream, piece)
            )
            first = False
            if not block:
                break
        if body is not None:
            self.write(stream, body, end)
        return stream

    def write(self, stream, data, end=False):
        """Sends data as far as the other side takes it; ends early where the stream has ended."""
        view = memoryview(data)
        while True:
            reply = self.replies[stream]
            if reply.ended or reply.reset is not None:
                return
            most = min(16384, len(view), self.room, self.rooms[stream])
            if len(view) and most <= 0:
                self.take()
                continue
            piece, view = view[:most], view[most:]
            self.send(frame(DATA, END_STREAM * (end and not len(view)), stream, bytes(piece)))
            self.room, self.rooms[stream] = self.room - most, self.rooms[stream] - most
            if not len(view):
                return

    def take(self):
        """Takes in one frame."""
        head = self.exactly(9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
        payload = self.exactly(length)
        reply = self.replies.get(stream)
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, length, 6):
                name, value = struct.unpack(">HI", payload[at : at + 6])
                if name == INITIAL_WINDOW:
                    self.rooms = {key: room + value - self.initial for key, room in self.rooms.items()}
                    self.initial = value
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.pings += 1
            self.send(frame(PING, ACK, 0, payload))
        elif kind == WINDOW:
            more = int.from_bytes(payload, "big")
            if stream == 0:
                self.room += more
            elif stream in self.rooms:
                self.rooms[stream] += more
        elif kind == GOAWAY and int.from_bytes(payload[4:8], "big"):
            raise Closed(f"the server goes away: {payload[4:]!r}")
        elif reply and kind == DATA:
            reply.data += payload
            reply.ended |= bool(flags & END_STREAM)
            for window in (0, stream):
                self.taken[window] = self.taken.get(window, 0) + length
                if self.taken[window] >= REFILL and not self.stalled:
                    self.send(frame(WINDOW, 0, window, struct.pack(">I", self.taken.pop(window))))
        elif reply and kind in (HEADERS, CONTINUATION):
            self.block = (self.block or b"") + payload
            self.end_of_stream = flags & END_STREAM if kind == HEADERS else self.end_of_stream
            if flags & END_HEADERS:
                reply.headers |= headers_of(self.block)
                self.block = None
                reply.ended |= bool(self.end_of_stream)
        elif reply and kind == RESET:
            reply.reset = int.from_bytes(payload, "big")

    def exactly(self, length):
        while len(self.buffer) < length:
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise Closed("the server has closed the connection")
            self.buffer += piece
        found, self.buffer = self.buffer[:length], self.buffer[length:]
        return found

    def finish(self, stream):
        """Waits for the end of a stream, whatever else comes meanwhile."""
        reply, deadline = self.replies[stream], time.monotonic() + self.timeout
        while not reply.ended and reply.reset is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"call {stream} has no end after {self.timeout} s: {reply}")
            self.take()
        return reply

    def call(self, path, body, headers=(), form="application/grpc+json"):
        """A call with one message, to its end."""
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        stream = self.start(path, headers, message(body), form)
        reply = self.finish(stream)
        del self.replies[stream], self.rooms[stream]
        self.taken.pop(stream, None)
        return reply

    def ends_within(self, seconds):
        """Whether the other side ends the connection, or all streams, within this time; pings are answered."""
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                self.socket.settimeout(max(deadline - time.monotonic(), 0.01))
                self.take()
                if self.replies and all(r.ended or r.reset is not None for r in self.replies.values()):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
