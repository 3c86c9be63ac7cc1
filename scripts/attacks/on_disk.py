"""Attacks and accidents on disk: what is removed while the server runs, a full disk, another mask."""

import os
import pathlib
import shutil
import socket
import stat
import subprocess

from attack import attack
from campaign import listening, log, long_token
from child import NotRun
from client import Client, Refused
from home import Failed, eventually
from recorder import NO_LIMIT, ROOM, Recorder, Unsupported
from wire import post

SERVER = "home/data/server"


def alive(pid):
    """Whether a process has not ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def socket_of(home):
    return pathlib.Path(home.state()["socket"])


def replace_by_file(path):
    path.unlink()
    path.write_text("")


def replace_by_socket(path):
    """Leaves a socket that nobody listens on."""
    path.unlink()
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(str(path))


# What may be removed: the path, and what is done with it.
LOST = {
    "the socket": lambda home: socket_of(home).unlink(),
    "the services' socket": lambda home: socket_of(home).with_suffix(".services").unlink(),
    "the folder of the sockets": lambda home: shutil.rmtree(socket_of(home).parent),
    "the socket, for a file": lambda home: replace_by_file(socket_of(home)),
    "the socket, for a dead one": lambda home: replace_by_socket(socket_of(home)),
    "the state": lambda home: (home.folder / SERVER / "state.json").unlink(),
    "the state, for half of it": lambda home: (home.folder / SERVER / "state.json").write_text('{"pid": '),
    "the lock": lambda home: (home.folder / SERVER / "lock").unlink(),
}


@attack("socket-removed", "whatever of its files is removed, the server can be found, stopped and started", bare=True)
def socket_removed(trial):
    home = trial.home
    for what, lose in LOST.items():
        home.ok("server", "start")
        pid = home.state()["pid"]
        home.ok("store", "write", "kept", what)
        lose(home)
        # The server notices, and makes it again.
        try:
            eventually(
                "commands", lambda: home.micro("store", "read", "kept", timeout=30).stdout.strip() == what, 15, 0.2
            )
        except Failed:
            said = home.micro("services", timeout=30).stderr
            trial.holds(
                what in ("the lock", "the state", "the state, for half of it") and str(pid) in said,
                f"without {what}: {said}",
            )
        second = home.micro("server", "start", timeout=60)
        trial.holds(alive(pid), f"without {what} a second start ended the first server: {second.stderr}")
        stopped = home.micro("server", "stop", timeout=60)
        if not trial.holds(not alive(pid), f"without {what} the server runs after `server stop`: {stopped.stderr}"):
            os.kill(pid, 9)
            eventually("its end", lambda pid=pid: not alive(pid))
        for other in home.processes():
            trial.holds(False, f"without {what} process {other} is left")
            os.kill(other, 9)
        started = home.micro("server", "start", timeout=60)
        trial.holds(started.returncode == 0, f"after {what} was removed no server starts: {started.stderr}")
        read = home.micro("store", "read", "kept", timeout=30)
        trial.holds(read.stdout.strip() == what, f"after {what} was removed: {read.stdout}{read.stderr}")
        home.ok("server", "stop")


def remove_database(folder):
    for path in folder.glob("micro.db*"):
        path.unlink()


def exchange_database(folder):
    """Puts an empty file in the place of the database."""
    for path in folder.glob("micro.db*"):
        path.unlink()
    (folder / "micro.db").write_bytes(b"")


def move_folder(folder):
    """Moves the whole folder away and makes an empty one."""
    folder.rename(folder.with_name("away"))
    folder.mkdir(0o700)
    shutil.copytree(folder.with_name("away") / "keys", folder / "keys")


GONE = {
    "removed": remove_database,
    "emptied": exchange_database,
    "without its log": lambda folder: (folder / "micro.db-wal").unlink(),
    "moved with its folder": move_folder,
}


@attack(
    "database-removed", "what is acknowledged is there at the next start, or the start says what is missing", bare=True
)
def database_removed(trial):
    for how, lose in GONE.items():
        with type(trial.home)(trial.binary) as home:
            home.environment["MICRO_NO_AUTOSTART"] = "1"
            server = listening(home)
            trial.holds(server.poll() is None, "the server does not start")
            client = Client(home, long_token(home))
            write(client, "before")
            lose(home.folder / SERVER)
            acknowledged = []
            for number in range(20):
                try:
                    write(client, f"after-{number}")
                    acknowledged.append(f"after-{number}")
                except Refused as error:
                    trial.holds(error.status in (500, 503, 507) and "database" in error.text, f"{how}: {error}")
                except OSError:
                    break
            server.kill()
            server.wait()
            home.spawned.remove(server)
            server = listening(home)
            if server.poll() is not None:
                said = log(home)
                # The way out is told, and what was acknowledged was not lost in silence.
                told = "database" in said or "micro.db" in said
                trial.holds(
                    told and not acknowledged, f"{how}: {len(acknowledged)} acknowledged; a start says {said[-300:]}"
                )
                continue
            client = Client(home, long_token(home))
            for key in ["before", *acknowledged]:
                status, _ = client.request("/store/Store/Read", {"key": key})
                trial.holds(status == 200, f"{how}: {key} was acknowledged and is not there")


def write(client, key):
    client.json("/store/Store/Write", {"record": {"key": key, "value": "QQ=="}})


@attack("full-disk-start", "a full disk is named with its reason at the start, and refuses changes with 507", bare=True)
def full_disk_start(trial):
    home = trial.home
    try:
        recorder = Recorder(home, recording=False)
    except Unsupported as error:
        raise NotRun(str(error)) from error
    server = recorder.serving()
    token = long_token(home)
    recorder.words[ROOM] = 0
    for path, body in {
        "/auth/Auth/RotateKey": {},
        "/auth/Auth/Generate": {"id": "jane"},
        "/auth/Rules/Create": {
            "rule": {"id": "r", "scope": "*", "access": 1, "resource": {"type": "*", "name": "*", "endpoint": "*"}}
        },
        "/store/Store/Write": {"record": {"key": "a", "value": "QQ=="}},
        "/store/BlobStore/Write": {"key": "a", "blob": "QQ=="},
        "/config/Config/Set": {"path": "a", "value": {"data": "1"}},
        "/config/Config/Set?": {"path": "b", "value": {"data": "1"}, "options": {"secret": True}},
    }.items():
        answer = post(home.state()["api"], path.rstrip("?"), body, token)
        trial.holds(answer.status == 507 and "disk" in answer.text, f"{path} on a full disk: {answer}")
    trial.holds(post(home.state()["api"], "/auth/Accounts/List", {}, token).status == 200, "reading on a full disk")
    recorder.words[ROOM] = NO_LIMIT
    for path in ("/auth/Auth/RotateKey", "/auth/Accounts/List"):
        answer = post(home.state()["api"], path, {}, token)
        trial.holds(answer.status == 200, f"{path} once there is room: {answer}")
    server.kill()
    server.wait()
    home.spawned.remove(server)
    recorder.words[ROOM] = 0
    (home.folder / "server.log").write_bytes(b"")
    server = listening(home, recorder.environment)
    if server.poll() is not None:
        said = log(home)
        trial.holds("No space left" in said or "disk" in said, f"a start on a full disk: {said}")
    else:
        server.kill()
        server.wait()
    home.spawned.remove(server)
    recorder.words[ROOM] = NO_LIMIT
    # A home that has never had a server.
    shutil.rmtree(home.folder / "home")
    recorder.words[ROOM] = 0
    (home.folder / "server.log").write_bytes(b"")
    server = listening(home, recorder.environment)
    said = log(home)
    trial.holds(
        server.poll() is not None and ("No space left" in said or "disk" in said),
        f"a first start on a full disk: {said}",
    )
    broken_credentials(trial, home)


def broken_credentials(trial, home):
    """Files of the home that cannot be read are named, with the way out."""
    shutil.rmtree(home.folder / "home", ignore_errors=True)
    home.ok("server", "start")
    home.ok("login", "--username", "admin", "--password", "micro")
    for path in (home.folder / "home").rglob("credentials.toml"):
        path.write_bytes(b"\0 not = [toml")
        done = home.micro("services")
        told = path.name in done.stderr and ("`mv " in done.stderr or "login" in done.stderr)
        trial.holds(done.returncode != 0 and told, f"broken credentials: {done.stderr}")
    home.micro("server", "stop")


@attack("umask", "all below the home is its owner's alone, whatever the mask", bare=True)
def umask(trial):
    home = trial.home
    work = home.folder / "work"
    work.mkdir()
    for mask in trial.times(("000", "022", "277"), ("000", "277")):
        environment = home.environment | {"MICRO_HOME": str(home.folder / f"home-{mask}")}
        words = [
            ("new", f"shop{mask}"),
            ("server", "start"),
            ("run", ".", "--name", "shop", "--command", str(trial.program)),
            ("store", "write", "a", "b"),
            ("store", "blob", "write", "a", str(trial.program)),
            ("config", "set", "a", "b", "--secret"),
            ("login", "--username", "admin", "--password", "micro"),
            ("env", "add", "far", "127.0.0.1:1"),
            ("services",),
            ("server", "stop"),
        ]
        for command in words:
            script = f'umask {mask}; exec "$0" "$@"'
            done = subprocess.run(
                ["sh", "-c", script, home.binary, *command],
                env=environment,
                cwd=work,
                capture_output=True,
                text=True,
                timeout=120,
            )
            # What a mask takes from its own user is not ours to give in a project.
            trial.holds(done.returncode == 0 or mask == "277", f"umask {mask}: micro {command[0]}: {done.stderr}")
        found = 0
        for path in [home.folder / f"home-{mask}", *(home.folder / f"home-{mask}").rglob("*")]:
            status = path.lstat()
            mode, found = stat.S_IMODE(status.st_mode), found + 1
            if stat.S_ISLNK(status.st_mode) or "cache/targets/" in str(path):
                continue
            allowed = (0o700,) if path.is_dir() else (0o600, 0o700)
            trial.holds(mode in allowed, f"umask {mask}: {path.relative_to(home.folder)} has mode {mode:o}")
        trial.holds(found > 20, f"umask {mask}: {found} files")

