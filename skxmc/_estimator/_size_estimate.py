"""How much memory a fit will take, said before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .._features._joint_space import WORDS_DIMENSION
from .._features._whitening import PICTURES_PER_COMPONENT
from .._inputs._label_set import joined_texts, read_labels
from .._inputs._targets import encode_targets
from .._inputs._texts import check_texts
from .._runtime import limits
from ..evidence import Size
from ._parameters import (
    resolve_adapter,
    resolve_batch_size,
    resolve_encoder,
    resolve_folds,
    resolve_training,
    resolve_validation,
)

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
        Embeddings, picture vectors and sparse words of the documents, and of the sample that
        ``partial_fit`` learns from again.
    index : float
        Search over prototypes and documents.

    Examples
    --------
    >>> from skxmc import ViXMLClassifier, estimate_memory
    >>> clf = ViXMLClassifier("precomputed")
    >>> estimate = estimate_memory(clf, [[1.0, 0.0], [0.0, 1.0]], [["a"], ["b"]])
    >>> estimate.total > estimate.libraries
    True
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
    texts = None
    if not clf._mode.ready:
        texts, images = check_texts(
            X, text_column=clf.text_column, image_column=clf.image_column, images=images
        )
    labels = read_labels(clf.label_text)
    Y, ids = encode_targets(Y, len(X if texts is None else texts), label_text=labels)
    label_texts = joined_texts(labels.with_ids(ids).texts)
    n, n_labels = Y.shape
    kinds, objective = clf._check_plugins()
    shape = _Shape(width=np.shape(X)[-1]) if texts is None else _shape_of(clf)
    pictures = 0 if images is None else min(512, max(1, n // PICTURES_PER_COMPONENT))
    n_nonzero = _terms_of(texts) if clf._sees_words(kinds, n_labels) else 0.0
    size = _size_of(clf, n, n_labels, shape.width + pictures, n_nonzero > 0)

    trained, state = float(shape.adapters), 0.0
    if objective is not None:
        if clf.train_encoder == "full":
            trained = float(shape.parameters)
        beside, state = objective.memory(n_labels, shape.width)
        trained += beside
    memories = [kind.memory(size) for kind in kinds]
    replayed = min(n, max(kind.replay for kind in kinds))
    copies = 3 if max(n, n_labels) <= limits.MAX_REBUILT else 1
    return MemoryEstimate(
        libraries=LIBRARIES,
        base_weights=shape.base_bytes,
        adapters=4.0 * shape.adapters,
        optimizer=12.0 * trained if clf._mode.tuned else 0.0,
        activations=_activations(clf, shape, texts, label_texts, images is not None),
        label_state=max([state, *(fitting for fitting, _ in memories)]),
        features=n * (copies * 4.0 * (shape.width + pictures) + 8.0 * n_nonzero)
        + replayed * (2.0 * (shape.width + pictures) + 8.0 * n_nonzero),
        index=sum(kept for _, kept in memories),
    )


def _size_of(clf: Any, n: int, n_labels: int, dense: int, words: bool) -> Size:
    """Numbers that the memory of evidence depends on."""
    joint = dense
    if words and max(n, n_labels) <= limits.MAX_WORD_VECTORS and not clf._mode.tuned:
        joint += WORDS_DIMENSION
    folds = resolve_folds(resolve_validation(clf.validation), clf._mode, n, (n, n_labels))
    return Size(n, n_labels, dense, words, joint, clf.index, folds)


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

    from .._backbones._lora import count_adapters, linear_layers
    from .._runtime._device import precision_name, resolve_device

    encoder = resolve_encoder(clf.encoder, clf._recipe.encoder)
    source = encoder.find()
    if source is None:
        raise ValueError(
            "estimate_memory reads the configuration of an encoder, and this one is an object; "
            "pass its name."
        )
    gguf = {} if source.gguf_file is None else {"gguf_file": source.gguf_file}
    trust = encoder.trust_remote_code
    config = transformers.AutoConfig.from_pretrained(source.path, trust_remote_code=trust, **gguf)
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config, trust_remote_code=trust)
    adapters = 0
    if clf.train_encoder == "lora":
        adapter = resolve_adapter(clf.adapter, clf._recipe)
        adapters = count_adapters(model, rank=adapter.rank, targets=adapter.targets)
    short = encoder.kind == "decoder" and clf.train_encoder != "full"
    itemsize = 4
    if short and precision_name(clf.precision, resolve_device(clf.device)) == "bfloat16":
        itemsize = 2
    parameters = sum(parameter.numel() for parameter in model.parameters())
    quantized = 0
    if getattr(encoder, "quantization", None) is not None:  # embeddings and norms stay as they are
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
    label_texts: list[str] | None,
    pictures: bool,
) -> float:
    """The larger of a batch's graphs and of a forward pass over many tokens."""
    if texts is None:
        return 0.0
    from .._towers._tower import ENCODE_TOKENS, graph_bytes_per_token

    encoder = resolve_encoder(clf.encoder, clf._recipe.encoder)
    limit = encoder.max_length or 256
    tokens = min(_tokens(texts), limit) + pictures
    encode = min(ENCODE_TOKENS, len(texts) * tokens) * (6 * shape.width + 3 * shape.inner) * 4
    if not clf._mode.tuned:
        return encode
    per_token = graph_bytes_per_token(shape.layers, shape.width, shape.inner)
    if getattr(encoder, "gradient_checkpointing", False):  # one layer's graph, and each's input
        per_token = per_token / shape.layers + shape.layers * shape.width * shape.itemsize
    graphs = resolve_training(clf.training, clf._recipe).max_graph_memory
    n_documents = resolve_batch_size(clf.batch_size, len(texts), clf._recipe.n_batches)
    batch = n_documents * tokens
    if label_texts is not None:
        batch += min(n_documents, len(label_texts)) * min(_tokens(label_texts), limit)
    return max(encode, min(graphs, batch * per_token))


def _tokens(texts: Sequence[str]) -> float:
    """Mean number: a token is four letters or so, and a text has special ones and prompts."""
    sample = texts[:: max(1, len(texts) // SAMPLE)]
    return float(np.mean([len(str(text)) / 4 + 6 for text in sample]))


def _terms_of(texts: list[str]) -> float:
    """Mean number of words and n-grams of a text; 0 where there are none."""
    from .._features._words import SparseTextFeatures

    sample = texts[:: max(1, len(texts) // SAMPLE)]
    try:
        features = SparseTextFeatures().fit(sample).transform(sample)
    except ValueError:  # texts without words
        return 0.0
    return features.nnz / len(sample)
