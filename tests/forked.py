"""Predictions in threads and in processes that are forked or spawned, compared with those alone.

Run as a module with the name of a way, in a process with several threads of OpenMP.
"""

from __future__ import annotations

import multiprocessing
import pickle
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from small_models import SmallModels

KINDS = ("vectors", "ivf", "frozen", "pictures")
N_THREADS, N_PROCESSES = 8, 4

# Seconds after which a process hangs.
PATIENCE = 300


def load(small):
    return small.estimator.load(small.folder, device="cpu", **small.options)


def answer(smalls, loaded, connection=None):
    """Predict with models of the parent, or with some that are loaded here."""
    loaded = [load(small) for small in smalls] if loaded is None else loaded
    found = [
        model.predict_topk(small.X, k=3, images=small.images)
        for small, model in zip(smalls, loaded, strict=True)
    ]
    if connection is not None:
        connection.send(pickle.dumps(found))
    return found


def in_threads(smalls):
    """Answers of threads that are the first to use the models."""
    loaded = [load(small) for small in smalls]
    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(lambda _: answer(smalls, loaded), range(4 * N_THREADS)))


def in_processes(way, smalls, loaded):
    """Answers of processes that are started while this one has computed already."""
    context = multiprocessing.get_context(way)
    started = []
    for _ in range(N_PROCESSES):
        ours, theirs = context.Pipe(duplex=False)
        # A forked process has the models; a spawned one loads its own.
        given = loaded if way == "fork" else None
        process = context.Process(target=answer, args=(smalls, given, theirs))
        process.start()
        started.append((process, ours))
    answers = []
    for process, connection in started:
        if not connection.poll(PATIENCE):
            process.kill()
            raise RuntimeError(f"a process by {way} gave no answer")
        answers.append(pickle.loads(connection.recv()))
        process.join()
    return answers


def main(way: str) -> None:
    """Compare, for models of vectors, of texts, and of texts and pictures."""
    models = SmallModels(Path(tempfile.mkdtemp()))
    smalls = [models[kind] for kind in KINDS]
    loaded = [load(small) for small in smalls]
    alone = answer(smalls, loaded)
    others = in_threads(smalls) if way == "thread" else in_processes(way, smalls, loaded)
    for found in others:
        for one, two in zip(alone, found, strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            # Other numbers of threads add up in another order.
            np.testing.assert_allclose(one[1], two[1], rtol=1e-3, atol=1e-5)
    sys.stdout.write(f"{way} {len(others)}\n")


if __name__ == "__main__":
    main(sys.argv[1])
