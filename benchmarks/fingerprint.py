"""Hashes of what small fits predict: two versions of the code that agree give the same numbers.

Run it at one commit with ``--output FILE``, and at the other with ``--compare FILE``, on the same
machine with as many threads. Thirteen fits are hashed: labels and scores of the twenty best.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._report import command, table

N_TRAIN, N_TEST, K = 1000, 120, 20


def data() -> Any:
    """The first icons of the quick-start set."""
    from skxmc.datasets import load_fontawesome

    found = load_fontawesome()
    kept = np.flatnonzero(np.bincount(found.Y_train[:N_TRAIN].indices, minlength=1) > 0)
    found.label_text = [found.label_text[label] for label in kept]
    found.Y_train = found.Y_train[:N_TRAIN][:, kept]
    found.exclude_train = found.exclude_train[:N_TRAIN][:, kept]
    found.exclude_test = found.exclude_test[:N_TEST][:, kept]
    found.text_train, found.images_train = found.text_train[:N_TRAIN], found.images_train[:N_TRAIN]
    found.text_test, found.images_test = found.text_test[:N_TEST], found.images_test[:N_TEST]
    return found


def fits(folder: Path) -> dict[str, tuple[Callable[[Any], Any], bool]]:
    """Estimator (made of the data) of each fit, and whether it gets pictures."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from tiny_models import save_language_model

    from skxmc import DecoderXMCClassifier, ViXMLClassifier
    from skxmc.encoders import LanguageModel, LoRA
    from skxmc.evidence import Neighbours, Prototypes
    from skxmc.model_selection import Validation
    from skxmc.objectives import LinearHead, Prime

    decoder = save_language_model(folder / "decoder")

    def text(**params: Any) -> Callable[[Any], Any]:
        return lambda found: ViXMLClassifier(
            label_text=found.label_text, random_state=0, **{"train_encoder": "frozen", **params}
        )

    def tuned(**params: Any) -> Callable[[Any], Any]:
        return text(**{"train_encoder": "full", "epochs": 2, "batch_size": 64, **params})

    def language(encoder: Any, **params: Any) -> Callable[[Any], Any]:
        return lambda found: DecoderXMCClassifier(
            encoder, label_text=found.label_text, random_state=0, epochs=2, batch_size=64, **params
        )

    shared = Neighbours(weight=0.3)
    attentive = LanguageModel(decoder, pooling="attention")
    return {
        "frozen, text": (text(), False),
        "frozen, pictures": (text(), True),
        "frozen, re-ranked": (text(validation=0.25), True),
        "frozen, texts of labels alone": (
            text(evidence=[Prototypes(centroids=False), "neighbours"]),
            False,
        ),
        "frozen, a share of neighbours": (
            text(evidence=["prototypes", shared, "label_vectors"]),
            False,
        ),
        "tuned, text": (tuned(), False),
        "tuned, pictures": (tuned(), True),
        "tuned, linear head": (tuned(objective=LinearHead()), False),
        "tuned, early stopping": (
            tuned(objective=Prime(head_weight=0.0), validation=Validation(patience=3)),
            False,
        ),
        "adapters": (tuned(train_encoder="lora", adapter=LoRA(rank=8)), False),
        "decoder, text": (language(decoder), False),
        "decoder, pictures": (language(attentive), True),
        "precomputed": (text(encoder="precomputed"), False),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add = parser.add_argument
    add("--only", nargs="+", default=None, metavar="FIT", help="some of the fits, by their names")
    add("--compare", type=Path, default=None, metavar="FILE", help="report of another commit")


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Fit, predict and hash."""
    found = data()
    known = {}
    if options.compare is not None:
        report = json.loads(options.compare.read_text(encoding="utf-8"))
        known = {one["fit"]: one for one in report["results"]}
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, pictures) in fits(Path(folder)).items():
            if options.only is not None and name not in options.only:
                continue
            train, test = found.text_train, found.text_test
            if name == "precomputed":
                rng = np.random.RandomState(0)
                train, test = rng.normal(size=(N_TRAIN, 64)), rng.normal(size=(N_TEST, 64))
            images = (found.images_train, found.images_test) if pictures else (None, None)
            started = time.perf_counter()
            model = make(found).fit(
                train, found.Y_train, images=images[0], exclude=found.exclude_train
            )
            labels, scores = model.predict_topk(
                test, K, images=images[1], exclude=found.exclude_test
            )
            result = {
                "fit": name,
                "labels": hashlib.sha256(labels.tobytes()).hexdigest(),
                "scores": hashlib.sha256(scores.tobytes()).hexdigest(),
                "threshold": model.threshold_,
                "seconds": time.perf_counter() - started,
            }
            if name in known:
                before = known[name]
                result["equal"] = all(result[key] == before[key] for key in ("labels", "scores"))
            yield result


def markdown(results: list[dict[str, Any]]) -> str:
    """Return a row for each fit."""
    rows = [
        [
            one["fit"],
            one["labels"][:12],
            one["scores"][:12],
            f"{one['threshold']:.6f}",
            f"{one['seconds']:.1f}",
            {True: "yes", False: "NO", None: ""}[one.get("equal")],
        ]
        for one in results
    ]
    return table(["fit", "labels", "scores", "threshold", "s", "equal"], rows, left=1)


def main(arguments: list[str] | None = None) -> None:
    """Hash and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
