"""Functions in processes of their own: as another user of the machine, beside the attack, or several at once."""

import json
import os
import select
import signal
import traceback

from home import Failed, kill

# The user that nobody is.
STRANGER = 65534


class NotRun(Exception):
    """An attack cannot be made here."""


class Child:
    """A process that runs one function. What the function returns has to be JSON."""

    def __init__(self, function, as_stranger=False):
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            said = {}
            try:
                if as_stranger:
                    become_stranger()
                said = {"result": function()}
            except BaseException as error:
                said = {
                    "error": f"{error!r} {traceback.format_exc(limit=-3)}",
                    "not run": str(error) * isinstance(error, NotRun),
                }
            finally:
                # No cleaning up: what is open belongs to the parent.
                with os.fdopen(writer, "w") as pipe:
                    pipe.write(json.dumps(said))
                os._exit(0)
        os.close(writer)
        self.reader, self.text, self.code = reader, b"", None

    def fileno(self):
        """For `select`: readable when it has something to say, or has ended."""
        return self.reader

    def poll(self, seconds=0):
        """Whether it has said all, after this time at most; without a limit if that is none."""
        while self.reader is not None:
            if not select.select([self.reader], [], [], seconds)[0]:
                return False
            piece = os.read(self.reader, 1 << 16)
            self.text += piece
            if not piece:
                self.over()
        return True

    def result(self, seconds=None):
        """What the function returned; `Failed` if it raised, or took longer."""
        if not self.poll(seconds):
            self.end()
            raise Failed(f"a child took longer than {seconds} s")
        said = json.loads(self.text or "{}")
        if said.get("not run"):
            raise NotRun(said["not run"])
        if "result" not in said:
            raise Failed(f"a child failed: {said.get('error', 'it said nothing')}")
        return said["result"]

    def over(self):
        if self.reader is not None:
            os.close(self.reader)
            self.reader = None
            _, self.code = os.waitpid(self.pid, 0)

    def end(self, number=signal.SIGKILL):
        """Ends it."""
        if self.reader is not None:
            kill(self.pid, number)
            self.over()


def become_stranger():
    """Turns this process into another user's, for good."""
    os.chdir("/")
    os.setgroups([])
    os.setresgid(STRANGER, STRANGER, STRANGER)
    os.setresuid(STRANGER, STRANGER, STRANGER)


def needs_root():
    """Only root can act as another user."""
    if os.geteuid() != 0:
        raise NotRun("needs root")
