"""Attacks through what is shown: on a terminal, by completion, in the log."""

import hashlib
import json
import os
import pathlib
import pty
import re
import select
import shlex
import subprocess
import time

from attack import MIB, attack, nofile
from home import eventually
from registry import DESCRIBE, REGISTER, listener, service
from wire import field, post

# What must not reach a terminal: a title, a cleared screen, colours, the clipboard, a line written
# over, text that runs backwards, control characters of 8 bits.
EVIL = (
    "\x1b]0;title\x07\x1b[2J\x1b[5;41mEVIL\x1b]52;c;QUFBQQ==\x07"
    "\u202eabc\u2066d\x9b31m\x08\x08\rover\x1bPq\x1b\\\u200ee"
)
# What micro itself writes to one: colours, a cleared line, the cursor, and modes of the pager.
OWN = re.compile(r"\x1b\[[0-9]{0,2}m|\x1b\[[02]?[KJ]|\x1b\[\?25[lh]|\x1b\[[0-9]*G|\x1b\[1?A")
HARMFUL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]|\rover")


def on_terminal(trial, *words, cwd=None, seconds=60):
    """What a command writes to a terminal."""
    person, side = pty.openpty()
    environment = trial.home.environment | {"TERM": "xterm-256color", "PAGER": "cat"}
    command = [trial.home.binary, *words]
    process = subprocess.Popen(
        command, env=environment, cwd=cwd or trial.home.folder, stdin=side, stdout=side, stderr=side
    )
    os.close(side)
    screen, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not select.select([person], [], [], 0.1)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            piece = os.read(person, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        screen += piece
    if process.poll() is None:
        screen += b" (does not end)"
        process.kill()
    process.wait()
    os.close(person)
    return screen.decode(errors="surrogateescape")


def harmless(trial, what, screen, has="EVIL"):
    """Nothing harmful has reached the terminal, although the words have."""
    trial.holds(has in screen, f"{what} does not show the words: {screen[-300:]!a}")
    found = HARMFUL.search(OWN.sub("", screen))
    if found:
        trial.holds(False, f"{what} shows {screen[max(found.start() - 40, 0) : found.start() + 40]!a}")


def documented(evil):
    """Descriptors whose names and comments are not what they should be."""
    request = field(1, "Request") + field(
        2, field(1, "name") + field(3, 1) + field(4, 1) + field(5, 9) + field(10, "name")
    )
    method = field(1, "Call") + field(2, ".evil.Request") + field(3, ".evil.Request")
    location = field(1, bytes([6, 0, 2, 0])) + field(2, bytes([1, 1, 1])) + field(3, evil)
    second = field(1, bytes([4, 0, 2, 0])) + field(2, bytes([1, 1, 1])) + field(3, evil)
    first = field(1, bytes([6, 0])) + field(2, bytes([1, 1, 1])) + field(3, evil)
    file = field(1, "evil.proto") + field(2, "evil") + field(4, request) + field(6, field(1, "Evil") + field(2, method))
    file += field(9, field(1, location) + field(1, second) + field(1, first)) + field(12, "proto3")
    return field(1, file)


@attack("terminal-escapes", "what others wrote reaches no terminal as control characters", alone=True)
def terminal_escapes(trial):
    state, home = trial.state, trial.home
    address, data = listener(trial), documented(EVIL)
    hash_ = hashlib.sha256(data).hexdigest()
    values = [{"name": "n" + EVIL, "type": "t" + EVIL, "values": []}]
    endpoints = [
        {"name": "Evil.Call", "request": {"name": "R" + EVIL, "type": "R", "values": values}, "metadata": {"a": EVIL}}
    ]
    body = service("evil", address, metadata={"k" + EVIL: EVIL}, endpoints=endpoints, descriptor_hash=hash_)
    body["nodes"][0]["metadata"] = {"k" + EVIL: EVIL}
    answer = post(state["api"], REGISTER, body, trial.token)
    trial.holds(answer.status == 200, answer)
    trial.holds(
        post(state["api"], DESCRIBE, field(1, hash_) + field(2, data), trial.token, "application/protobuf").status
        == 200,
        "descriptors",
    )
    harmless(trial, "`get service`", on_terminal(trial, "get", "service", "evil"))
    for words in (("evil", "--help"), ("evil", "call", "--help"), ("evil", "evil", "call", "--help")):
        harmless(trial, f"`{' '.join(words)}`", on_terminal(trial, *words), has="")
    script = home.folder / "said"
    script.write_text(f"{EVIL}\n{EVIL}")
    home.micro(
        "run", ".", "--name", "loud", "--command", f"sh -c 'cat {script} >&2; cat {script}; sleep 1000'", "--detach"
    )
    home.micro("run", ".", "--name", "dead", "--command", f"sh -c 'cat {script} >&2; exit 3'", "--detach")
    trial.run_service()
    eventually("the service to speak", lambda: "EVIL" in home.micro("logs", "loud").stdout)
    eventually(
        "the service to fail", lambda: "EVIL" in home.micro("status", "dead").stdout + home.micro("logs", "dead").stdout
    )
    harmless(trial, "`logs`", on_terminal(trial, "logs", "loud"))
    harmless(trial, "`status`", on_terminal(trial, "status", "dead"), has="dead")
    harmless(trial, "`services`", on_terminal(trial, "services"), has="evil")
    harmless(trial, "an answer", on_terminal(trial, "helloworld", "call", f"--name={EVIL}"))
    harmless(trial, "an error", on_terminal(trial, "helloworld", "call", f"--name=fail {EVIL}"))
    harmless(
        trial,
        "an error of `call`",
        on_terminal(trial, "call", "helloworld", "Helloworld.Call", json.dumps({"name": "fail" + EVIL})),
    )
    harmless(trial, "an unknown command", on_terminal(trial, EVIL))
    for table, key in (("t", "k\u202eEVIL\x9b31m"),):
        home.ok("store", "write", "--table", table, key, EVIL)
        harmless(trial, "`store list`", on_terminal(trial, "store", "list", "--table", table), has="EVIL")
        harmless(trial, "`store read`", on_terminal(trial, "store", "read", "--table", table, key))
    home.ok("config", "set", "evil", EVIL)
    harmless(trial, "`config get`", on_terminal(trial, "config", "get", "evil"))
    harmless(trial, "`config list`", on_terminal(trial, "config", "list"), has="evil")
    post(state["api"], "/auth/Auth/Token", {"id": EVIL, "secret": "x"})
    post(state["api"], "/auth/Auth/Token", {"id": "\u202eEVIL\u200e\u2066", "secret": "x"})
    eventually("the failure to be noted", lambda: "EVIL" in home.ok("auth", "audit"))
    harmless(trial, "`auth audit`", on_terminal(trial, "auth", "audit"))
    text = (home.folder / "server.log").read_text(errors="surrogateescape")
    harmless(trial, "the log", text, has="")
    # A pipe carries the truth.
    trial.holds(
        home.ok("store", "read", "--table", "t", "k\u202eEVIL\x9b31m").rstrip("\n").endswith("\u200ee"),
        "a pipe is cleaned",
    )
    if not trial.short:
        build = home.folder / "broken"
        (build / "src").mkdir(parents=True)
        (build / "Cargo.toml").write_text(
            '[package]\nname = "broken"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n'
        )
        (build / "src/main.rs").write_text("fn main() {}\n")
        rust = "".join(c if " " <= c <= "~" and c not in '"\\{}' else f"\\u{{{ord(c):x}}}" for c in EVIL)
        (build / "build.rs").write_text(f'fn main() {{ eprintln!("{rust}"); std::process::exit(1); }}\n')
        harmless(trial, "the output of a build", on_terminal(trial, "run", ".", cwd=build, seconds=120), has="")


# What a shell expands, or takes for its own, outside of quotes.
SHELL = set("$`*?[]{}()<>|&;!\"'\\~# \t\n")


@attack("completion-globs", "completion offers nothing that a shell would expand", alone=True)
def completion_globs(trial):
    home, address = trial.home, listener(trial)
    names = [
        "*",
        "$(id)",
        "`id`",
        "a;b",
        "a&b",
        "a|b",
        "~root",
        "!1",
        "{a,b}",
        "a'b",
        'a"b',
        "a\\b",
        "<a",
        "#a",
        "plain",
    ]
    for name in names:
        post(trial.state["api"], REGISTER, service(name, address), trial.token)
    request = field(1, "Request") + b"".join(
        field(2, field(1, name) + field(3, number) + field(4, 1) + field(5, 9) + field(10, name))
        for number, name in enumerate(names, 1)
    )
    methods = b"".join(
        field(2, field(1, name) + field(2, ".globs.Request") + field(3, ".globs.Request")) for name in names
    )
    data = field(
        1,
        field(1, "globs.proto")
        + field(2, "globs")
        + field(4, request)
        + field(6, field(1, "Globs") + methods)
        + field(12, "proto3"),
    )
    hash_ = hashlib.sha256(data).hexdigest()
    endpoints = [{"name": f"Globs.{name}"} for name in names]
    post(
        trial.state["api"], REGISTER, service("globs", address, endpoints=endpoints, descriptor_hash=hash_), trial.token
    )
    post(trial.state["api"], DESCRIBE, field(1, hash_) + field(2, data), trial.token, "application/protobuf")
    for name in names:
        home.micro("config", "set", f"k{name}", "1")
        home.micro("auth", "create", "rule", "--scope=*", "--resource=*:*:*", f"r{name}")
        post(trial.state["api"], "/auth/Auth/Generate", {"id": f"u{name}"}, trial.token)
    (home.folder / "$(touch x)").mkdir()
    (home.folder / "*;a").mkdir()
    lines = [
        [""],
        ["call", ""],
        ["call", "globs", ""],
        ["globs", ""],
        ["globs", "plain", "--"],
        ["get", "service", ""],
        ["logs", ""],
        ["kill", ""],
    ]
    lines += [
        ["config", "get", ""],
        ["auth", "delete", "rule", ""],
        ["auth", "delete", "account", ""],
        ["run", ""],
        ["status", ""],
        ["store", "read", ""],
    ]
    # Zsh and fish quote what they are offered; bash puts it into the line as it is.
    offers = lambda: home.micro("--", "micro", "", environment={"MICRO_COMPLETE": "bash"}).stdout  # noqa: E731
    eventually("the services to be offered", lambda: "plain" in offers().split())
    candidates = set()
    for words in lines:
        done = home.micro("--", "micro", *words, environment={"MICRO_COMPLETE": "bash"})
        candidates |= {line.split("\t")[0] for line in done.stdout.splitlines()}
    script = "".join(f"printf '%s\\n' {candidate}\n" for candidate in sorted(candidates))
    done = subprocess.run(["bash", "-f"], input=script, capture_output=True, text=True, cwd=home.folder, timeout=60)
    plain = sorted(shlex.split(candidate)[0] for candidate in candidates)
    trial.holds(
        sorted(done.stdout.splitlines()) == plain and not done.stderr,
        f"bash reads {done.stdout[-300:]!r} {done.stderr!r}",
    )
    trial.holds({"plain", "*", "$(id)"} <= set(plain), f"completion offers not all services: {plain[:50]}")
    for candidate in candidates:
        bare = re.sub(r"\\.", "", candidate)
        trial.holds(not set(bare) & SHELL, f"`{candidate}` is expanded")
    trial.note(f"{len(candidates)} candidates")


@attack("log-flood", "a flood of failures fills neither disk nor log", callers=4, bare=True)
def log_flood(trial):
    home = trial.home
    home.ok("server", "start")
    state = home.state()
    log = home.folder / "home/data/logs/server.log"
    logs = lambda: sum(entry.stat().st_size for entry in log.parent.iterdir())  # noqa: E731
    number, before = trial.times(3000, 25), logs()

    def flood():
        for index in range(number):
            post(state["api"], "/auth/Auth/Token", {"id": f"{index:06}" + "\u202e" * 80, "secret": "x"})

    flooding = trial.beside(flood, as_stranger=os.geteuid() == 0)
    # Connections beyond what may be open: each attempt must not be a line.
    nofile()
    flooding.result(240)
    grown = logs() - before
    trial.holds(grown < min(45 * MIB, number * 4096), f"{number} failures wrote {grown // 1024} KB of log")
    text = log.read_text(errors="replace")
    trial.holds(not HARMFUL.search(OWN.sub("", text)), "the log repeats control characters")
    trial.holds(max(map(len, text.splitlines())) <= 4096, "a line of the log is longer than 4 KiB")
    database = sum(entry.stat().st_size for entry in pathlib.Path(home.folder / "home/data/server").glob("micro.db*"))
    trial.holds(database < 64 * MIB, f"a database of {database // MIB} MB")
    home.ok("server", "stop")
    trial.note(f"{grown // 1024} KB of log, {database // 1024} KB of database")

