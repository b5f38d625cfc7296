"""Kill processes while they save, and load what is there: ``python tests/interrupted_saves.py``.

Each process saves model after model to one folder; at some moment it is killed. What is there
must be one whole model, before and after the next save. Every other time a file of the user's lies
in the folder, so that files are moved one by one instead of exchanging folders.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from skxmc._persistence_io import readings, write_content
from skxmc._replacing import replacing

ROOT = Path(__file__).resolve().parents[1]

# Saves models of numbers from some number on, and says when it has begun.
SAVING = """
import sys
from interrupted_saves import save

folder, number, step, count = sys.argv[1], *map(int, sys.argv[2:])
print("begun", flush=True)
for number in range(number, number + step * count, step):
    save(folder, number)
"""


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
    if len(found) > 1 or there != names:
        raise AssertionError(f"a mixture of {sorted(found)} with {there}")
    return found.pop()


def start_saving(folder, number, step=1, count=10**6):
    """A process that saves models, and has begun."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    process = subprocess.Popen(
        [sys.executable, "-c", SAVING, *map(str, (folder, number, step, count))],
        env=environment,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    return process


def kill_while_saving(place, count, seed=0):
    """Kill `count` processes; returns how many left something behind, and how many models passed.

    Parameters
    ----------
    place : Path
        An empty folder.
    count : int
    seed : int
    """
    rng = random.Random(seed)
    left, models = 0, set()
    for number in range(count):
        folder = place / f"model{number % 2}"
        notes = folder / "notes.txt"
        if not folder.exists():
            save(folder, 0)
        if number % 2:
            notes.write_text("precious", encoding="utf-8")
        process = start_saving(folder, 1)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=rng.uniform(0.0, 0.25))
        process.kill()
        process.wait()
        process.stdout.close()
        names = [*os.listdir(place), *os.listdir(folder)]
        left += any(name.endswith((".new", ".old")) or name == ".skxmc.next" for name in names)
        models.add(load(folder))
        save(folder, 7)
        names = {name for name in os.listdir(place) if not name.startswith("model")}
        names |= {name for name in os.listdir(folder) if name.startswith(".")}
        if load(folder) != 7 or names or (number % 2 and notes.read_text() != "precious"):
            raise AssertionError(f"after the kill number {number} there is {sorted(names)}")
    return left, models


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=400)
    with tempfile.TemporaryDirectory() as place:
        count = parser.parse_args().count
        left, models = kill_while_saving(Path(place), count)
    sys.stdout.write(
        f"{count} kills: each time one whole model ({len(models)} different ones); {left} left "
        "something behind, which the next save removed\n"
    )


if __name__ == "__main__":
    main()
