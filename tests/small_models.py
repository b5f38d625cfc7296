"""Small fitted models of every kind, saved to folders, with what they predict."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from plugins.blocked import Blocked
from plugins.infonce import InfoNCE
from plugins.popularity import Popularity
from tiny_models import save_encoder, save_language_model

from skxmc import DecoderXMCClassifier, ViXMLClassifier
from skxmc.encoders import LoRA
from skxmc.evidence import LabelVectors, Neighbours, Prototypes
from skxmc.indexes import HNSW, IVF

WORDS = "red green blue apple car tree house dog cat bird fast slow".split()
N = 40
_RNG = np.random.RandomState(0)
VECTORS = _RNG.normal(size=(N, 6)).astype(np.float32)
TEXTS = [" ".join(WORDS[word] for word in row) for row in _RNG.randint(len(WORDS), size=(N, 3))]
LABELS = [sorted({*text.split()}) for text in TEXTS]
PICTURES = [
    None if row % 4 == 0 else _RNG.randint(255, size=(16, 16, 3)).astype(np.uint8)
    for row in range(N)
]


@dataclass(frozen=True)
class SmallModel:
    """A saved model and what it answers.

    Attributes
    ----------
    folder : Path
        Of the saved model; tests change copies of it.
    estimator : type
    X : list of str or ndarray
    images : list or None
    options : dict
        Of ``load``: what a caller has to name himself.
    expected : tuple of ndarray
        Labels and scores of ``predict_topk``.
    """

    folder: Path
    estimator: type
    X: Any
    images: list | None = None
    options: dict[str, Any] = field(default_factory=dict)
    expected: Any = None

    def predict(self, folder: Path, **options) -> tuple[np.ndarray, np.ndarray]:
        """Load a folder as this one and predict."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = self.estimator.load(folder, device="cpu", **{**self.options, **options})
            return model.predict_topk(self.X, k=3, images=self.images)


def _save(place: Path, name: str, model, X, images=None, **options) -> SmallModel:
    folder = place / name
    model.fit(X, LABELS, images=images) if images is not None else model.fit(X, LABELS)
    model.save(folder)
    small = SmallModel(folder, type(model), X, images, options)
    # Loaded models lie otherwise in memory than fitted ones: two loads are equal to the bit.
    return SmallModel(folder, type(model), X, images, options, small.predict(folder))


def _vectors(place: Path, name: str, index: Any = "auto") -> SmallModel:
    model = ViXMLClassifier("precomputed", index=index, **_common())
    return _save(place, name, model, VECTORS)


def _common() -> dict[str, Any]:
    evidence = [Prototypes(), Neighbours(n_neighbors=5), LabelVectors(epochs=2)]
    return {"evidence": evidence, "random_state": 0, "device": "cpu"}


def _texts(place: Path, name: str, architecture: str, **options) -> SmallModel:
    encoder = save_encoder(place / f"encoder-{architecture}", architecture, words=WORDS)
    return _save(place, name, ViXMLClassifier(encoder, **{**_common(), **options}), TEXTS)


def save_vit(folder: Path) -> str:
    """Write a random image model to a folder."""
    config = transformers.ViTConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        architectures=["ViTModel"],
    )
    transformers.ViTModel(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return str(folder)


def _pictures(place: Path, name: str) -> SmallModel:
    encoder, seen = save_encoder(place / "encoder", words=WORDS), save_vit(place / "vit")
    model = ViXMLClassifier(encoder, image_encoder=seen, train_encoder="frozen", **_common())
    return _save(place, name, model, TEXTS, PICTURES, image_encoder=seen)


def _decoder(place: Path, name: str) -> SmallModel:
    base = save_language_model(place / "language-model")
    tuned = {"train_encoder": "lora", "adapter": LoRA(rank=2), "epochs": 1}
    model = DecoderXMCClassifier(base, evidence=["prototypes"], **tuned, random_state=0)
    return _save(place, name, model, TEXTS, base=base)


def _plugins(place: Path, name: str) -> SmallModel:
    model = {"index": Blocked(), "objective": InfoNCE(), "epochs": 1, "train_encoder": "full"}
    return _texts(place, name, "bert", evidence=[Popularity(), Prototypes()], **model)


# Each makes one kind of model below a folder.
MAKERS: dict[str, Callable[[Path, str], SmallModel]] = {
    "vectors": _vectors,
    "hnsw": lambda place, name: _vectors(place, name, HNSW(m=4)),
    "ivf": lambda place, name: _vectors(place, name, IVF(nlist=4)),
    "frozen": lambda place, name: _texts(place, name, "bert", train_encoder="frozen"),
    "modern": lambda place, name: _texts(place, name, "modernbert", train_encoder="frozen"),
    "tuned": lambda place, name: _texts(place, name, "bert", train_encoder="full", epochs=1),
    "pictures": _pictures,
    "decoder": _decoder,
    "plugins": _plugins,
}


class SmallModels:
    """All kinds of models, each made when it is asked for.

    Parameters
    ----------
    place : Path
        Where they and their encoders are.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._made: dict[str, SmallModel] = {}

    def __getitem__(self, kind: str) -> SmallModel:
        if kind not in self._made:
            (self.place / kind).mkdir()
            self._made[kind] = MAKERS[kind](self.place / kind, "model")
        return self._made[kind]
