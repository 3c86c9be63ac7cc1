"""Attacks on logins: by another user of the machine, with ids and secrets of any size, in crowds."""

import json
import os
import resource
import select
import socket
import time

import http2
from attack import MIB, attack, nofile
from home import eventually
from wire import Answer, connect, exchange, field, head, http, post, read_all

TOKEN = "/auth/Auth/Token"
LOGIN = json.dumps({"id": "admin", "secret": "micro"}).encode()
WRONG_LOGIN = LOGIN.replace(b"micro", b"wrong")


def request(address, body=LOGIN, form="application/json"):
    """A login over HTTP/1."""
    return head("POST", TOKEN, address, [("Content-Type", form), ("Connection", "close")], len(body)) + body


def half_closed(address, extra):
    """A login whose sender closes its side behind it."""
    with connect(address) as stream:
        stream.sendall(request(address) + extra)
        stream.shutdown(socket.SHUT_WR)
        return read_all(stream).decode(errors="replace")


def late(address):
    """A login whose last byte comes just before the end."""
    with connect(address) as stream:
        text = request(address)
        stream.sendall(text[:-1])
        time.sleep(0.2)
        stream.sendall(text[-1:])
        stream.shutdown(socket.SHUT_WR)
        return read_all(stream).decode(errors="replace")


def by_grpc(address, close):
    """A login by gRPC, with the sending side closed behind it."""
    with http2.Connection(address) as connection:
        stream = connection.start("/auth.Auth/Token", body=http2.message(LOGIN))
        if close:
            connection.socket.shutdown(socket.SHUT_WR)
        try:
            return connection.finish(stream).data.decode(errors="replace")
        except OSError as error:
            return str(error)


def tokens(state):
    """What a stranger gets for the first secret, each way."""
    found = [half_closed(state["api"], extra) for extra in (b"", b"x", b"GET / HTTP/1.1\r\n")]
    found += [late(state["api"]), post(state["api"], TOKEN, LOGIN).text]
    found += [post(state["api"], TOKEN, LOGIN, source=source).text for source in ("127.0.0.2", "127.8.8.8")]
    for door in ("proxy", "network", "api"):
        found += [by_grpc(state[door], close) for close in (False, True)]
    return [text for text in found if "access_token" in text]


@attack("half-closed-login", "another user gets no token for the first secret, open or half closed")
def half_closed_login(trial):
    got = trial.as_stranger(lambda: tokens(trial.state))
    trial.holds(not got, f"{len(got)} tokens: {got[:1]}")
    trial.holds(post(trial.state["api"], TOKEN, LOGIN).status == 200, "the server's user cannot log in")


@attack("descriptors-gone-login", "a server without file descriptors trusts nobody for that", alone=True)
def descriptors_gone_login(trial):
    doors = [trial.state[name] for name in ("api", "proxy", "network")]
    ready, is_ready = os.pipe()
    go, may_go = os.pipe()

    def hold():
        streams = [(address, connect(address)) for address in doors for _ in range(2)]
        for address, stream in streams:
            # Who is answered has been accepted.
            greeting = http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0)
            stream.sendall(head("GET", "/", address) if address == doors[0] else greeting)
            stream.recv(1 << 16)
        os.write(is_ready, b".")
        os.read(go, 1)
        got = []
        for address, stream in streams:
            if address == doors[0]:
                got.append(exchange(stream, request(address)).decode(errors="replace"))
            else:
                got.append(grpc_on(stream, address))
        return [text for text in got if "access_token" in text]

    holder = trial.beside(hold, as_stranger=True)
    if not trial.holds(select.select([ready], [], [], 30)[0], "the connections are not accepted"):
        return
    before = resource.prlimit(trial.server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(trial.server.pid, resource.RLIMIT_NOFILE, (8, before[1]))
    os.write(may_go, b".")
    got = holder.result(60)
    resource.prlimit(trial.server.pid, resource.RLIMIT_NOFILE, before)
    trial.holds(not got, f"{len(got)} tokens: {got[:1]}")
    trial.alive()
    trial.holds(post(trial.state["api"], TOKEN, LOGIN).status == 200, "the server's user cannot log in")


def grpc_on(stream, address):
    """A login by gRPC on a connection that is open already."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", "/auth.Auth/Token"), (":authority", address)]
    fields += [("content-type", "application/grpc+json"), ("te", "trailers")]
    block = b"".join(http2.header(*pair) for pair in fields)
    text = http2.frame(http2.HEADERS, http2.END_HEADERS, 1, block)
    text += http2.frame(http2.DATA, http2.END_STREAM, 1, http2.message(LOGIN))
    stream.settimeout(1)
    return exchange(stream, text).decode(errors="replace")


# Methods that keep, compare or note a text of their caller: the path, what the text is put in, who calls.
ECHOES = [
    ("/auth/Auth/Token", lambda text: {"id": text, "secret": "x"}, False),
    ("/auth/Auth/Token", lambda text: {"id": "admin", "secret": text}, False),
    ("/auth/Auth/Token", lambda text: {"refresh_token": text}, False),
    ("/auth/Auth/Token", lambda text: {"id": "a", "secret": "x", "options": {"namespace": text}}, False),
    ("/auth/Auth/Revoke", lambda text: {"refresh_token": text}, False),
    ("/auth/Auth/Inspect", lambda text: {"token": text}, False),
    ("/auth/Auth/Generate", lambda text: {"id": text}, False),
    ("/auth/Auth/Generate", lambda text: {"id": "b", "metadata": {"a": text}}, True),
    ("/auth/Auth/Generate", lambda text: {"id": "c", "scopes": [text]}, True),
    ("/auth/Accounts/ChangeSecret", lambda text: {"id": "b", "new_secret": text}, True),
    ("/auth/Accounts/Delete", lambda text: {"id": text}, True),
    ("/auth/Rules/Create", lambda text: {"rule": {"id": text, "scope": text, "access": 1}}, True),
    ("/config/Config/Get", lambda text: {"path": text}, True),
    ("/config/Config/Set", lambda text: {"path": text, "value": {"data": "1"}}, True),
    ("/store/Store/Read", lambda text: {"key": text}, True),
    ("/store/Store/List", lambda text: {"options": {"table": text}}, True),
    ("/store/BlobStore/Read", lambda text: {"key": text}, True),
    ("/registry/Registry/GetService", lambda text: {"service": text}, True),
    ("/runtime/Runtime/Logs", lambda text: {"service": text}, True),
]


@attack("login-ids-of-16-mb", "what is compared, kept or noted is refused by its length first", callers=4)
def login_ids_of_16_mb(trial):
    api, text = trial.state["api"], "x" * trial.times(15 * MIB, MIB)
    for path, body, account in ECHOES:
        answer = post(api, path, body(text), trial.token if account else None)
        trial.holds(answer.status in (0, 400, 401, 403, 413), f"{path} of {len(text)} bytes: {answer}")
        trial.holds(len(answer.body) < 8192, f"{path} of {len(text)} bytes answers {len(answer.body)} bytes")
    login = field(1, text) + field(2, "x")
    for _ in range(trial.times(80, 2)):
        answer = post(api, TOKEN, login, form="application/protobuf")
        trial.holds(answer.status in (0, 413), f"a login of 15 MB: {answer}")
    for door in ("proxy", "network"):
        with http2.Connection(trial.state[door]) as connection:
            reply = connection.call("/auth.Auth/Token", login, form="application/grpc+proto")
            trial.holds(reply.code == 413, f"a login of 15 MB by gRPC: {reply}")
    # Just below the limit of a login, with another id each time.
    for number in range(trial.times(2000, 30)):
        answer = post(
            api, TOKEN, {"id": f"{number:0>255}", "secret": "x" * 1024, "options": {"namespace": f"n{number}"}}
        )
        if not trial.holds(answer.status in (400, 401, 429), f"a wrong login: {answer}"):
            break


def wrong_logins(address, sources, over, body=WRONG_LOGIN):
    """Logs in with a wrong secret, again and again; how often."""
    count = 0
    while not over():
        http(address, "POST", TOKEN, [("Content-Type", "application/json")], body, sources[count % len(sources)])
        count += 1
    return count


LOOPBACK = [f"127.{a}.{b}.9" for a in range(0, 250, 7) for b in (1, 99)]


@attack("locked-out", "wrong logins of another user keep nobody else out", callers=4)
def locked_out(trial):
    api = trial.state["api"]
    jane = trial.home.call("/auth/Auth/Generate", {"id": "jane", "secret": "a long one"}, trial.token)
    trial.holds(jane["account"]["id"] == "jane", jane)
    bodies = [WRONG_LOGIN, b'{"id": "jane", "secret": "wrong"}']
    for sources in (["127.0.0.1"], LOOPBACK):
        for body in bodies:
            trial.beside(lambda s=sources, b=body: wrong_logins(api, s, lambda: False, b), as_stranger=True)
    eventually("the failures to be noted", lambda: "wrong" in trial.home.ok("auth", "audit") or True)
    time.sleep(trial.times(10, 1.5))
    for number in range(trial.times(20, 3)):
        for body in (LOGIN, b'{"id": "jane", "secret": "a long one"}'):
            begun = time.monotonic()
            answer = post(api, TOKEN, body, source=LOOPBACK[number])
            took = time.monotonic() - begun
            trial.holds(answer.status == 200 and took < 10, f"a right login after {took:.1f} s: {answer}")


@attack("login-queue", "crowds of wrong logins wait in a queue with an end; right ones take their turn", callers=60)
def login_queue(trial):
    api, number = trial.state["api"], trial.times(2000, 100)

    def crowd():
        nofile()
        streams = []
        for index in range(number):
            stream = connect(api, LOOPBACK[index % len(LOOPBACK)])
            body = json.dumps({"id": f"nobody-{index % 50}", "secret": "wrong"}).encode()
            stream.sendall(request(api, body))
            streams.append(stream)
        return [Answer(read_all(stream)).status for stream in streams]

    crowds = trial.beside(crowd, as_stranger=True)
    time.sleep(0.5)
    for _ in range(trial.times(10, 2)):
        begun = time.monotonic()
        answer = post(api, TOKEN, LOGIN)
        took = time.monotonic() - begun
        trial.holds(answer.status == 200 and took < 10, f"a right login after {took:.1f} s: {answer}")
    statuses = crowds.result(180)
    trial.holds(all(status in (0, 400, 401, 429) for status in statuses), f"answers {sorted(set(statuses))}")
