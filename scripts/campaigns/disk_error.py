"""The disk fails: a sync ends with an error, once, a few times or from then on.

What could not be put on disk is not acknowledged, and the answer says so. While every sync fails,
nothing is acknowledged at all. Afterwards the server goes on, and everything acknowledged is there:
in the same server, after kill -9, and after a loss of power, where what a failed sync was to keep is
lost even if a later sync succeeded. The errors are made by a library before the server (see
`recorder.c`), at a random moment.
"""

import contextlib
import pathlib
import time

from campaign import listening, log, long_token
from disk_full import same, until
from home import Failed
from ledger import Ledger
from power_loss import compare
from recorder import FAILED_SYNCS, FAILING, Recorder, state_folder
from trial import Trial, check
from writer import Writers

CYCLES = (6, 200)
# By turns so many syncs fail; -1: all from then on, until the disk is well again.
FAILURES = [1, -1, 3]
# Changes acknowledged before the failures, and after them.
BEFORE, AFTER = 150, 150
REFUSALS = 40
# States after a loss of power that are tried in each cycle.
STATES = 6


def run(campaign):
    """Runs the campaign."""
    for cycle in range(campaign.cycles):
        campaign.count("cycles")
        with campaign.bare_home() as home:
            fail(campaign, home, cycle, FAILURES[cycle % len(FAILURES)])


def fail(campaign, home, cycle, failures):
    """Lets syncs of a server fail, and looks at what it acknowledged."""
    recorder = Recorder(home)
    server = listening(home, recorder.environment)
    if server.poll() is not None:
        raise Failed(f"the server did not start: {log(home)}")
    token, ledger = long_token(home), Ledger(recorder.mark)
    admin = recorder.mark()
    with Writers(campaign, home, ledger, token, cycle) as writers:
        until("the first changes", lambda: ledger.acknowledged >= BEFORE)
        time.sleep(campaign.random.uniform(0, 0.2))
        recorder.words[FAILING] = failures
        if failures < 0:
            until("refusals", lambda: len(writers.refused()) >= REFUSALS)
            # What was sent before may have been synced before.
            begun = recorder.mark()
            until("more refusals", lambda: len(writers.refused()) >= 2 * REFUSALS)
            acknowledged_unkept(campaign, ledger, begun)
            recorder.words[FAILING] = 0
        else:
            until("the syncs to fail", lambda: recorder.words[FAILED_SYNCS] >= failures)
        before = ledger.acknowledged
        went_on(campaign, home, ledger, before)
    for status, text in writers.refused():
        campaign.count("refused")
        if status != 500 or "rror" not in text:
            campaign.violated("unclear", f"{status}: {text.strip()}")
    for failure in writers.failures:
        campaign.violated("no answer", failure)
    campaign.count("failed syncs", recorder.words[FAILED_SYNCS])
    campaign.count("acknowledged", ledger.acknowledged)
    same(campaign, home, token, ledger, "in the same server")
    server.kill()
    server.wait()
    operations = recorder.operations()
    compare(operations, recorder)
    after_power_loss(campaign, operations, ledger, token, admin)
    if listening(home).poll() is not None:
        campaign.violated("refused to start", log(home))
        return
    same(campaign, home, token, ledger, "after a restart")
    for kind, text in check(state_folder(home)):
        campaign.violated(kind, text)


def acknowledged_unkept(campaign, ledger, begun):
    """Looks for changes that were sent and acknowledged while no sync succeeded."""
    with ledger.lock:
        found = [
            (thing, number, change, list(changes))
            for thing, changes in ledger.changes.items()
            for number, change in enumerate(changes)
            if change.sent >= begun and change.acknowledged is not None
        ]
    for thing, number, change, changes in found:
        # What changes nothing needs no sync.
        if all(earlier.value == change.value for earlier in changes[:number]):
            continue
        campaign.violated("acknowledged unkept", f"{thing[0]} `{thing[1]}` while no sync succeeds")


def went_on(campaign, home, ledger, before):
    """Waits for acknowledged changes after the failures; a server that needs a restart says so."""
    try:
        until("changes after the failures", lambda: ledger.acknowledged >= before + AFTER)
        campaign.count("went on")
    except Failed as error:
        if "restart" in log(home):
            campaign.count("asked for a restart")
        else:
            campaign.violated("stuck", str(error))


def after_power_loss(campaign, operations, ledger, token, admin):
    """Tries states of a disk on which what failed to be kept is lost."""
    memory = pathlib.Path("/dev/shm")
    with campaign.bare_home(memory if memory.is_dir() else None) as home:
        Trial(campaign, [home], ledger, token, admin).run(operations, STATES, 2, "states after a loss of power")
