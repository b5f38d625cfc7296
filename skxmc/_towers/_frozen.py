"""Encoders that are no transformers: tables of word vectors, and functions of a user."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .._features._blocks import unit_rows

# Texts that go through at a time.
_TEXTS = 8192

# Longest text in tokens where nothing is said; a table costs next to nothing a token.
_MAX_LENGTH = 512


class FrozenTower(ABC):
    """What maps texts to vectors and is never trained.

    It has the part of a tower's interface that predictions use.
    """

    kind: str
    gives_tokens = False
    trainable = False
    max_chunks = 1

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length of an embedding."""

    @abstractmethod
    def settings(self) -> tuple[str, ...]:
        """All beside the weights that an embedding depends on."""

    @abstractmethod
    def save(self, folder: Path, *, include_base: bool = False) -> dict[str, Any]:
        """The tower as numbers, strings and arrays."""

    @abstractmethod
    def _embed(self, texts: list[str]) -> np.ndarray:
        """Vectors of any length, (n, dimension) float32."""

    def items(self, texts: Sequence[str], images: Any = None, *, of_labels: bool = False) -> Any:
        """The texts; pictures stand beside embeddings that are not tuned."""
        return list(texts)

    def encode(
        self, items: list[str], *, precision: Any = None, progress: str | None = None
    ) -> np.ndarray:
        """Embeddings of unit norm, (n, dimension) float32, in the order of the texts.

        `progress` is the title of a progress bar.
        """
        output = np.empty((len(items), self.dimension), dtype=np.float32)
        starts = range(0, len(items), _TEXTS)
        for start in tqdm(starts, desc=progress, unit="block", disable=progress is None):
            part = items[start : start + _TEXTS]
            output[start : start + len(part)] = unit_rows(self._embed(part))
        return output

    def for_serving(self, precision: Any, backend: str = "torch") -> FrozenTower:
        """Itself.

        Raises
        ------
        ValueError
            If OpenVINO is to compute.
        """
        if backend != "torch":
            raise ValueError(
                f"backend={backend!r} computes transformers, and this encoder is none; leave it "
                "at backend='torch'."
            )
        return self

    def fingerprint(self) -> tuple:
        """Always equal."""
        return ()

    def to(self, device: Any) -> FrozenTower:
        """Itself: it stays where it computes."""
        return self

    def eval(self) -> FrozenTower:
        """Itself."""
        return self


class FunctionTower(FrozenTower):
    """Embeddings by a function of a user.

    Parameters
    ----------
    function : callable
        Maps a list of str to an array of shape (n, d).
    """

    kind = "function"

    def __init__(self, function: Callable[[list[str]], Any]) -> None:
        self.function = function
        self._dimension: int | None = None

    @property
    def dimension(self) -> int:
        """Length of an embedding, as that of a short text."""
        if self._dimension is None:
            self._dimension = self._embed(["a"]).shape[1]
        return self._dimension

    def settings(self) -> tuple[str, ...]:
        """Nothing that could be known."""
        return ()

    def save(self, folder: Path, *, include_base: bool = False) -> dict[str, Any]:
        """A folder cannot hold a function.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            "encoder is a callable, which a folder cannot hold; use joblib.dump, or fit with "
            "encoder='precomputed' and pass its vectors as X."
        )

    def _embed(self, texts: list[str]) -> np.ndarray:
        vectors = self.function(texts)
        if hasattr(vectors, "detach"):  # a tensor, maybe on another device
            vectors = vectors.detach().cpu().float().numpy()
        vectors = np.asarray(vectors, dtype=np.float32)
        width = vectors.shape[1:] if self._dimension is None else (self._dimension,)
        if vectors.ndim != 2 or vectors.shape != (len(texts), *width):
            raise ValueError(
                f"the encoder gave an array of shape {vectors.shape} for {len(texts)} texts; it "
                "must give one vector for each, all of one length."
            )
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise ValueError(f"the encoder gave a vector with NaN or infinity for {texts[row]!r}.")
        return vectors


class StaticTower(FrozenTower):
    """The mean of the vectors of a text's tokens, which are the same in any text.

    Parameters
    ----------
    table : ndarray of shape (n_rows, dimension), float32
        Vectors.
    tokenizer : str
        A tokenizer of the library tokenizers, in its JSON.
    max_length : int or None
        Longest text in tokens; None takes 512.
    weights : ndarray of shape (n_tokens,), float32, or None
        What the vector of each token is multiplied by.
    rows : ndarray of shape (n_tokens,), int64, or None
        Which row of the table a token has; None numbers them alike.
    skips_unknown : bool, default=False
        Whether tokens that are not known are left out.
    """

    kind = "static"

    def __init__(
        self,
        table: np.ndarray,
        tokenizer: str,
        max_length: int | None = None,
        weights: np.ndarray | None = None,
        rows: np.ndarray | None = None,
        skips_unknown: bool = False,
    ) -> None:
        from tokenizers import Tokenizer

        self.table = np.asarray(table, dtype=np.float32)
        self.max_length = max_length or _MAX_LENGTH
        self.weights, self.rows, self.skips_unknown = weights, rows, skips_unknown
        self._json = tokenizer
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_length)
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        self._unknown = None if unknown is None else self._tokenizer.token_to_id(unknown)

    def __getstate__(self) -> dict[str, Any]:
        return self._arguments()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self.table.shape[1]

    def settings(self) -> tuple[str, ...]:
        """The longest text."""
        return (str(self.max_length),)

    def save(self, folder: Path, *, include_base: bool = False) -> dict[str, Any]:
        """All of it; no files."""
        state = {"kind": self.kind, "attention": None, "image_projection": None}
        return {**state, **self._arguments()}

    @classmethod
    def load(
        cls, folder: Path, state: dict[str, Any], *, trust_remote_code: bool, base: str | None
    ) -> StaticTower:
        """Take back what :meth:`save` gave."""
        names = ("table", "tokenizer", "max_length", "weights", "rows", "skips_unknown")
        return cls(**{name: state[name] for name in names})

    def _arguments(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "tokenizer": self._json,
            "max_length": self.max_length,
            "weights": self.weights,
            "rows": self.rows,
            "skips_unknown": self.skips_unknown,
        }

    def _embed(self, texts: list[str]) -> np.ndarray:
        encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids = np.fromiter((i for one in encoded for i in one.ids), dtype=np.int64)
        owner = np.repeat(np.arange(len(texts)), [len(one.ids) for one in encoded])
        if self.skips_unknown and self._unknown is not None:
            owner, ids = owner[ids != self._unknown], ids[ids != self._unknown]
        rows = ids if self.rows is None else self.rows[ids]
        shares = np.ones(len(ids), dtype=np.float32) if self.weights is None else self.weights[ids]
        import scipy.sparse as sp

        shape = (len(texts), len(self.table))
        sums = sp.csr_array((shares.astype(np.float32), (owner, rows)), shape=shape) @ self.table
        counts = np.bincount(owner, minlength=len(texts))
        return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)


def read_static(folder: Path, max_length: int | None) -> StaticTower | None:
    """The table in a folder of model2vec; None if the folder is none of these.

    Raises
    ------
    ValueError
        If a file is missing.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if config.get("model_type") != "model2vec":
        return None
    from safetensors.numpy import load_file

    for name in ("model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise ValueError(f"the folder {str(folder)!r} lacks {name}; get the model once more.")
    arrays = load_file(folder / "model.safetensors")
    tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    return StaticTower(
        arrays["embeddings"],
        tokenizer,
        max_length,
        weights=arrays.get("weights"),
        rows=arrays.get("mapping"),
        skips_unknown=True,
    )


def static_of(module: Any, max_length: int | None) -> StaticTower:
    """The table of a StaticEmbedding of sentence-transformers."""
    tokenizer = module.tokenizer
    tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)
    table = module.embedding.weight.detach().cpu().float().numpy()
    return StaticTower(table, tokenizer.to_str(), max_length)
