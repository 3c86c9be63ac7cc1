"""Attacks on the registry by accounts that may register: what is long, what is kept, what points elsewhere."""

import hashlib
import json
import os
import pathlib
import select
import signal
import socket
import threading
import time

import http2
from attack import MIB, attack, nofile
from wire import connect, field, post

REGISTER, DESCRIBE = "/registry/Registry/Register", "/registry/Registry/Describe"


def listener(trial, name="x"):
    """A Unix socket where nodes of services listen, and its address."""
    path = pathlib.Path(trial.state["socket"]).with_suffix(".nodes") / name
    stream = socket.socket(socket.AF_UNIX)
    stream.bind(str(path))
    stream.listen(64)
    trial.sockets = [*getattr(trial, "sockets", []), stream]
    return f"unix:{path}"


def service(name, address, **more):
    """A registration in JSON."""
    nodes = [{"id": f"{name}-1", "address": address}]
    return {"name": name, "version": "1", "nodes": nodes, "options": {"ttl": "600"}} | more


@attack(
    "registration-of-100000-nodes",
    "a registration has limits in every direction, and none makes others wait",
    callers=4,
)
def registration_of_100000_nodes(trial):
    token, address = trial.service_account("shop"), listener(trial)
    api, many = trial.state["api"], trial.times(100_000, 20_000)
    nodes = b"".join(field(5, field(1, f"{number}") + field(2, address)) for number in range(many))
    value = b""
    for _ in range(90):
        value = field(3, field(1, "v") + value)
    registrations = {
        "nodes": field(1, "shop") + nodes,
        "endpoints": field(1, "shop") + b"".join(field(4, field(1, f"A.B{number}")) for number in range(many)),
        "metadata": field(1, "shop") + b"".join(field(3, field(1, f"{n}") + field(2, "v")) for n in range(many)),
        "values": field(1, "shop") + field(4, field(1, "A.B") + field(2, (field(3, b"") * many))),
        "depth": field(1, "shop") + field(4, field(1, "A.B") + field(2, value * 200)),
        "the same node": field(1, "shop") + field(5, field(1, "1") + field(2, address)) * many,
    }

    def repeat(body):
        for _ in range(trial.times(10, 2)):
            for path in (REGISTER, "/registry/Registry/Deregister"):
                answer = post(api, path, body, token, "application/protobuf")
                # What is not there is not taken out either.
                allowed = (0, 400, 413) if path == REGISTER else (0, 200, 400, 413)
                trial.holds(answer.status in allowed, f"{path} of {len(body)} bytes: {answer}")

    together([lambda body=body: repeat(body) for body in registrations.values()])

    def within(number):
        more = [{"id": f"{number}-{n}", "address": address} for n in range(200)]
        body = service("shop", address, version=f"{number}", nodes=more, metadata={"a": "x" * 4000})
        answer = post(api, REGISTER, body, token)
        trial.holds(answer.status in (200, 413, 429, 507), f"a registration within the limits: {answer}")

    # As many versions as are taken, as large as they may be, again and again.
    together([lambda n=n: [within(n * 1000 + i) for i in range(trial.times(100, 5))] for n in range(4)])
    listed = post(api, "/registry/Registry/GetService", {"service": "shop"}, token)
    trial.holds(len(listed.body) < 64 * MIB, f"a service of {len(listed.body)} bytes")


def together(functions):
    """Runs functions at the same time."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def descriptors(bytes_, seed):
    """A set of descriptors of about this size, that becomes as large as possible when it is decoded."""
    file = field(1, f"f{seed}.proto") + field(2, f"p{seed}") + field(12, "proto3")
    fields = b"".join(field(2, field(1, f"f{n}") + field(3, n) + field(4, 1) + field(5, 9)) for n in range(1, 40))
    pieces, size = [], 0
    while size < bytes_:
        pieces.append(field(4, field(1, f"M{len(pieces)}") + fields))
        size += len(pieces[-1])
    method = field(1, "Call") + field(2, f".p{seed}.M0") + field(3, f".p{seed}.M0")
    return field(1, file + b"".join(pieces) + field(6, field(1, "A") + field(2, method)))


@attack(
    "large-descriptors", "descriptors are taken for what was registered, and weigh a bounded amount decoded", callers=4
)
def large_descriptors(trial):
    api = trial.state["api"]
    nobody, own = trial.account("jane"), trial.service_account("shop")
    address = listener(trial)

    def describe(data, hash_, token):
        return post(api, DESCRIBE, field(1, hash_) + field(2, data), token, "application/protobuf")

    for number in range(trial.times(10, 2)):
        data = descriptors(trial.times(4 * MIB - 65536, MIB // 16), number)
        hash_ = hashlib.sha256(data).hexdigest()
        for token in (None, nobody):
            answer = describe(data, hash_, token)
            trial.holds(answer.status in (0, 401, 403, 409, 412), f"an account without a service: {answer}")
        answer = describe(data, hash_, own)
        trial.holds(answer.status != 200, f"a set that nobody registered: {answer}")
        body = service("shop", address, version=f"{number}", descriptor_hash=hash_, endpoints=[{"name": "A.Call"}])
        post(api, REGISTER, body, own)
        answer = describe(data + b"\x0a\x00", hash_, own)
        trial.holds(answer.status == 400, f"a set of another hash: {answer}")
        # A small set is taken; one that weighs too much may be refused.
        trial.holds(describe(data, hash_, own).status in (200, 413), "a registered set")
        # It is decoded for who calls with JSON.
        post(api, "/shop/A/Call", {"f1": "x"}, own, timeout=1)
    trial.alive()


@attack("node-addresses", "a node is an address that a service can have; the server connects nowhere else", callers=1)
def node_addresses(trial):
    state, token = trial.state, trial.service_account("shop")
    reached = socket.create_server(("127.0.0.1", 0))
    reached.setblocking(False)
    port = lambda name: state[name].rsplit(":", 1)[1]  # noqa: E731
    socket_path = pathlib.Path(state["socket"])
    folder = socket_path.with_suffix(".nodes")
    (folder / "link").symlink_to(socket_path)
    outside = trial.home.folder / "outside"
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(str(outside))
    addresses = ["169.254.169.254:80", "[fe80::1]:80", "[::ffff:169.254.169.254]:80", "192.0.2.1:80", "example.com:80"]
    addresses += ["metadata.google.internal:80", "224.0.0.1:80", "255.255.255.255:80", "0.0.0.0:0", "2852039166:80"]
    addresses += ["0xa9fea9fe:80", "169.254.43518:80", "http://192.0.2.1:80", "192.0.2.1:80@127.0.0.1:1", "[::]:80"]
    for door in ("api", "proxy", "network"):
        for host in (
            "127.0.0.1",
            "127.0.0.2",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "127.1",
            "2130706433",
        ):
            addresses.append(f"{host}:{port(door)}")
    addresses += [
        f"unix:{path}" for path in (socket_path, socket_path.with_suffix(".services"), outside, folder / "link")
    ]
    addresses += [
        f"unix:{folder}/../{socket_path.name}",
        f"unix:{folder}//link",
        f"unix:{folder}",
        "unix:@abstract",
        "unix:x",
    ]
    addresses += ["127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1", "", "\n127.0.0.1:1", "127.0.0.1:1\r\nX: y"]
    for address in addresses:
        for more in (
            {},
            {
                "nodes": [
                    {"id": "a", "address": f"127.0.0.1:{reached.getsockname()[1]}"},
                    {"id": "b", "address": address},
                ]
            },
        ):
            answer = post(state["api"], REGISTER, service("shop", address) | more, token)
            trial.holds(answer.status in (400, 403), f"a node at {address!r}: {answer}")
    for name in ("other", "micro", "registry"):
        answer = post(state["api"], REGISTER, service(name, listener(trial, name)), token)
        trial.holds(answer.status in (400, 403), f"a service registers {name}: {answer}")
    try:
        reached.accept()
        trial.holds(False, "the server has connected to an address of a refused registration")
    except BlockingIOError:
        pass


# Each of them looks like another name, is reserved, or cannot be a name.
ALIKE = [
    "Auth", "AUTH", "a\u200buth", "\u0430uth", "auth\u2060", "\uff41uth", "--help", "-n", "grpc", "grpc.reflection",
    "GRPC.x", "openapi.json", "favicon.ico", ".well-known", "Sh\u043ep", "SHOP", "sh\u200dop", "shop\u202e",
    "shop\u00ad", "sh0p\0", "a b", "a/b", "../a", "a\tb", "a\x1b[31m", "", "x" * 256, "sh\u043e\u0440", "\u0455hop",
    "shop\ufe0f", "\u180eshop",
]  # fmt: skip


@attack("look-alike-names", "no name registers that looks like a reserved one or like one that is there")
def look_alike_names(trial):
    api, address = trial.state["api"], listener(trial)
    answer = post(api, REGISTER, service("shop", address), trial.token)
    trial.holds(answer.status == 200, f"a plain name: {answer}")
    for name in ALIKE:
        answer = post(api, REGISTER, service(name, address), trial.token)
        refused = trial.holds(answer.status in (400, 403, 409), f"the name {name!a}: {answer}")
        trial.holds(not refused or "\x1b" not in answer.text, f"the refusal of {name!a} repeats it as it is")
    listed = post(api, "/registry/Registry/ListServices", {}, trial.token).json()
    names = [entry["name"] for entry in listed["services"]]
    trial.holds("shop" in names and not set(names) & set(ALIKE), names)


@attack("stalled-watcher", "who reads nothing holds a bounded number of bytes, and then is let go", callers=16)
def stalled_watcher(trial):
    state, token, number = trial.state, trial.token, trial.times(50, 6)
    headers, form = [("authorization", f"Bearer {token}")], "application/grpc+proto"
    address = listener(trial)
    watchers = []
    for index in range(number):
        connection = http2.Connection(state[("proxy", "network", "api")[index % 3]], window=0)
        for path in ("/registry.Registry/Watch", "/config.Config/Watch", "/runtime.Runtime/Watch", "/auth.Auth/Audit"):
            message = field(3, 1) if path.endswith("Audit") else b""
            connection.start(path, headers, http2.message(message), form)
        watchers.append(connection)
    for update in range(trial.times(600, 40)):
        endpoints = [{"name": f"A.M{n}", "metadata": {"a": "x" * 2000}} for n in range(100)]
        answer = post(
            state["api"], REGISTER, service("shop", address, metadata={"u": str(update)}, endpoints=endpoints), token
        )
        trial.holds(answer.status == 200, f"a registration: {answer}")
    for update in range(trial.times(100, 6)):
        value = {"data": json.dumps(str(update) + "x" * 900_000)}
        answer = post(state["api"], "/config/Config/Set", {"path": "large", "value": value}, token)
        trial.holds(answer.status == 200, f"a setting: {answer}")
    for connection in watchers:
        connection.close()


@attack(
    "unread-answers",
    "answers and changes that nobody takes from the socket are bounded, whatever the window",
    callers=16,
)
def unread_answers(trial):
    state, token = trial.state, trial.account("jane", ["admin"])
    for key, size in (("small", 3000), ("middle", 40_000), ("large", 300_000)):
        record = {"record": {"key": key, "value": "A" * size}}
        trial.holds(post(state["api"], "/store/Store/Write", record, token).status == 200, "a record")
    headers, form, held = [("authorization", f"Bearer {token}")], "application/grpc+proto", []

    def start(calls):
        connection = http2.Connection(state[("proxy", "network", "api")[len(held) % 3]], timeout=5)
        held.append(connection)
        try:
            for path, message in calls:
                connection.start(path, headers, http2.message(message), form)
        except OSError:
            pass

    reader, writer = os.pipe()

    def crowd():
        nofile()
        for _ in range(trial.times(6, 2)):
            start([("/registry.Registry/Watch", b"")] * trial.times(1000, 300))
        for key in ("small", "middle", "large"):
            for _ in range(trial.times(20, 2)):
                start([("/store.Store/Read", field(1, key))] * 1000)
        os.write(writer, b".")
        # Ended with the attack.
        signal.pause()

    # What another user holds is not held by the bystander too.
    trial.beside(crowd, as_stranger=True)
    trial.holds(select.select([reader], [], [], 60)[0], "the crowd has not come")
    address, update = listener(trial), 0
    endpoints = [{"name": f"A.M{n}", "metadata": {"a": "x" * 2000}} for n in range(100)]
    for update in range(trial.times(30, 5)):
        changed = service("shop", address, metadata={"u": str(update)}, endpoints=endpoints)
        trial.by_owner("/registry.Registry/Register", changed, "a registration")
    reply = trial.by_owner("/store.Store/Read", {"key": "large"}, "the owner reads")
    trial.holds(reply.data, f"the owner reads: {reply}")


@attack("stalled-reads", "answers that nobody takes are bounded, and end", callers=60)
def stalled_reads(trial):
    state, token, number = trial.state, trial.account("jane", ["admin"]), trial.times(100, 8)
    value = "A" * (trial.times(14, 3) * MIB)
    answer = post(state["api"], "/store/Store/Write", {"record": {"key": "large", "value": value}}, token)
    trial.holds(answer.status == 200, f"a record: {answer}")
    headers = [("authorization", f"Bearer {token}")]
    held = []
    for index in range(number):
        connection = http2.Connection(state[("proxy", "network")[index % 2]], window=0)
        stream = connection.start(
            "/store.Store/Read", headers, http2.message(field(1, "large")), "application/grpc+proto"
        )
        held.append((connection, stream))
    streams = []
    for _ in range(number):
        stream = connect(state["api"])
        body = b'{"key":"large"}'
        text = f"POST /store/Store/Read HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        text += f"Content-Length: {len(body)}\r\n\r\n"
        stream.sendall(text.replace("Host: x", f"Host: {state['api']}").encode() + body)
        streams.append(stream)
    time.sleep(trial.times(10, 1))
    trial.alive()
    with http2.Connection(state["socket"]) as owner:
        reply = owner.call("/store.Store/Read", {"key": "large"})
        trial.holds(reply.status == 0 and reply.data, f"the owner reads it: {reply}")
