"""What every campaign shares: its seed, its counts, what was violated, and its server."""

import random
import shutil
import subprocess

from home import ROOT, Failed, Home, eventually, kill, scaffold

# After a server has died, its children may take this long to follow it, in seconds.
ORPHAN_PATIENCE = 5
# What the handler does beside greeting. A call of `slow` takes its time, so that there are calls in
# flight whenever the server is stopped; `headers` shows what came with the call; what begins with
# `fail` is an error in these words.
HANDLER = """        match request.name.as_str() {
            "slow" => micro_sdk::tokio::time::sleep(std::time::Duration::from_millis(300)).await,
            "headers" => return Ok(CallResponse { msg: format!("{:?}", cx.metadata()) }),
            words if words.starts_with("fail") => return Err(micro_sdk::Error::bad_request(words)),
            _ => {}
        }
        Ok(CallResponse {"""


class Campaign:
    """One campaign: `cycles` faults of one kind, chosen by a seed."""

    def __init__(self, name, binary, program, seed, cycles):
        self.name, self.binary, self.program = name, str(binary.resolve()), program
        self.seed, self.cycles = seed, cycles
        self.random = random.Random(f"{seed}/{name}")
        self.counts = {"cycles": 0}
        self.violations = []

    def count(self, what, number=1):
        """Adds to a count of the report."""
        self.counts[what] = self.counts.get(what, 0) + number

    def highest(self, what, number):
        """Keeps the highest of some numbers."""
        self.counts[what] = max(self.counts.get(what, 0), round(number))

    def violated(self, kind, text):
        """Notes that something happened which must not."""
        self.count(kind)
        cycle = self.counts["cycles"]
        self.violations.append(f"cycle {cycle}: {kind}: {text}")
        print(f"  {self.name}: cycle {cycle}: {kind}: {text}", flush=True)

    def home(self):
        """A home with the program of the service in it, so that its processes are found by the path."""
        home = Home(self.binary)
        shutil.copy(self.program, home.folder / "program")
        return home

    def bare_home(self, within=None):
        """A home for a server that runs no service."""
        return Home(self.binary, within=within)

    def random_for(self, *words):
        """A source of chance for one thread, so that threads do not change each other's choices."""
        return random.Random("/".join(map(str, [self.seed, self.name, self.counts["cycles"], *words])))

    def report(self):
        """One line: the counts."""
        counts = ", ".join(f"{what} {number:,}" for what, number in self.counts.items())
        verdict = f"{len(self.violations)} violations" if self.violations else "no violation"
        return f"{self.name}: {verdict}; seed {self.seed}; {counts}"


def build_service(binary):
    """Builds the service that campaigns and attacks run."""

    def change(text):
        text = text.replace("_cx: Context, request: CallRequest", "cx: Context, request: CallRequest", 1)
        return text.replace("        Ok(CallResponse {", HANDLER, 1)

    return scaffold(binary, ROOT / "target/campaign", change=change)


def start(home):
    """Starts the server in the foreground, and waits until it answers a login."""
    process = home.spawn("server")

    def answers():
        if process.poll() is not None:
            raise Failed(f"the server ended with {process.returncode}: {log(home)}")
        state = home.state()
        if not state or state["pid"] != process.pid:
            return None
        try:
            return home.token()
        except OSError:
            return None

    eventually("the server to answer a login", answers)
    return process


def listening(home, environment=None, *options):
    """Starts the server in the foreground and waits until it listens, or until it refuses to start:
    then it has a return code."""
    # A server before it may have had the same id of a process.
    before = home.state_written()
    process = home.spawn("server", *options, environment=environment)

    def settled():
        state = home.state_written() != before and home.state()
        return process.poll() is not None or (state and state["pid"] == process.pid)

    eventually("the server to listen or to end", settled)
    return process


def serving(home, environment=None, *options):
    """Starts the server in the foreground, which has to succeed."""
    process = listening(home, environment, *options)
    if process.poll() is not None:
        raise Failed(f"the server ended with {process.returncode}: {log(home)}")
    return process


def long_token(home):
    """A token that outlives any campaign."""
    request = {"id": "admin", "secret": "micro", "token_expiry": 24 * 3600}
    return home.call("/auth/Auth/Token", request)["token"]["access_token"]


def log(home):
    """The end of what the server said."""
    return (home.folder / "server.log").read_text(errors="replace")[-1000:]


def run_service(home, name, *options):
    """The command that runs the service under this name."""
    return ("run", home.folder, "--name", name, "--command", home.folder / "program", *options)


def eventually_answers(home, name):
    """Waits until a service answers a call through the HTTP API."""

    def answers():
        try:
            status, answer = home.request(f"/{name}/Helloworld/Call?name=Jane")
        except OSError:
            return False
        return status == 200 and answer == {"msg": "Hello Jane"}

    eventually(f"{name} to answer", answers)


def orphans(campaign, home):
    """Looks for processes of a home whose server is dead; those that stay are counted and ended."""
    try:
        eventually("the processes of the home to end", lambda: not home.processes(), ORPHAN_PATIENCE)
    except Failed:
        for pid in home.processes():
            command = subprocess.run(["ps", "-o", "pid,stat,args", "-p", str(pid)], capture_output=True, text=True)
            campaign.violated("orphans", command.stdout.strip().splitlines()[-1])
            kill(pid)
