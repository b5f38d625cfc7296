"""Fuzz for some minutes: ``python -m tests.fuzz --minutes 60``, from the root of the repository."""

from __future__ import annotations

import argparse
import os
import pickle
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from small_models import SmallModels
from test_damage import WRITERS

from fuzz.arguments import ARGUMENTS
from fuzz.damage import MODELS, Victim, damage

Target = Callable[[random.Random], str]

# Inputs of one process. It may crash without ending the others.
BATCH = 50
PATIENCE = 600  # seconds of a batch


def reader(kind: str) -> Target:
    """Files of a data set of which one is damaged."""

    def target(rng: random.Random) -> str:
        with tempfile.TemporaryDirectory() as name:
            load = WRITERS[kind](Path(name))
            files = sorted(path for path in Path(name).rglob("*") if path.is_file())
            path = rng.choice(files)
            path.write_bytes(damage(path.read_bytes(), rng))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    load()
            except (ValueError, FileNotFoundError):
                return "refused"
            return "taken"

    return target


def model_targets(models: SmallModels, place: Path) -> dict[str, Target]:
    """Damages and edits of each kind of saved model."""
    targets: dict[str, Target] = {}
    for kind in MODELS:
        victim = Victim(models[kind], place / f"victim-{kind}")

        def damaged(rng: random.Random, victim: Victim = victim) -> str:
            return victim.damage(rng.randrange(10**6), rng)

        def edited(rng: random.Random, victim: Victim = victim) -> str:
            return victim.edit(rng, sealed=False)

        def sealed(rng: random.Random, victim: Victim = victim) -> str:
            return victim.edit(rng, sealed=True)

        targets |= {f"damage: {kind}": damaged, f"edit: {kind}": edited, f"seal: {kind}": sealed}
    return targets


def run_batch(target: Target, seed: int) -> tuple[Counter, list[str]]:
    """Outcomes of some inputs, in a process of their own, and what went wrong."""
    ours, theirs = os.pipe()
    process = os.fork()
    if process == 0:
        signal.alarm(PATIENCE)
        os.close(ours)
        with os.fdopen(theirs, "wb") as stream:
            stream.write(pickle.dumps(_batch(target, seed)))
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as stream:
        content = stream.read()
    status = os.waitpid(process, 0)[1]
    if status or not content:
        return Counter({"crash": 1}), [f"batch {seed} ended with status {status}"]
    return pickle.loads(content)


def _batch(target: Target, seed: int) -> tuple[Counter, list[str]]:
    found, problems = Counter(), []
    for number in range(seed, seed + BATCH):
        try:
            found[target(random.Random(number))] += 1
        except AssertionError as error:
            found["silent or unclear"] += 1
            problems.append(f"seed {number}: {error}")
        except Exception:
            found["error"] += 1
            problems.append(f"seed {number}: {traceback.format_exc()}")
    return found, problems


def main() -> int:
    """Run all targets in turn until the time is over; the exit status says whether all held."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first input")
    parser.add_argument("--only", default="", help="targets whose name begins so")
    options = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # messages may hold lone surrogates
    with tempfile.TemporaryDirectory() as name:
        targets = {f"reader: {kind}": reader(kind) for kind in WRITERS}
        targets |= {f"argument: {kind}": target for kind, target in ARGUMENTS.items()}
        if not options.only or options.only.startswith(("damage", "edit", "seal")):
            targets |= model_targets(SmallModels(Path(name)), Path(name))
        targets = {key: found for key, found in targets.items() if key.startswith(options.only)}
        totals = _run(targets, options.seed, time.monotonic() + 60 * options.minutes)
    failures = 0
    for key, found in sorted(totals.items()):
        failures += found["crash"] + found["error"] + found["silent or unclear"]
        counts = ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
        sys.stdout.write(f"{key:24} {sum(found.values()):8} inputs: {counts}\n")
    n_inputs = sum(sum(found.values()) for found in totals.values())
    sys.stdout.write(f"{n_inputs} inputs, {failures} failures\n")
    return int(failures > 0)


def _run(targets: dict[str, Target], seed: int, end: float) -> dict[str, Counter]:
    totals = {key: Counter() for key in targets}
    while time.monotonic() < end:
        for key, target in targets.items():
            found, problems = run_batch(target, seed)
            totals[key] += found
            for problem in problems:
                sys.stdout.write(f"{key}, {problem}\n")
            if time.monotonic() > end:
                break
        seed += BATCH
        sys.stdout.flush()
    return totals


if __name__ == "__main__":
    sys.exit(main())
