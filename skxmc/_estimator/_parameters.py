"""Which values the parameters may have that both estimators share, and what they stand for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import log2
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .._ranking._holdout import count_folds
from .._runtime import limits
from ..encoders import ImageEncoder, LanguageModel, LoRA, Precomputed, TextEncoder
from ..model_selection import Precision, Validation

# Value of `encoder` for ready embeddings as X.
PRECOMPUTED = "precomputed"

# What runs the text encoder in prediction.
BACKENDS = ("torch", "openvino")

# Values of Validation(metric=...).
METRICS = ("mean", *Validation.MEAN_OF)

# Bounds of batch_size="auto".
_SMALLEST, _LARGEST = 32, 512

shared_constraints: dict = {
    "encoder": [
        str,
        os.PathLike,
        TextEncoder,
        LanguageModel,
        Precomputed,
        HasMethods(["encode"]),
        callable,
    ],
    "image_encoder": [str, os.PathLike, callable, ImageEncoder],
    # Read by `read_labels` and `collect_images`, which say what is wrong with them.
    "label_text": "no_validation",
    "label_images": "no_validation",
    "train_encoder": [StrOptions({"full", "lora", "frozen"})],
    "adapter": [LoRA, None],
    "objective": [str, HasMethods(["compute_loss"]), None],
    "evidence": [list, tuple, None],
    "index": [str, HasMethods(["search"])],
    "text_features": [StrOptions({"embedding", "tfidf", "both"})],
    "text_column": [str, "array-like"],
    "image_column": [str],
    "epochs": [Interval(Integral, 1, None, closed="left")],
    "max_steps": [Interval(Integral, 1, None, closed="left"), None],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
    "training": [HasMethods(["get_params"]), None],
    "validation": [Interval(Real, 0, 1, closed="neither"), Validation, None],
    "threshold": [
        StrOptions({"auto", "per-label"}),
        Interval(Real, 0, 1, closed="both"),
        Precision,
    ],
    "device": "no_validation",  # by `resolve_device`: torch is not loaded before it is needed
    "precision": [StrOptions({"auto", "float32", "bfloat16"})],
    "memory": [str, os.PathLike, HasMethods(["cache"]), None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


@dataclass(frozen=True)
class Recipe:
    """What an estimator takes where a parameter says "auto" or None.

    Attributes
    ----------
    encoder : type
        `TextEncoder` or `LanguageModel`.
    lora_rank : int
    merge_adapters : bool
        Whether adapters are folded into the weights after tuning.
    n_batches : int
        About how many batches make an epoch.
    head_learning_rate : float
    max_grad_norm : float or None
    max_graph_memory : float
    image_dropout : float
    """

    encoder: type
    lora_rank: int
    merge_adapters: bool
    n_batches: int
    head_learning_rate: float
    max_grad_norm: float | None
    max_graph_memory: float
    image_dropout: float = 0.3


@dataclass(frozen=True)
class Mode:
    """How documents come to embeddings: the one place that knows the three ways.

    Attributes
    ----------
    ready : bool
        Documents are passed as embeddings, and there is no encoder.
    tuned : bool
        The encoder is tuned on the documents; else it stays as it was pretrained.
    """

    ready: bool
    tuned: bool

    @classmethod
    def of(cls, encoder: Any, train_encoder: str) -> Mode:
        """The mode that two parameters of an estimator ask for."""
        ready = ready_embeddings(encoder) is not None
        return cls(ready, not ready and train_encoder != "frozen")

    def held_out_share(self, n_documents: int) -> float:
        """Share of the documents that choose how to rank; a tuned encoder misses them.

        Of few documents it is more, up to a fifth: 40 can choose a threshold, 20 hardly.
        """
        if not self.tuned:
            return 0.1
        return min(max(0.05, 40 / max(1, n_documents)), 0.2)


def ready_embeddings(encoder: Any) -> Precomputed | None:
    """What is said of ready embeddings; None where texts are encoded."""
    if isinstance(encoder, Precomputed):
        return encoder
    return Precomputed() if isinstance(encoder, str) and encoder == PRECOMPUTED else None


def has_label_embeddings(encoder: Any) -> bool:
    """Whether ready embeddings of labels are passed."""
    ready = ready_embeddings(encoder)
    return ready is not None and ready.label_embeddings is not None


def label_embeddings_of(encoder: Any, ids: np.ndarray, X: Any) -> np.ndarray | None:
    """Ready embeddings of labels, of the width of the documents' X; None if there are none."""
    ready = ready_embeddings(encoder)
    return None if ready is None else ready.embeddings_of(ids, X.shape[1])


def resolve_encoder(encoder: Any, kind: type) -> TextEncoder | LanguageModel | None:
    """The encoder as an object of a class; None for ready embeddings.

    Raises
    ------
    TypeError
        If it is an encoder of the other estimator.
    """
    if ready_embeddings(encoder) is not None:
        return None
    if isinstance(encoder, str | os.PathLike):
        return kind(encoder)
    if not isinstance(encoder, TextEncoder | LanguageModel):
        if kind is not TextEncoder:
            raise TypeError(
                f"encoder is an object of type {type(encoder).__name__}, and only ViXMLClassifier "
                "takes objects that encode texts; pass the name of a language model."
            )
        return TextEncoder(encoder)
    if not isinstance(encoder, kind):
        uses = {TextEncoder: "ViXMLClassifier", LanguageModel: "DecoderXMCClassifier"}
        raise TypeError(
            f"encoder is a {type(encoder).__name__}, which is an encoder of "
            f"{uses[type(encoder)]}; pass a {kind.__name__}, or use that estimator."
        )
    return encoder


def check_chunks(encoder: TextEncoder | LanguageModel | None, mode: Mode) -> None:
    """Refuse to encode texts in several parts where the encoder is tuned.

    Raises
    ------
    ValueError
        If `max_chunks` of the encoder is no positive int, or above 1 for one that is tuned.
    """
    max_chunks = getattr(encoder, "max_chunks", 1)
    if not isinstance(max_chunks, Integral) or max_chunks < 1:
        raise ValueError(
            f"max_chunks of the encoder must be an int of at least 1, got {max_chunks!r}."
        )
    if mode.tuned and max_chunks > 1:
        raise ValueError(
            f"max_chunks={max_chunks} of the encoder needs train_encoder='frozen': an encoder is "
            "tuned on texts in one piece; leave it at 1, or raise max_length."
        )


def check_threshold(threshold: Any) -> Any:
    """The threshold itself.

    Raises
    ------
    ValueError
        If it is a precision that nobody can keep.
    """
    if isinstance(threshold, Precision):
        inside = 0 < threshold.target < 1 and 0.5 <= threshold.confidence < 1
        if not inside:
            raise ValueError(
                "threshold=Precision(...) needs a target within 0 and 1 and a confidence of at "
                f"least 0.5 and below 1, got {threshold}."
            )
    return threshold


def check_tokens(kinds: list[Any], mode: Mode, encoder: type, estimator: str) -> None:
    """Raise a ValueError if evidence needs vectors of tokens, and no encoder gives them.

    Parameters
    ----------
    kinds : list of Evidence
    mode : Mode
    encoder : type
        Of the estimator's encoders.
    estimator : str
        How it is called.
    """
    needy = [kind.name for kind in kinds if kind.needs_tokens]
    if not needy:
        return
    if mode.ready:
        reason = "encoder='precomputed' has one vector for a document"
    elif not encoder.gives_tokens:
        reason = f"the language model of {estimator} reads from left to right"
    else:
        return
    raise ValueError(
        f"the evidence {needy[0]!r} compares single words of documents, and {reason}; leave it "
        "out, or use ViXMLClassifier with a text encoder."
    )


def resolve_image_encoder(image_encoder: Any) -> ImageEncoder:
    """The image encoder as an object."""
    if isinstance(image_encoder, ImageEncoder):
        return image_encoder
    return ImageEncoder(image_encoder)


def resolve_adapter(adapter: LoRA | None, recipe: Recipe) -> LoRA:
    """Adapters whose rank is a number."""
    adapter = LoRA() if adapter is None else clone(adapter)
    if adapter.rank == "auto":
        adapter.rank = recipe.lora_rank
    return adapter


def resolve_training(training: Any, recipe: Recipe) -> Any:
    """How the optimiser and the batches work, with what the recipe says in place of "auto"."""
    from ..objectives import Training

    training = Training() if training is None else clone(training)
    training._validate_params()
    for name in ("head_learning_rate", "max_grad_norm", "max_graph_memory", "image_dropout"):
        if getattr(training, name) == "auto":
            setattr(training, name, getattr(recipe, name))
    return training


def resolve_validation(validation: float | Validation | None) -> Validation:
    """The held-out documents as an object whose parameters have been checked.

    Raises
    ------
    ValueError
        If one of them is out of range.
    """
    if validation is None:
        return Validation()
    if not isinstance(validation, Validation):
        return Validation(fraction=validation)
    fraction, patience = validation.fraction, validation.patience
    if fraction != "auto" and not (isinstance(fraction, Real) and 0 < fraction < 1):
        raise ValueError(
            f"the fraction of validation must be 'auto' or within 0 and 1, got {fraction!r}."
        )
    folds = validation.folds
    if folds != "auto" and (type(folds) is bool or not isinstance(folds, Integral) or folds < 1):
        raise ValueError(
            f"the folds of validation must be 'auto' or an int of at least 1, got {folds!r}."
        )
    if "auto" not in (folds, fraction) and folds * fraction > 1 + 1e-9:
        raise ValueError(
            f"validation holds out {folds} folds of {fraction:g} of the documents each, more than "
            f"there are; pass a fraction of at most {1 / folds:.3g}, or fewer folds."
        )
    if validation.metric not in METRICS:
        raise ValueError(
            f"the metric of validation must be one of {METRICS}, got {validation.metric!r}."
        )
    if patience is not None and not (isinstance(patience, Integral) and patience >= 1):
        raise ValueError(
            f"the patience of validation must be None or an int of at least 1, got {patience!r}."
        )
    return validation


def check_folds(folds: int | str, tuned: bool, shape: tuple[int, int]) -> None:
    """Refuse several folds where evidence is learned once.

    Raises
    ------
    ValueError
        If the encoder is tuned, or there are too many documents or labels, `shape`.
    """
    if folds in ("auto", 1):
        return
    if tuned:
        raise ValueError(
            f"folds={folds} of validation needs train_encoder='frozen' or ready embeddings: a "
            "tuned encoder has seen all documents but those of one fold. Pass folds=1 or 'auto'."
        )
    if max(shape) > limits.MAX_REBUILT:
        raise ValueError(
            f"folds={folds} of validation would learn the evidence {folds} times more, which is "
            f"not done above {limits.MAX_REBUILT:,} documents or labels; there are {shape[0]:,} "
            f"and {shape[1]:,}. Pass folds=1 or 'auto'."
        )


def resolve_folds(
    validation: Validation, mode: Mode, n_documents: int, shape: tuple[int, int]
) -> int:
    """Parts of the documents that are held out in turn; `n_documents` of them may be."""
    if validation.folds != "auto":
        return validation.folds
    # With many labels the vectors of each part would take much memory.
    once = mode.tuned or max(shape) > limits.MAX_REBUILT or shape[1] > limits.MAX_WORD_VECTORS
    if once or validation.fraction != "auto":
        return 1
    return count_folds(n_documents, mode.held_out_share(n_documents))


def resolve_batch_size(batch_size: int | str, n_documents: int, n_batches: int) -> int:
    """Documents of a batch; "auto" makes about `n_batches` of an epoch.

    Large batches have the better negatives, but a thousand documents in two of them would be an
    epoch of two steps.
    """
    if batch_size == "auto":
        nearest = 2 ** round(log2(max(n_documents / n_batches, 1)))
        batch_size = min(max(nearest, _SMALLEST), _LARGEST)
    return min(batch_size, n_documents)


def settings_of(params: BaseEstimator | None) -> Any:
    """Class and parameters, nested ones too: what a key of a cache is made of."""
    if params is None:
        return None
    nested = params.get_params(deep=False)
    return (
        f"{type(params).__module__}.{type(params).__qualname__}",
        {
            name: settings_of(value) if isinstance(value, BaseEstimator) else value
            for name, value in sorted(nested.items())
        },
    )
