"""A saved model from a stranger is refused or does nothing: 120 folders that try six things."""

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from crafted_folders import EACH, KINDS, REFITTED, craft, make_outside
from small_models import LABELS, SmallModels

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="makes links and pipes"),
]

# What a process may open beside the folder: the machine, and code of libraries.
MACHINE = (
    "/proc/",
    "/sys/",
    "/etc/",
    "/dev/",
    "/usr/",
    "/lib",
    str(ROOT),
    sys.prefix,
    sys.base_prefix,
)


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Outcome of each crafted folder, and the names of all files that were opened for it."""
    place = tmp_path_factory.mktemp("crafted")
    models, outside = SmallModels(place), make_outside(place / "outside")
    jobs, keys = [], []
    for name in ("vectors", "ivf", "frozen", "modern", "pictures", "decoder"):
        jobs.append(job(models[name], models[name].folder, models[name].options, whole=True))
        keys.append(name)
    for kind in KINDS:
        for number in range(EACH):
            folder = place / f"{kind}-{number}"
            small = models[craft(kind, number, models, outside, folder)]
            # Only where it is about something else is the rest of the model named by the caller.
            options = {} if kind == "S4" else small.options
            refit = LABELS if kind == "S3" and number < REFITTED else None
            jobs.append(job(small, folder, options, refit=refit))
            keys.append((kind, number))
    before = contents(outside)
    names = run(jobs, outside, place)
    assert contents(outside) == before
    outcomes = pickle.loads((place / "results").read_bytes())[0]
    found = dict(zip(keys, outcomes, strict=True))
    return models, found, split(names, jobs, keys), outside


def job(small, folder, options, whole=False, refit=None):
    return {
        "folder": str(folder),
        "estimator": small.estimator,
        "X": small.X,
        "images": small.images,
        "options": options,
        "refit": refit,
        "whole": whole,
    }


def run(jobs, outside, place):
    """Open all folders from where relative names would lead to the models outside."""
    (place / "jobs").write_bytes(pickle.dumps(jobs))
    log = place / "strace"
    command = [sys.executable, "-m", "crafted_folders", str(place / "jobs"), str(place / "results")]
    if shutil.which("strace"):
        trace = "trace=open,openat,openat2"
        command = ["strace", "-f", "-y", "-s", "4096", "-e", trace, "-o", str(log), *command]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "HOME": str(outside),
        "HF_HOME": str(place / "hub"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, cwd=outside, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    if not log.exists():
        return pickle.loads((place / "results").read_bytes())[1]
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [name for line in lines for name in absolute(line, outside)]


_CALL = re.compile(r'open(?:at2?)?\((?:(AT_FDCWD|\d+)(?:<([^>]*)>)?, )?"((?:[^"\\]|\\.)*)"')


def absolute(line, outside):
    """The path that a system call opens."""
    call = _CALL.search(line)
    if call is None:
        return []
    folder = call[2] if call[1] not in (None, "AT_FDCWD") else str(outside)
    return [os.path.normpath(os.path.join(folder, call[3]))]


def split(names, jobs, keys):
    """The opened files of each job; those of the whole models come last of all."""
    parts, begins = {}, {f"{job['folder']}.begin": key for job, key in zip(jobs, keys, strict=True)}
    key = None
    for name in names:
        if name in begins:
            key = begins[name]
            parts[key] = []
        elif name.endswith(".end.begin"):
            key = None
        elif key is not None:
            parts[key].append(name)
    return parts


@pytest.mark.parametrize("number", range(EACH))
@pytest.mark.parametrize("kind", KINDS)
def test_crafted_folder_is_refused_and_reaches_nothing(kind, number, opened):
    _, outcomes, names, outside = opened
    folder = f"{outside.parent}/{kind}-{number}"
    allowed = (folder, str(outside.parent / "hub"), *MACHINE)
    if kind != "S4":  # what the caller named himself
        allowed += (str(outside.parent / "decoder" / "language-model"),)
        allowed += (str(outside.parent / "pictures" / "vit"),)
    reached = [
        name
        for name in names[kind, number]
        if not name.startswith(allowed)
        # Without strace the names of files in an opened folder are relative.
        and (os.path.isabs(name) or (outside / name).exists())
    ]
    assert not reached
    assert not (outside / "RAN").exists()
    outcome = outcomes[kind, number]
    if "error" in outcome:
        assert outcome["error"] in ("ValueError", "FileNotFoundError", "ModelNotFoundError")
        assert folder in outcome["message"] or "load(folder, image_encoder=" in outcome["message"]
        return
    # What has no effect may be taken, where it cannot do harm.
    assert kind in ("S3", "S5")
    assert outcome["memory"] is None
    assert outcome["device"] == "cpu"
    assert not outcome["trusts"]
    fitted_again = "vectors" if number < REFITTED else "frozen"
    original = "modern" if kind == "S5" else fitted_again
    for one, two in zip(outcomes[original]["answer"], outcome["answer"], strict=True):
        np.testing.assert_array_equal(one, two)


def test_whole_models_load(opened):
    """So that what is refused is refused for a reason."""
    for name in ("vectors", "ivf", "frozen", "modern", "pictures", "decoder"):
        for one, two in zip(opened[0][name].expected, opened[1][name]["answer"], strict=True):
            np.testing.assert_array_equal(one, two)
