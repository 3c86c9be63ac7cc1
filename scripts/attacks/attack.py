"""What every attack shares: its name, what is promised, its server, and what it did to others."""

import json
import pathlib
import resource
import shutil
import time
import traceback

import http2
from bystander import Bystander, well_formed
from campaign import eventually_answers, log, long_token, run_service, serving
from child import Child, NotRun, needs_root
from home import Failed, Home

MIB = 1 << 20
# What the messages of all calls may hold, and what the server may be beside it, in bytes.
IN_FLIGHT, BESIDE = 128 * MIB, 256 * MIB
# How long the memory may take to come back, in seconds.
SETTLES = 15
# How long the bystander calls beside well-formed callers, in seconds.
COMPARED = 4
ATTACKS = {}


class Attack:
    """One attack: its function takes a `Trial`."""

    def __init__(self, name, promise, run, callers, options):
        self.name, self.promise, self.run, self.callers, self.options = name, promise, run, callers, options


def attack(name, promise, callers=1, **options):
    """Enters a function as an attack.

    `callers` is how many callers it is compared with. Options: `server` are words for the server,
    `environment` and `prefix` what it starts with, `alone` leaves the bystander out, `bare` the server;
    `returns` says that the memory has to come back to twice of what it was.
    """

    def enter(run):
        ATTACKS[name] = Attack(name, promise, run, callers, options)
        return run

    return enter


class Trial:
    """One run of an attack against a server of its own."""

    def __init__(self, kind, binary, program, short):
        self.attack, self.binary, self.short, self.program = kind, binary, short, program
        self.broken, self.notes, self.children = [], [], []
        self.home = self.server = self.state = self.token = None

    def holds(self, condition, text):
        """Notes that something which was promised did not hold."""
        if not condition:
            self.broken.append(str(text)[:600])
        return bool(condition)

    def times(self, full, short):
        """A number for the full run, and one for the short."""
        return short if self.short else full

    def note(self, text):
        """Something to be shown beside the row."""
        self.notes.append(text)

    def as_stranger(self, function, seconds=120):
        """What a function returns as another user."""
        return self.beside(function, as_stranger=True).result(seconds)

    def beside(self, function, as_stranger=False):
        """Runs a function beside this one, until the attack is over."""
        if as_stranger:
            needs_root()
        child = Child(function, as_stranger)
        self.children.append(child)
        return child

    def start(self):
        """Starts the server of the home."""
        options = self.attack.options
        words = options.get("server", ())
        self.server = serving(self.home, options.get("environment"), *words)
        self.state = self.home.state()
        self.token = long_token(self.home)

    def stop(self):
        """Ends the server, which has to end well."""
        self.server.terminate()
        code = self.server.wait(60)
        self.home.spawned.remove(self.server)
        return code

    def run_service(self, name="helloworld", *options):
        """Runs the service under this name, and waits until it answers."""
        if not (self.home.folder / "program").exists():
            shutil.copy(self.program, self.home.folder / "program")
        self.home.ok(*run_service(self.home, name, *options))
        eventually_answers(self.home, name)

    def account(self, name, scopes=(), kind="user"):
        """A token of a new account."""
        request = {"id": name, "type": kind, "scopes": list(scopes)}
        secret = self.home.call("/auth/Auth/Generate", request, self.token)["account"]["secret"]
        request = {"id": name, "secret": secret, "token_expiry": 24 * 3600}
        return self.home.call("/auth/Auth/Token", request)["token"]["access_token"]

    def service_account(self, name):
        """A token of a service of this name, which the owner of the home may mint."""
        said = self.home.ok("call", "auth", "Auth.Local", f'{{"service": "{name}", "token_expiry": 86400}}')
        return json.loads(said)["token"]["access_token"]

    def by_owner(self, path, request, what):
        """A call on the owner's socket, which nothing that others hold refuses."""
        with http2.Connection(self.state["socket"]) as owner:
            reply = owner.call(path, request)
        self.holds(reply.status == 0, f"{what}: {reply}")
        return reply

    def alive(self, what="the server"):
        """It has not ended, and answers."""
        if self.holds(self.server.poll() is None, f"{what} has ended: {log(self.home)}"):
            status, _ = self.home.request("/registry/Registry/ListServices", {}, self.token)
            self.holds(status == 200, f"{what} answers {status}")

    def go(self):
        """Runs the attack; the row of the table."""
        options, row = self.attack.options, {"name": self.attack.name, "promise": self.attack.promise}
        with Home(self.binary, prefix=options.get("prefix", ())) as self.home:
            self.home.environment["MICRO_NO_AUTOSTART"] = "1"
            try:
                if options.get("bare"):
                    self.attack.run(self)
                else:
                    self.start()
                    self.measured(row)
            except NotRun as error:
                row["outcome"] = f"not run: {error}"
            except (Failed, OSError, ValueError, KeyError, TypeError, IndexError) as error:
                self.broken.append(f"stuck: {error!r} {traceback.format_exc(limit=-2)}")
            finally:
                for child in self.children:
                    child.end()
        row["broken"], row["notes"] = self.broken, self.notes
        row["outcome"] = "BROKEN" if self.broken else row.get("outcome", "holds")
        return row

    def measured(self, row):
        """The attack, with a bystander and the memory of the server."""
        memory, alone = Memory(self.server.pid), self.attack.options.get("alone")
        bystander = None if alone else Bystander(self.state, self.token, 0.05 if self.short else 0.002)
        try:
            self.attack.run(self)
        finally:
            if bystander:
                self.compared(row, *bystander.end())
        for child in self.children:
            child.end()
        # Of a server that was started anew there is no measure from the beginning.
        if self.server.poll() is None and self.server.pid == memory.pid:
            row["peak"], row["before"] = memory.peak(), memory.before
            self.holds(row["peak"] < BESIDE + IN_FLIGHT, f"{row['peak'] // MIB} MB of memory at the peak")
            if not self.short:
                row["after"] = memory.after()
                back = row["after"] <= 2 * memory.before or not self.attack.options.get("returns")
                self.holds(
                    back, f"{memory.before // MIB} MB of memory before, {row['after'] // MIB} MB after {SETTLES} s"
                )

    def compared(self, row, waits, failures):
        """What the bystander saw."""
        self.holds(not failures, f"calls of a bystander failed: {failures[:3]}")
        if waits:
            row["calls"], row["worst"], row["p99"] = len(waits), waits[-1], waits[int(len(waits) * 0.99)]


class Memory:
    """The memory of a process."""

    def __init__(self, pid):
        self.pid, self.status = pid, pathlib.Path(f"/proc/{pid}/status")
        self.before = self.now("VmRSS")
        # From here on the highest is counted anew.
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")

    def now(self, name):
        """A figure of the process, in bytes."""
        line = next(line for line in self.status.read_text().splitlines() if line.startswith(name + ":"))
        return int(line.split()[1]) * 1024

    def peak(self):
        return self.now("VmHWM")

    def after(self):
        """The memory once it has come back, or what is left of it after some time."""
        deadline = time.monotonic() + SETTLES
        while self.now("VmRSS") > 2 * self.before and time.monotonic() < deadline:
            time.sleep(0.2)
        return self.now("VmRSS")


def compare(binary, callers):
    """How long a bystander waits at worst in 99 of 100 calls beside so many well-formed callers."""
    with Home(binary) as home:
        serving(home)
        state, token = home.state(), long_token(home)
        others = [Child(lambda: well_formed(state, token, callers))]
        bystander = Bystander(state, token)
        time.sleep(COMPARED)
        waits, _ = bystander.end()
        for other in others:
            other.end()
        return waits[int(len(waits) * 0.99)]


def nofile():
    """How many files this process may open: as many as the system lets it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard

