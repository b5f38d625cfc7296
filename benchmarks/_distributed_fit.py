"""One fit of several processes: ``torchrun -m benchmarks._distributed_fit OPTIONS.json FOLDER``."""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from skxmc import ViXMLClassifier, distributed

from ._data import load
from ._report import make_estimator


def main(options: str, folder: str) -> None:
    """Fit, predict, and write what this process has found."""
    given = argparse.Namespace(**json.loads(Path(options).read_text(encoding="utf-8")))
    data = load(given.data, given.folder)
    rows = slice(given.documents)
    images = (data.images_train[rows], data.images_test) if given.images else (None, None)
    model = make_estimator(ViXMLClassifier, given.params)
    with distributed.processes():
        started, cpu_started = time.perf_counter(), time.process_time()
        model.set_params(label_text=data.label_text)
        model.fit(data.text_train[rows], data.Y_train[rows], images=images[0])
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu_started
        labels, scores = model.predict_topk(data.text_test, k=5, images=images[1])
        state = model.featurizer_.tower.state_dict()
        np.savez(
            Path(folder) / f"{distributed.rank()}.npz",
            weights=np.concatenate([state[name].numpy().ravel() for name in sorted(state)]),
            labels=labels,
            scores=scores,
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            speed=[entry["documents_per_second"] for entry in model.history_],
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
