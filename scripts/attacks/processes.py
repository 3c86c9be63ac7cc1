"""Attacks by what a service leaves behind, and by what was open when it was started."""

import json
import os
import pathlib
import signal
import subprocess

from attack import attack
from campaign import listening
from home import Failed, eventually

# A service that leaves processes: in a session of its own, orphaned, deaf to signals.
LEAVES = """#!/bin/sh
setsid sh -c 'echo $$ >"$0/left-1.new"; mv "$0/left-1.new" "$0/left-1"; exec sleep 1000' "{folder}" &
(setsid sh -c 'trap "" TERM INT HUP
(echo $$ >"$0/left-2.new"; mv "$0/left-2.new" "$0/left-2"; while :; do sleep 1; done) &' "{folder}" &)
(nohup sh -c 'echo $$ >"$0/left-3.new"; mv "$0/left-3.new" "$0/left-3"; exec sleep 1000' "{folder}" >/dev/null 2>&1 &)
exec "{program}"
"""


def gone(pid):
    """Whether a process has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def left(trial):
    """What the service has left so far, by their ids; waits until all are there."""
    files = [trial.home.folder / f"left-{number}" for number in (1, 2, 3)]
    eventually("what the service leaves", lambda: all(path.exists() for path in files))
    pids = [int(path.read_text()) for path in files]
    for path in files:
        path.unlink()
    return pids


def run_leaving(trial):
    script = trial.home.folder / "leaves"
    script.write_text(LEAVES.format(folder=trial.home.folder, program=trial.program))
    script.chmod(0o755)
    trial.home.ok("run", ".", "--name", "leaves", "--command", script)
    return left(trial)


def ends(trial, what, pids):
    try:
        eventually(what, lambda: all(gone(pid) for pid in pids), 30)
    except Failed:
        trial.holds(False, f"after {what}: {[pid for pid in pids if not gone(pid)]} of {pids} are left")
        for pid in pids:
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)


@attack("escaped-grandchild", "what a service leaves behind ends with it, in whichever session", alone=True)
def escaped_grandchild(trial):
    home = trial.home
    pids = run_leaving(trial)
    home.ok("kill", "leaves")
    ends(trial, "`micro kill`", pids)
    pids = run_leaving(trial)
    main = int(service_of(home)["pid"])
    os.kill(main, signal.SIGKILL)
    ends(trial, "a kill -9 of the service", pids)
    pids = left(trial)
    home.ok("kill", "leaves")
    ends(trial, "`micro kill` after that", pids)
    pids = run_leaving(trial)
    trial.server.kill()
    trial.server.wait()
    home.spawned.remove(trial.server)
    trial.server = listening(home)
    ends(trial, "a kill -9 of the server and its next start", pids)
    trial.state = home.state()
    home.ok("kill", "leaves")
    others = [pid for pid in home.processes() if pid != trial.server.pid]
    trial.holds(not others, f"processes {others} are left")


def service_of(home):
    """What the runtime knows of the service."""
    return json.loads(home.ok("status", "leaves", "-o", "json"))[0]["metadata"]


@attack("inherited-descriptors", "neither server nor services inherit what was open in the shell", bare=True)
def inherited_descriptors(trial):
    home, secret = trial.home, trial.home.folder / "secret"
    secret.write_text("")
    open_ = [os.open(secret, os.O_RDWR) for _ in range(3)]
    for number, descriptor in enumerate(open_):
        os.dup2(descriptor, 40 + number, inheritable=True)
    words = {"pass_fds": tuple(range(40, 40 + len(open_))), "env": home.environment, "cwd": home.folder}

    def micro(*arguments):
        done = subprocess.run([home.binary, *arguments], capture_output=True, text=True, timeout=120, **words)
        trial.holds(done.returncode == 0, f"micro {arguments[0]}: {done.stderr}")

    micro("server", "start")
    micro("run", ".", "--name", "helloworld", "--command", str(trial.program))
    micro("server", "restart")
    inherited(trial, secret, "the daemon or its services")
    micro("server", "stop")
    # In the foreground the server has them itself; its services do not.
    with open(home.folder / "server.log", "ab") as output:
        server = subprocess.Popen(
            [home.binary, "server"], stdin=subprocess.DEVNULL, stdout=output, stderr=output, **words
        )
    home.spawned.append(server)
    eventually("the service", lambda: "helloworld" in home.micro("services").stdout)
    inherited(trial, secret, "a service of a server in the foreground", but=server.pid)
    for number in range(len(open_)):
        os.close(40 + number)


def inherited(trial, secret, what, but=None):
    """No process of the home has the file open."""
    pids = [pid for pid in trial.home.processes() if pid != but]
    trial.holds(pids, f"there is no process of {what}")
    for pid in pids:
        try:
            entries = [(entry.name, os.readlink(entry)) for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        found = [name for name, target in entries if target == str(secret)]
        trial.holds(not found, f"{what}, process {pid}, has descriptors {found}")
