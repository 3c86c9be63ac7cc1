"""Any input to what reads inputs: nothing panics, and what must hold of each does (fuzz/README.md).

A cycle is a second for each target. With cargo-fuzz coverage leads the way; without it inputs are
changed at random, as the tests do it for each change.
"""

import os
import re
import subprocess

from home import ROOT
from recorder import Unsupported

# The short tier is that of the tests.
CYCLES = (0, 600)
TARGETS = sorted(path.name for path in (ROOT / "fuzz/corpus").iterdir())
# No input may take more than this: seconds, and megabytes, of which the program itself needs some.
TIMEOUT, MEMORY = 30, 1024
# What is found on the way is kept here, and is where the next run begins.
FOUND = ROOT / "target/campaign/fuzz"
OPTIONS = ["--sanitizer", "none", "--codegen-units", "16"]


def run(campaign):
    """Runs the campaign."""
    if not campaign.cycles:
        raise Unsupported("cargo test does it for each change")
    guided = subprocess.run(["cargo", "fuzz", "--version"], capture_output=True).returncode == 0
    if guided:
        # Both workspaces use the same versions.
        (ROOT / "fuzz/Cargo.lock").write_bytes((ROOT / "Cargo.lock").read_bytes())
        subprocess.run(["cargo", "fuzz", "build", *OPTIONS], cwd=ROOT, check=True)
    else:
        print("  cargo-fuzz is not installed: no coverage leads the way", flush=True)
    for target in TARGETS:
        (with_coverage if guided else with_tests)(campaign, target)
    campaign.count("cycles", campaign.cycles)


def with_coverage(campaign, target):
    """Lets libFuzzer look for inputs."""
    folder = FOUND / target
    folder.mkdir(parents=True, exist_ok=True)
    # 0 would be a random seed.
    seed = campaign.seed % (1 << 31) or 1
    limits = [f"-max_total_time={campaign.cycles}", f"-timeout={TIMEOUT}", f"-rss_limit_mb={MEMORY}"]
    words = ["cargo", "fuzz", "run", *OPTIONS, target, folder, ROOT / "fuzz/corpus" / target, "--"]
    words += [*limits, f"-seed={seed}", "-print_final_stats=1", "-max_len=4096"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, errors="replace")
    report(campaign, target, ended, r"number_of_executed_units: (\d+)")


def with_tests(campaign, target):
    """Lets the test of the target run for longer."""
    environment = os.environ | {"MICRO_FUZZ_SECONDS": str(campaign.cycles), "MICRO_FUZZ_SEED": str(campaign.seed)}
    words = ["cargo", "test", "--lib", "--quiet", "--", "--exact", f"fuzzing::runner::{target}", "--nocapture"]
    ended = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace")
    report(campaign, target, ended, rf"{target}: (\d+) inputs")


def report(campaign, target, ended, pattern):
    """Counts the inputs, and notes what failed."""
    text = ended.stdout + ended.stderr
    found = re.search(pattern, text)
    campaign.count(target, int(found[1]) if found else 0)
    if ended.returncode != 0:
        campaign.violated(f"failed {target}", "\n".join(text.splitlines()[-40:]))
