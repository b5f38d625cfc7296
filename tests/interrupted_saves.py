"""Stop and kill processes while they save, or let them save at once, and load what is there.

``python tests/interrupted_saves.py kills --count 400`` kills as many processes. What is there must
be one whole model each time, before and after the next save. With ``--kept`` a file of the user's
lies in the folder, so that files are moved one by one instead of exchanging folders.
"""

import argparse
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

from skxmc._folders._content import readings, write_content
from skxmc._folders._replacing import is_interrupted, replacing

# Steps of a save that change names.
STEPS = ("rename", "replace", "unlink", "rmdir", "mkdir")


def save(folder, number):
    """A model of which each part says the number; even ones have a file more."""
    with replacing(folder) as place:
        (place / "tower").mkdir()
        (place / "tower" / "config.json").write_text(str(number), encoding="utf-8")
        if number % 2 == 0:
            (place / "tower" / "even.txt").write_text(str(number), encoding="utf-8")
        write_content(place, {"number": number, "array": np.full(5000, number)})


def load(folder):
    """The number that all parts of a model say."""
    for reading in readings(Path(folder), parts=("tower",)):
        with reading as content:
            names = ["config.json", *(["even.txt"] if content["number"] % 2 == 0 else [])]
            texts = [(Path(folder) / "tower" / name).read_text(encoding="utf-8") for name in names]
            found = {content["number"], *map(int, texts), *content["array"].tolist()}
            there = sorted(os.listdir(Path(folder) / "tower"))
    check(len(found) == 1 and there == names, f"a mixture of {sorted(found)} with {there}")
    return found.pop()


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def check_place(folder, kept):
    """Whether there is nothing but one model, and the user's file as it was."""
    beside = [name for name in os.listdir(folder.parent) if name.startswith(".")]
    inside = [name for name in os.listdir(folder) if name.startswith(".")]
    check(not beside and not inside, f"{beside} and {inside} are left")
    notes = folder / "notes.txt"
    check(notes.exists() == kept, "a file appeared or is gone")
    check(not kept or notes.read_text(encoding="utf-8") == "precious", "a file was changed")


def start(folder, kept, number=0):
    """A first model."""
    save(folder, number)
    if kept:
        (folder / "notes.txt").write_text("precious", encoding="utf-8")


def fork(work):
    """A process that does some work."""
    process = os.fork()
    if process:
        return process
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def stopping(function, left):
    def call(*arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)
        return function(*arguments, **options)

    return call


def stop(place, kept):
    """Stop a save before its first step, its second step and so on, until it comes to its end."""
    seen, steps, code = set(), 0, 9
    while code == 9:
        folder = place / str(steps) / "model"
        start(folder, kept)

        def work(folder=folder, steps=steps):
            left = [steps]
            for name in STEPS:
                setattr(os, name, stopping(getattr(os, name), left))
            save(folder, 1)

        code = os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1])
        check(code in (0, 9), f"a save failed after {steps} steps")
        seen.add((is_interrupted(folder), load(folder)))
        save(folder, 2)
        check(load(folder) == 2, "another model than was saved")
        check_place(folder, kept)
        shutil.rmtree(folder.parent)
        steps += 1
    # Stopped before and after; in between, a load brings it to its end.
    check({(False, 0), (False, 1), *([(True, 1)] if kept else [])} == seen, f"only {seen}")
    return f"{steps} steps"


def kill(place, kept, count, seed=0):
    """Kill processes at some moment."""
    rng = random.Random(seed)
    left, models = 0, set()
    folder = place / "model"
    start(folder, kept)
    ends = os.pipe()
    for _ in range(count):

        def work():
            for number in range(1, 10**9):
                save(folder, number)

        process = fork(work)
        select.select([ends[0]], [], [], rng.uniform(0, 0.3))  # nothing ever comes
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        names = [*os.listdir(place), *os.listdir(folder)]
        left += any(name.startswith(".") for name in names)
        models.add(load(folder))
        save(folder, 0)
        check(load(folder) == 0, "another model than was saved")
        check_place(folder, kept)
    return f"{count} kills, {left} left something behind, {len(models)} different models"


def together(place, kept, count):
    """Two processes save while this one loads."""
    folder = place / "model"
    start(folder, kept)

    def work(first):
        for number in range(first, first + 2 * count, 2):
            save(folder, number)

    running = {fork(lambda first=first: work(first)) for first in (1, 2)}
    seen = []
    while running:
        seen.append(load(folder))
        for process in tuple(running):
            if os.waitpid(process, os.WNOHANG)[0]:
                running.remove(process)
    check(load(folder) in (2 * count - 1, 2 * count), "the last model is none of the last ones")
    check_place(folder, kept)
    return f"{len(seen)} loads of {len(set(seen))} different models while {2 * count} were saved"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["stop", "kill", "together"])
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--kept", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        arguments = {} if options.action == "stop" else {"count": options.count}
        result = globals()[options.action](Path(place), options.kept, **arguments)
    sys.stdout.write(f"{result}: one whole model each time\n")


if __name__ == "__main__":
    main()
