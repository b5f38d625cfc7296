"""Minutes of training until a wanted precision at 1: an estimator of skxmc and the plain loop."""

import argparse
import time
from contextlib import suppress
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.special import softmax

from skxmc import ViXMLClassifier
from skxmc._inputs._images import ImageFeatures
from skxmc._inputs._targets import without_pairs
from skxmc._training._options import TrainingOptions
from skxmc.indexes import make_index
from skxmc.metrics import precision_at_k

from ._padded import ENCODERS, PaddedTrainer, load_tower, make_objective, picture_vectors
from ._report import make_estimator, table

# Of retrieval-augmented inference (user guide, the method's section 7, searched apart): labels and
# documents found, temperature, and the share that documents pass on to their labels.
N_LABELS, N_DOCUMENTS, TEMPERATURE, SHARE = 500, 50, 0.05, 0.1

# Published for small encoders, at the upper end.
LEARNING_RATE = 5e-4


class _Stop(Exception):
    """The plain loop has arrived, or time is up."""


def race(
    options: argparse.Namespace, data: Any, images: ImageFeatures | None, seed: int
) -> dict[str, Any]:
    """Both, one after the other; pictures are vectors before the clock starts."""
    test = None
    if images is not None:
        test = picture_vectors(data.images_test, len(data.text_test), options.memory)
    ours = _estimator(options, data, images, test, seed)
    plain = _plain_loop(options, data, images, test, seed)
    arrived = ours["precision"] >= options.time_to_accuracy
    return {
        "target": options.time_to_accuracy,
        "race": {"skxmc": {**ours, "arrived": arrived}, "plain, bfloat16": plain},
        "ratio": plain["minutes"] / ours["minutes"] if arrived else None,
    }


def _estimator(options, data, images, test, seed: int) -> dict[str, Any]:
    encoder = ENCODERS.get(options.encoder, options.encoder)
    params = {"encoder": encoder, "train_encoder": "frozen", "random_state": seed}
    params |= {"label_text": data.label_text, **dict(options.param)}
    model = make_estimator(ViXMLClassifier, params)
    started = time.perf_counter()
    model.fit(data.text_train, data.Y_train, images=_rows(images), exclude=data.exclude_train)
    minutes = (time.perf_counter() - started) / 60
    found, _ = model.predict_topk(
        data.text_test, k=1, images=_rows(test), exclude=data.exclude_test
    )
    precision = precision_at_k(data.Y_test, found, k=1, exclude=data.exclude_test)
    return {"minutes": minutes, "precision": precision}


def _rows(images: ImageFeatures | None) -> np.ndarray | None:
    """One vector a row, NaN where there is no picture."""
    if images is None:
        return None
    first = images.index[:, 0]
    rows = np.full((len(images), images.dimension), np.nan, dtype=np.float32)
    rows[first >= 0] = images.vectors[first[first >= 0]]
    return rows


def _plain_loop(options, data, images, test, seed: int) -> dict[str, Any]:
    """The loop with prototypes; what it spends on looking at the target does not count."""
    seconds, history = 0.0, []
    started = time.perf_counter()
    tower = load_tower(options, images, "bfloat16", padded=True)
    items = tower.items(data.text_test, test)

    def look(trainer: PaddedTrainer) -> dict[str, float]:
        nonlocal seconds, started
        seconds += time.perf_counter() - started
        scores = retrieval_augmented(trainer, items)
        precision = precision_at_k(data.Y_test, scores, k=1, exclude=data.exclude_test)
        history.append({"minutes": seconds / 60, "precision": precision})
        if precision >= options.time_to_accuracy or seconds >= 60 * options.max_minutes:
            raise _Stop
        started = time.perf_counter()
        return {"validation_score": precision}

    rates = {"learning_rate": LEARNING_RATE, "head_learning_rate": LEARNING_RATE}
    settings = {"epochs": options.epochs, "batch_size": options.batch, **rates}
    trainer = PaddedTrainer(
        tower,
        tower.items(data.text_train, images),
        tower.items(data.label_text),
        without_pairs(data.Y_train, data.exclude_train),
        make_objective(options),
        TrainingOptions(precision=torch.bfloat16, **{**settings, **dict(options.train_param)}),
        np.random.RandomState(seed),
        exclude=data.exclude_train,
        validate=look,
    )
    with suppress(_Stop):
        trainer.fit()
    best = max(history, key=lambda entry: entry["precision"])
    arrived = best["precision"] >= options.time_to_accuracy
    last = best if arrived else history[-1]
    return {
        "minutes": last["minutes"],
        "precision": best["precision"],
        "arrived": arrived,
        "history": history,
    }


def retrieval_augmented(trainer: PaddedTrainer, items: Any) -> sp.csr_array:
    """Scores (n_items, n_labels) of nearest labels and of the labels of nearest documents."""
    queries = trainer.encode(items)
    prototypes = trainer.prototypes(*trainer.encode_labels())
    documents = trainer.encode(trainer.documents)
    found = []
    for vectors, k in (prototypes, N_LABELS), (documents, N_DOCUMENTS):
        index = make_index("exact", *vectors.shape).build(vectors)
        found.append(index.search(queries, min(k, len(vectors))))
    (labels, label_scores), (nearest, document_scores) = found
    shares = softmax(np.hstack([label_scores, document_scores]) / TEMPERATURE, axis=1)
    of_labels, of_documents = np.split(shares, [labels.shape[1]], axis=1)
    scores = _sparse((1 - SHARE) * of_labels, labels, len(prototypes))
    return scores + _sparse(SHARE * of_documents, nearest, len(documents)) @ trainer.Y


def _sparse(values: np.ndarray, columns: np.ndarray, width: int) -> sp.csr_array:
    indptr = np.arange(len(values) + 1) * values.shape[1]
    return sp.csr_array((values.ravel(), columns.ravel(), indptr), shape=(len(values), width))


def race_table(results: list[dict[str, Any]]) -> str:
    """Return minutes and precision of both for each seed."""
    rows = []
    for result in results:
        for name, one in result["race"].items():
            times = "-" if result["ratio"] is None else f"{result['ratio']:.1f}"
            if name == "skxmc":
                times = ""
            elif not one["arrived"] and result["ratio"] is not None:
                times = f"more than {times}"
            rows.append(
                [
                    str(result["seed"]),
                    name,
                    f"{one['minutes']:.2f}",
                    f"{one['precision']:.4f}",
                    "yes" if one["arrived"] else "no",
                    times,
                ]
            )
    header = ["seed", "way", "minutes", "best P@1", f"{results[0]['target']} reached"]
    return table([*header, "times as long as skxmc"], rows)
