"""The wall clock of the machine jumps while the server runs: by minutes, by years, forward and back,
and past the moments at which numbers of 32 bits end (2038 and 2106).

After each jump: the server answers and lets people log in; what was written without an end is there
and no older version than was acknowledged; a record whose time is over is gone, one whose time is
not is there; a token whose time is over is refused; versions only grow. The server
is killed and started again now and then, at whatever the time is.
"""

import base64
import ctypes
import mmap
import pathlib
import time

import recorder
from campaign import serving
from home import ROOT, Failed

CYCLES = (30, 1000)
HOUR = 3600
YEAR = 365 * 24 * HOUR
# How far the clock may be from where it really is, in seconds; 80 years end the numbers of 32 bits.
JUMPS = [-10 * YEAR, -HOUR, -61, 0, 61, HOUR, YEAR, 10 * YEAR, 13 * YEAR, 80 * YEAR]
# One cycle in so many restarts the server.
RESTART = 6
# Lives of records, in seconds.
LIVES = [30, 600, 2 * HOUR, 2 * YEAR]
TABLE = {"table": "clock"}


def run(campaign):
    """Runs the campaign."""
    library = recorder.build(pathlib.Path(__file__).with_name("clock.c"), ROOT / "target/campaign/clock.so")
    with campaign.bare_home() as home:
        clock = Clock(home.folder / "clock")
        home.environment |= {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(clock.path)}
        World(campaign, home, clock).run()


class Clock:
    """How far the clock of the server is from the real one."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(8))
        with open(path, "r+b") as file:
            self.word = ctypes.c_int64.from_buffer(mmap.mmap(file.fileno(), 8))

    def now(self):
        """What the server takes for now, in Unix seconds."""
        return time.time() + self.word.value


class World:
    """A server, and what must be true of it."""

    def __init__(self, campaign, home, clock):
        self.campaign, self.home, self.clock = campaign, home, clock
        self.server = serving(home)
        self.kept = {}
        # By key: when the record ends, by the clock of the server; gone once that was over, whatever
        # the clock says later.
        self.mortal = {}
        self.version = 0

    def run(self):
        """Lets the clock jump, again and again."""
        for cycle in range(self.campaign.cycles):
            self.campaign.count("cycles")
            token = self.token()
            self.write(token, cycle)
            self.jump(token)
            if self.campaign.random.randrange(RESTART) == 0:
                self.campaign.count("restarts")
                self.server.kill()
                self.server.wait()
                self.server = serving(self.home)
            self.verify(self.token())

    def token(self):
        try:
            return self.home.token()
        except Failed as error:
            self.campaign.violated("no login", f"{self.when()}: {error}")
            raise

    def when(self):
        return f"at {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(self.clock.now()))}"

    def write(self, token, cycle):
        """Writes a record for ever and one with a life."""
        key, value = f"kept-{cycle}", f"value {cycle}"
        self.put(token, {"key": key, "value": value})
        self.kept[key] = value
        life = self.campaign.random.choice(LIVES)
        key = f"mortal-{cycle}"
        self.put(token, {"key": key, "value": value, "expiry": life})
        self.mortal[key] = self.clock.now() + life

    def put(self, token, record):
        record = record | {"value": base64.b64encode(record["value"].encode()).decode()}
        answer = self.home.call("/store/Store/Write", {"record": record, "options": TABLE}, token)
        version = int(answer["version"])
        if version <= self.version:
            self.campaign.violated("version", f"{self.when()}: {version} after {self.version}")
        self.version = version

    def jump(self, token):
        """Sets the clock, and looks at what an open token is worth then."""
        before = self.clock.now()
        self.clock.word.value = self.campaign.random.choice(JUMPS) + self.campaign.random.randrange(-30, 30)
        status, answer = self.home.request("/auth/Accounts/List", {}, token)
        # It lives 15 minutes from when it was given out.
        over = self.clock.now() - before > 16 * 60
        if over and status == 200:
            self.campaign.violated("token", f"{self.when()}: one that is over is taken")
        if not over and status != 200:
            self.campaign.violated("token", f"{self.when()}: one that counts is refused: {answer}")
        self.campaign.count("tokens refused", over)

    def verify(self, token):
        """Looks at every record."""
        # The moment at which a life ends may pass between the look and the answer.
        earliest = self.clock.now() - 5
        listed = self.list(token)
        latest = self.clock.now() + 5
        for key, value in self.kept.items():
            if listed.get(key) != value:
                self.campaign.violated("lost", f"{self.when()}: {key} is {listed.get(key)!r}")
        for key, end in list(self.mortal.items()):
            if end < earliest and key in listed:
                self.campaign.violated("immortal", f"{self.when()}: {key} is there")
            if end < earliest:
                # Swept or not: whether it comes back when the clock is set back is not promised.
                del self.mortal[key]
                self.campaign.count("expired")
            elif end > latest and key not in listed:
                self.campaign.violated("gone early", f"{self.when()}: {key}")

    def list(self, token):
        """Every record of the table."""
        found, after = {}, ""
        while True:
            options = TABLE | {"prefix": True, "limit": "500", "after": after}
            answer = self.home.call("/store/Store/Read", {"key": "", "options": options}, token)
            records = answer.get("records", [])
            if not records:
                return found
            for record in records:
                found[record["key"]] = base64.b64decode(record["value"]).decode()
            after = records[-1]["key"]
