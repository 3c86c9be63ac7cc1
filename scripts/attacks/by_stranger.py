"""Attacks by another user of the machine: in the place of a socket, of a port, at the port of a service, by idling."""

import json
import os
import pathlib
import resource
import select
import shutil
import signal
import socket
import subprocess
import time

import http2
from attack import attack, nofile
from child import needs_root
from home import Failed, eventually
from wire import connect, head, post, read_all


def common_folder(trial):
    """A folder where everybody may make others, as `/tmp` is."""
    trial.home.folder.chmod(0o755)
    folder = trial.home.folder / "common"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def nobody_connects(listener, seconds=0.0):
    """What was sent to a listener; nothing if nobody connected."""
    if not select.select([listener], [], [], seconds)[0]:
        return None
    stream, _ = listener.accept()
    stream.settimeout(2)
    return read_all(stream)


@attack("foreign-socket", "no program sends anything to a socket, or takes a folder, of another user", alone=True)
def foreign_socket(trial):
    needs_root()
    folder, home = common_folder(trial), trial.home
    trial.stop()
    for usual in (False, True):
        environment = dict(home.environment)
        if usual:
            # Where there is no runtime folder the socket lies in the folder for temporary files.
            environment |= {"TMPDIR": str(folder)}
            del environment["XDG_RUNTIME_DIR"]
        else:
            environment |= {"XDG_RUNTIME_DIR": str(folder)}
        home.environment = environment
        home.ok("server", "start")
        state_file = home.folder / "home/data/server/state.json"
        left = state_file.read_bytes()
        socket_path = pathlib.Path(json.loads(left)["socket"])
        home.ok("server", "stop")
        shutil.rmtree(socket_path.parent)
        for how in ("a folder", "a link to a folder", "an open folder of ours"):
            squat(trial, socket_path, how, left, state_file)


def squat(trial, socket_path, how, left, state_file):
    """Puts another user's socket in the place of ours, and lets our programs look for the server."""
    home, place = trial.home, socket_path.parent
    state_file.write_bytes(left)
    reader, writer = os.pipe()

    def listen():
        folder = place.with_name("elsewhere") if how == "a link to a folder" else place
        if how != "an open folder of ours":
            folder.mkdir()
            folder.chmod(0o777)
        if how == "a link to a folder":
            place.symlink_to(folder)
        listeners = []
        for name in (socket_path.name, socket_path.with_suffix(".services").name):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(folder / name))
            (folder / name).chmod(0o777)
            listener.listen(16)
            listeners.append(listener)
        os.write(writer, b".")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (place.parent / "done").exists():
            for listener in listeners:
                if (sent := nobody_connects(listener, 0.05)) is not None:
                    return sent.decode(errors="replace")[:200] or "a connection"
        return None

    if how == "an open folder of ours":
        place.mkdir()
        place.chmod(0o777)
    thief = trial.beside(listen, as_stranger=True)
    os.read(reader, 1)
    commands = [
        ("server", "status"),
        ("services",),
        ("login", "--local"),
        ("login", "--username", "admin", "--password", "micro"),
    ]
    for words in commands:
        done = home.micro(*words, timeout=30)
        trial.holds(
            done.returncode != 0 or words[1:] == ("--local",),
            f"`micro {words[0]}` succeeds beside {how}: {done.stdout}",
        )
    home.micro("--", "micro", "call", "", environment={"MICRO_COMPLETE": "fish"}, timeout=30)
    variables = home.environment | {"MICRO_HOME": str(home.folder / "home")}
    service = subprocess.Popen([trial.program], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started = home.micro("server", "start", timeout=60)
    if how == "an open folder of ours":
        trial.holds(started.returncode != 0 or "run" in home.state()["socket"], f"a server in {how}: {started.stderr}")
    else:
        trial.holds(started.returncode == 0, f"no server starts beside {how}: {started.stderr}")
        trial.holds("uid 65534" in started.stderr, f"it is not said whose {how} is: {started.stderr}")
        trial.holds(home.micro("services", timeout=30).returncode == 0, f"no command finds the server beside {how}")
    service.kill()
    service.wait()
    home.micro("server", "stop", timeout=60)
    (place.parent / "done").touch()
    sent = thief.result(90)
    trial.holds(sent is None, f"{how} of another user received {sent!r}")
    for path in (place, place.with_name("elsewhere"), place.parent / "done"):
        if path.is_symlink() or path.is_file():
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)


def by_hand(trial, address):
    """The service, started by hand to listen on TCP."""
    variables = trial.home.environment | {"MICRO_SERVICE_ADDRESS": address}
    started = subprocess.Popen([trial.program], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually("the service to be called", lambda: trial.home.request("/helloworld/Call?name=Jane")[0] == 200)
    except Failed:
        started.kill()
        raise
    return started


@attack("port-takeover", "who takes the port of a dead service gets no call and no token")
def port_takeover(trial):
    needs_root()
    for host in trial.times(("127.0.0.1", "0.0.0.0", "::"), ("0.0.0.0",)):
        service = by_hand(trial, "127.0.0.1:0")
        port = int(trial.home.node("helloworld", trial.token).rsplit(":", 1)[1])
        os.kill(service.pid, signal.SIGKILL)
        service.wait()
        reader, writer = os.pipe()

        def steal(host=host, port=port, writer=writer):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((host, port))
            listener.listen(16)
            os.write(writer, b".")
            return [
                sent.decode(errors="replace") for sent in (nobody_connects(listener, 1.5) for _ in range(3)) if sent
            ]

        thief = trial.beside(steal, as_stranger=True)
        os.read(reader, 1)
        for _ in range(2):
            post(trial.state["api"], "/helloworld/Helloworld/Call", {"name": "Jane"}, trial.token)
            for door in ("proxy", "network"):
                with http2.Connection(trial.state[door]) as connection:
                    headers = [("authorization", f"Bearer {trial.token}")]
                    reply = connection.call("/helloworld.Helloworld/Call", {"name": "Jane"}, headers)
                    trial.holds(reply.code in (404, 503), f"a call of a dead service: {reply}")
        got = thief.result(60)
        trial.holds(not got, f"the thief at {host} received {got}")
        post(
            trial.state["api"],
            "/registry/Registry/Deregister",
            {"name": "helloworld", "version": "latest"},
            trial.token,
        )


def listening_ports(pid):
    """The TCP ports where a process listens."""
    inodes = set()
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(entry))
        except OSError:
            continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            row = line.split()
            if row[3] == "0A" and f"socket:[{row[9]}]" in inodes:
                found.append(row[1])
    return found


@attack("past-the-rules", "no other user reaches a service of this machine without the rules")
def past_the_rules(trial):
    needs_root()
    trial.run_service()
    address = trial.home.node("helloworld", trial.token)
    trial.holds(address.startswith("unix:"), f"the service listens at {address}")
    for pid in trial.home.processes():
        if pid != trial.server.pid and os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "program":
            ports = listening_ports(pid)
            trial.holds(not ports, f"the service listens on TCP: {ports}")
    trial.home.ok("auth", "create", "rule", "--scope=*", "--resource=*:*:*", "known")
    trial.home.ok("auth", "delete", "rule", "default")
    state = trial.state

    def calls():
        found = [post(state["api"], "/helloworld/Helloworld/Call", {"name": "Jane"}).status]
        for door in ("proxy", "network"):
            with http2.Connection(state[door]) as connection:
                found.append(connection.call("/helloworld.Helloworld/Call", {"name": "Jane"}).code)
        for path in (
            address.removeprefix("unix:"),
            state["socket"],
            str(pathlib.Path(state["socket"]).with_suffix(".services")),
        ):
            try:
                with http2.Connection(path) as connection:
                    found.append(connection.call("/helloworld.Helloworld/Call", {"name": "Jane"}).code)
            except PermissionError:
                found.append(403)
        return found

    # The folder of the test lets everybody in, so that only micro's own folders close it.
    trial.home.folder.chmod(0o755)
    codes = trial.as_stranger(calls)
    trial.holds(set(codes) <= {401, 403}, f"another user is answered {codes}")
    trial.holds(
        post(state["api"], "/helloworld/Helloworld/Call", {"name": "Jane"}, trial.token).status == 200,
        "an account is refused",
    )


@attack(
    "idle-connections",
    "idle connections of another user keep nobody out, whatever they answer",
    callers=1000,
    prefix=("sh", "-c", 'ulimit -Sn 1024 && ulimit -Hn 4096 && exec "$0" "$@"'),
)
def idle_connections(trial):
    state, number = trial.state, trial.times(6000, 2600)
    soft, _ = resource.prlimit(trial.server.pid, resource.RLIMIT_NOFILE)
    trial.holds(soft == 4096, f"of 4,096 possible files the server may open {soft}")
    reader, writer = os.pipe()

    def idle():
        nofile()
        held = []
        for index in range(number):
            address = state[("api", "proxy", "network")[index % 3]]
            try:
                stream = connect(address, f"127.0.{index % 200}.1", timeout=0.5)
                stream.sendall(
                    head("GET", "/", address) if index % 2 else http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0)
                )
                held.append(stream)
            except OSError:
                continue
        os.write(writer, b".")
        deadline = time.monotonic() + trial.times(20, 3)
        while time.monotonic() < deadline:
            # Those of HTTP/2 answer the pings of the server, and send their own.
            for stream in held:
                try:
                    stream.setblocking(False)
                    stream.recv(1 << 12)
                    stream.send(http2.frame(http2.PING, http2.ACK, 0, b"12345678"))
                except OSError:
                    continue
            time.sleep(0.2)
        return len(held)

    crowd = trial.beside(idle, as_stranger=os.geteuid() == 0)
    select.select([reader], [], [], 60)
    for _ in range(trial.times(20, 2)):
        begun = time.monotonic()
        login = post(state["api"], "/auth/Auth/Token", {"id": "admin", "secret": "micro"}, timeout=10)
        trial.holds(login.status == 200, f"a login: {login}")
        for address in (state["proxy"], state["network"], state["socket"]):
            with http2.Connection(address, timeout=10) as connection:
                headers = [] if address.startswith("/") else [("authorization", f"Bearer {trial.token}")]
                reply = connection.call("/registry.Registry/ListServices", {}, headers)
                trial.holds(reply.status == 0, f"a new connection to {address}: {reply}")
        took = time.monotonic() - begun
        trial.holds(took < 10, f"new connections took {took:.1f} s")
    trial.holds(trial.home.micro("store", "write", "a", "b").returncode == 0, "the state has no file left")
    trial.note(f"{crowd.result(60)} connections of the crowd")

