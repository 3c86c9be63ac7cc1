"""A home for one run of `micro`: the binary in it, its server, and what is left of it.

Shared by `scripts/bench` and `scripts/campaign`. A home lies in a temporary folder and uses free
ports; nothing of the user's own home is read or written.
"""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# How long a condition may take to come true on a busy machine, in seconds.
PATIENCE = 60
PASSED = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR", "LANG"]


class Failed(Exception):
    """A command or a call that had to succeed did not."""


def eventually(what, look, patience=PATIENCE, pause=0.005):
    """Waits until `look` returns something true, and returns that."""
    deadline = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"waited {patience} s for {what}")
        time.sleep(pause)


class Home:
    """A home of its own; `with` removes it, and stops what still runs there."""

    def __init__(self, binary, prefix=(), within=None):
        self.binary = str(pathlib.Path(binary).resolve())
        self.prefix = list(prefix)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="micro-home-", dir=within))
        self.spawned = []
        self.environment = {name: os.environ[name] for name in PASSED if name in os.environ}
        self.environment |= {
            "MICRO_HOME": str(self.folder / "home"),
            "MICRO_ISOLATED": "1",
            "XDG_RUNTIME_DIR": str(self.folder),
        }

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.spawned:
            process.terminate()
        for process in self.spawned:
            # A child that is not waited for looks alive to the one that stops it.
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        subprocess.run([self.binary, "server", "stop"], env=self.environment, capture_output=True)
        for pid in self.processes():
            kill(pid)
        shutil.rmtree(self.folder, ignore_errors=True)

    def micro(self, *arguments, cwd=None, environment=None, timeout=600):
        """Runs a command to its end."""
        return subprocess.run(
            [*self.prefix, self.binary, *map(str, arguments)],
            env=self.environment | (environment or {}),
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def ok(self, *arguments, cwd=None, environment=None, timeout=600):
        """Runs a command that has to succeed, and returns what it printed."""
        done = self.micro(*arguments, cwd=cwd, environment=environment, timeout=timeout)
        if done.returncode != 0:
            raise Failed(f"micro {' '.join(map(str, arguments))} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def spawn(self, *arguments, environment=None):
        """Starts a command and does not wait for it; what it says goes to a file of the home."""
        with open(self.folder / "server.log", "ab") as log:
            process = subprocess.Popen(
                [*self.prefix, self.binary, *arguments],
                env=self.environment | (environment or {}),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.spawned.append(process)
        return process

    @property
    def state_file(self):
        return self.folder / "home/data/server/state.json"

    def state(self):
        """What the server says about itself; nothing when there is none, or it is being written."""
        try:
            return json.loads(self.state_file.read_text())
        except (OSError, ValueError):
            return None

    def state_written(self):
        """Which file that is, and when it was written; nothing when there is none."""
        try:
            found = self.state_file.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def request(self, path, body=None, token=None, timeout=PATIENCE):
        """A request to the HTTP API on a connection of its own: the status and the JSON answer."""
        state = self.state()
        if not state:
            raise ConnectionError("no server has written where it is")
        host, port = state["api"].rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            if body is None:
                connection.request("GET", path, headers=headers)
            else:
                headers["Content-Type"] = "application/json"
                connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"the connection ended without an answer: {error!r}") from error
        finally:
            connection.close()
        return response.status, json.loads(text) if text else None

    def call(self, path, body=None, token=None):
        """A request that has to be answered with 200."""
        status, answer = self.request(path, body, token)
        if status != 200:
            raise Failed(f"{path} answered {status}: {answer}")
        return answer

    def token(self, account="admin", secret="micro"):
        """An access token."""
        return self.call("/auth/Auth/Token", {"id": account, "secret": secret})["token"]["access_token"]

    def node(self, service, token):
        """The address of a node of a service."""
        answer = self.call("/registry/Registry/GetService", {"service": service}, token)
        return answer["services"][0]["nodes"][0]["address"]

    def processes(self):
        """The processes of this home: its path stands in their environment, words or program."""
        needle = str(self.folder).encode()
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
                text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if state != "Z" and needle in text:
                found.append(int(entry.name))
        return found


def kill(pid, number=signal.SIGKILL):
    """Sends a signal; a process that is gone already is none to mind."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def built(profile, *packages):
    """Builds packages of this repository, one at a time, so that none gives another its features.

    The profile is `dev`, `release` or `dist`. Returns the folder of the programs.
    """
    for package in packages:
        words = ["cargo", "build", "--quiet", "--locked", "--profile", profile, "--package", package]
        subprocess.run(words, cwd=ROOT, check=True)
    return ROOT / "target" / ("debug" if profile == "dev" else profile)


def scaffold(binary, folder, profile="debug", change=lambda text: text):
    """Writes `helloworld` as `micro new` does, changes its handler, and builds it with plain cargo.

    The folder is kept, so that the next run builds only what has changed. Returns the program.
    """
    with Home(binary) as home:
        home.ok("new", "helloworld")
        fresh = home.folder / "helloworld"
        # The SDK of a home that is about to go must stay readable.
        unpacked = next(entry for entry in (home.folder / "home/data/sdk").iterdir() if entry.is_dir())
        copy(unpacked, folder / "sdk")
        project = folder / "helloworld"
        for part in ["src", "proto", "Cargo.toml", "Cargo.lock", "README.md"]:
            copy(fresh / part, project / part)
    patch(project, folder / "sdk")
    handler = project / "src/handler.rs"
    handler.write_text(change(handler.read_text()))
    cargo(project, *(["--release"] if profile == "release" else []))
    return project / "target" / profile / "helloworld"


def patch(project, sdk):
    """Lets plain cargo find the SDK, and keeps it from looking for a workspace around the project."""
    (project / ".cargo").mkdir(exist_ok=True)
    config = f"[patch.crates-io]\nmicro-sdk = {{ path = '{sdk}/sdk' }}\n"
    (project / ".cargo/config.toml").write_text(config)
    manifest = project / "Cargo.toml"
    if "[workspace]" not in manifest.read_text():
        manifest.write_text(manifest.read_text() + "\n[workspace]\n")


def cargo(project, *options):
    """Builds a project into its own target folder."""
    environment = os.environ | {"CARGO_TARGET_DIR": str(project / "target")}
    built = subprocess.run(
        ["cargo", "build", "--quiet", *options], cwd=project, env=environment, capture_output=True, text=True
    )
    if built.returncode != 0:
        raise Failed(f"cargo build failed in {project}: {built.stderr}")


def copy(source, target):
    """Copies a file or a folder over what is there; unchanged files keep their time."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for entry in source.iterdir():
            copy(entry, target / entry.name)
    elif not target.exists() or source.read_bytes() != target.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
