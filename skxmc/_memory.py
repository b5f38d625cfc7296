"""How much memory a fit will take, said before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from . import _limits
from ._features import PICTURES_PER_COMPONENT
from ._joint_space import WORDS_DIMENSION
from ._labels import encode_targets
from ._parameters import PRECOMPUTED, resolve_batch_size
from ._validation import check_texts
from .retrieval import HNSWIndex, make_index

# Python, torch, transformers, faiss, scikit-learn once loaded, and what the allocator holds back;
# measured on Linux.
LIBRARIES = 0.9e9

# Bytes of a weight in nf4 with double quantisation: four bits, for 64 of them a scale of eight,
# and for 256 scales one of 32.
NF4_BYTES = 0.516

# Texts that stand for all when tokens and words are counted.
SAMPLE = 2000


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a fit takes, by what they hold.

    On an accelerator, weights, adapters, optimiser, activations and label state are in its
    memory, and the rest is in that of the host.

    Parameters
    ----------
    libraries : float
        Python and the libraries.
    base_weights : float
        The encoder's own weights.
    adapters : float
        Low-rank adapters, in float32.
    optimizer : float
        Gradients and both moments of all that is trained.
    activations : float
        The graphs of a batch, or a forward pass without one, whichever is larger.
    label_state : float
        Prototypes, centroids and free vectors while the encoder is tuned, or the label vectors
        with their moments, whichever is larger.
    features : float
        Embeddings, picture vectors and sparse words of the documents.
    index : float
        Search over prototypes and documents.
    """

    libraries: float
    base_weights: float
    adapters: float
    optimizer: float
    activations: float
    label_state: float
    features: float
    index: float

    @property
    def total(self) -> float:
        """Sum of all parts: about the peak of memory."""
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def accelerator(self) -> float:
        """What of it is in the memory of an accelerator, if there is one."""
        on_device = (self.base_weights, self.adapters, self.optimizer, self.activations)
        return sum(on_device) + self.label_state

    def __str__(self) -> str:
        rows = [(field.name.replace("_", " "), getattr(self, field.name)) for field in fields(self)]
        rows.append(("total", self.total))
        return "\n".join(f"{name:<14}{size / 1e9:8.2f} GB" for name, size in rows)


def estimate_memory(clf: Any, X: Any, Y: Any, images: Any = None) -> MemoryEstimate:
    """Say what memory ``clf.fit(X, Y, images=images)`` will take; nothing is loaded or trained.

    Only the encoder's configuration is read: a folder that holds a ``config.json`` and no weights
    will do, and the GPU that four-bit weights need may be missing. Pictures count as one vector
    each, as wide as that of the usual encoders; what it takes to decode and encode them is not
    part of the estimate.

    Parameters
    ----------
    clf : ViXMLClassifier or DecoderXMCClassifier
        Need not be fitted.
    X : sequence of str, or DataFrame
        Documents, as in ``fit``.
    Y : sparse or dense indicator, or sequence of lists
        Their labels, as in ``fit``.
    images : sequence or float array, default=None
        Their pictures, as in ``fit``.

    Returns
    -------
    estimate : MemoryEstimate

    Examples
    --------
    >>> from skxmc import ViXMLClassifier, estimate_memory
    >>> clf = ViXMLClassifier(train_encoder="frozen")
    >>> estimate = estimate_memory(clf, ["red apple", "fast car"], [["fruit"], ["vehicle"]])
    >>> estimate.optimizer
    0.0
    """
    Y, names = encode_targets(Y, len(X), label_text=clf.label_text)
    n, n_labels = Y.shape
    tuned = clf._is_tuned()
    texts, shape = None, _Shape(width=np.shape(X)[-1])
    if clf.encoder != PRECOMPUTED:
        texts, images = check_texts(
            X, text_column=clf.text_column, image_column=clf.image_column, images=images
        )
        shape = _shape_of(clf)
    width = shape.width
    pictures = 0 if images is None else min(512, max(1, n // PICTURES_PER_COMPONENT))
    words, n_nonzero = _sparse_size(clf, texts)

    trained = shape.adapters
    if clf.train_encoder == "full" and tuned:
        trained = shape.parameters
    state = 0.0
    if tuned:
        rows = n_labels
        if clf.prototypes != "linear":
            rows = min(n_labels, _limits.MAX_FREE_VECTORS)
        trained += rows * width
        if clf.prototypes is True:
            with_head = clf.head_weight > 0 and n_labels <= _limits.MAX_ALL_NEGATIVES
            trained += 12 * width**2 + (n_labels * width if with_head else 0)
        state = 4.0 * rows * width + 3 * 4.0 * n_labels * width
    many = n_labels > _limits.MAX_WORD_VECTORS
    if many and clf.text_features == "both":
        words, n_nonzero = 0, 0.0
    if clf.refine_labels:
        # Weights, both moments, and in bf16 anchor and gradient; scores of a batch.
        vectors = n_labels * (width + pictures + words)
        batch = min(512, n) * min(n_labels, _limits.MAX_ALL_NEGATIVES)
        state = max(state, (6.0 if many else 16.0) * vectors + 8.0 * batch)
    largest = max(n, n_labels)
    compared = width + pictures
    if words and largest <= _limits.MAX_WORD_VECTORS and not tuned:
        compared += WORDS_DIMENSION
    copies = 3 if largest <= _limits.MAX_REBUILT else 1
    return MemoryEstimate(
        libraries=LIBRARIES,
        base_weights=shape.base_bytes,
        adapters=4.0 * shape.adapters,
        optimizer=12.0 * trained if tuned else 0.0,
        activations=_activations(clf, shape, texts, names, images is not None, tuned),
        label_state=state,
        features=n * (copies * 4.0 * (width + pictures) + 8.0 * n_nonzero),
        index=_index_size(clf, n, compared) + _index_size(clf, n_labels, compared),
    )


def _index_size(clf: Any, n: int, width: int) -> float:
    """Bytes of an index over n vectors."""
    index = make_index(clf.index, n, width)
    if not isinstance(index, HNSWIndex):
        return 4.0 * n * width
    sizes = {"float32": 4.0, "float16": 2.0, "int8": 1.0}
    return n * (sizes[index.storage] * width + 8.0 * index.m)


@dataclass(frozen=True)
class _Shape:
    """Sizes of a model: hidden width, inner width, layers, weights, bytes of a hidden value."""

    width: int
    inner: int = 0
    layers: int = 0
    parameters: int = 0
    adapters: int = 0
    base_bytes: float = 0.0
    itemsize: int = 4


def _shape_of(clf: Any) -> _Shape:
    """Read the encoder's configuration and count the weights of a model without any."""
    import torch
    import transformers

    from ._backbones._lora import count_adapters, linear_layers
    from ._device import precision_name, resolve_device

    source = clf._find_encoder()
    gguf = {} if source.gguf_file is None else {"gguf_file": source.gguf_file}
    config = transformers.AutoConfig.from_pretrained(
        source.path, trust_remote_code=clf.trust_remote_code, **gguf
    )
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config, trust_remote_code=clf.trust_remote_code)
    adapters = 0
    if clf.train_encoder == "lora":
        targets = getattr(clf, "lora_targets", "auto")
        adapters = count_adapters(model, rank=clf.lora_rank, targets=targets)
    short = clf._encoder_kind == "decoder" and clf.train_encoder != "full"
    itemsize = 4
    if short and precision_name(clf.precision, resolve_device(clf.device)) == "bfloat16":
        itemsize = 2
    parameters = sum(parameter.numel() for parameter in model.parameters())
    quantized = 0
    if getattr(clf, "quantization", None) is not None:  # embeddings and norms stay as they are
        quantized = sum(layer.weight.numel() for layer in linear_layers(model).values())
    text = config.get_text_config()
    return _Shape(
        width=text.hidden_size,
        inner=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        layers=text.num_hidden_layers,
        parameters=parameters,
        adapters=adapters,
        base_bytes=NF4_BYTES * quantized + float(itemsize * (parameters - quantized)),
        itemsize=itemsize,
    )


def _activations(
    clf: Any,
    shape: _Shape,
    texts: list[str] | None,
    names: np.ndarray,
    pictures: bool,
    tuned: bool,
) -> float:
    """The larger of a batch's graphs and of a forward pass over many tokens."""
    if texts is None:
        return 0.0
    from ._towers._tower import ENCODE_TOKENS, graph_bytes_per_token

    limit = clf.max_length or 256
    tokens = min(_tokens(texts), limit) + pictures
    encode = min(ENCODE_TOKENS, len(texts) * tokens) * (6 * shape.width + 3 * shape.inner) * 4
    if not tuned:
        return encode
    per_token = graph_bytes_per_token(shape.layers, shape.width, shape.inner)
    if getattr(clf, "gradient_checkpointing", False):  # one layer's graph, and the input of each
        per_token = per_token / shape.layers + shape.layers * shape.width * shape.itemsize
    n_documents = resolve_batch_size(clf.batch_size, len(texts), clf._n_batches)
    batch = n_documents * tokens
    if names.dtype.kind in "UO":  # else labels are numbers without a text
        batch += min(n_documents, len(names)) * min(_tokens(names), limit)
    return max(encode, min(clf.max_graph_memory, batch * per_token))


def _tokens(texts: Sequence[str]) -> float:
    """Mean number: a token is four letters or so, and a text has special ones and prompts."""
    sample = texts[:: max(1, len(texts) // SAMPLE)]
    return float(np.mean([len(str(text)) / 4 + 6 for text in sample]))


def _sparse_size(clf: Any, texts: list[str] | None) -> tuple[int, float]:
    """Width of projected words, and the mean number of terms of a text."""
    if not clf._compares_words():
        return 0, 0.0
    from .encoders._sparse import SparseTextFeatures
    from .training._label_vectors import LabelVectors

    sample = texts[:: max(1, len(texts) // SAMPLE)]
    try:
        features = SparseTextFeatures().fit(sample).transform(sample)
    except ValueError:  # texts without words
        return 0, 0.0
    return LabelVectors().sparse_dimension, features.nnz / len(sample)
