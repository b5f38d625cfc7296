"""What values the parameters may have that both estimators share."""

from __future__ import annotations

from math import log2
from numbers import Integral, Real

from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

# Value of `encoder` for ready embeddings as X.
PRECOMPUTED = "precomputed"

# What runs the text encoder in prediction.
BACKENDS = ("torch", "openvino")

# Bounds of batch_size="auto".
_SMALLEST, _LARGEST = 32, 512

shared_constraints: dict = {
    "encoder": [str],
    "image_encoder": [str, callable],
    "label_text": ["array-like", None],
    "label_images": ["array-like", None],
    "train_encoder": [StrOptions({"full", "lora", "frozen"})],
    "text_features": [StrOptions({"embedding", "tfidf", "both"})],
    "refine_labels": ["boolean"],
    "retrieval_augmentation": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
    "prototypes": ["boolean", StrOptions({"linear"})],
    "head_loss": [StrOptions({"decoupled_softmax", "binary_cross_entropy"})],
    "head_weight": [Interval(Real, 0, None, closed="left")],
    "n_neighbors": [Interval(Integral, 1, None, closed="left")],
    "text_column": [str],
    "image_column": [str],
    "max_images": [Interval(Integral, 1, None, closed="left")],
    "max_length": [Interval(Integral, 2, None, closed="left"), None],
    "epochs": [Interval(Integral, 1, None, closed="left")],
    "max_steps": [Interval(Integral, 1, None, closed="left"), None],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "head_learning_rate": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "warmup_steps": [Interval(Integral, 0, None, closed="left")],
    "n_negatives": [Interval(Integral, 1, None, closed="left")],
    "margin": [tuple, list],
    "regularization": [Interval(Real, 0, None, closed="left")],
    "hard_negatives": ["boolean"],
    "propensity": [tuple, list],
    "lora_rank": [Interval(Integral, 1, None, closed="left")],
    "max_graph_memory": [Interval(Real, 0, None, closed="neither")],
    "validation_fraction": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="neither")],
    "validation_metric": [
        StrOptions({"mean", "precision_at_1", "precision_at_5", "ndcg_at_5", "psprecision_at_5"})
    ],
    "early_stopping": ["boolean"],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "threshold": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
    "index": [StrOptions({"auto", "exact", "hnsw", "ivf"})],
    "device": [str],
    "precision": [StrOptions({"auto", "float32", "bfloat16"})],
    "memory": [str, HasMethods(["cache"]), None],
    "trust_remote_code": ["boolean"],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


def resolve_batch_size(batch_size: int | str, n_documents: int, n_batches: int) -> int:
    """Documents of a batch; "auto" makes about `n_batches` of an epoch.

    Large batches have the better negatives, but a thousand documents in two of them would be an
    epoch of two steps.
    """
    if batch_size == "auto":
        nearest = 2 ** round(log2(max(n_documents / n_batches, 1)))
        batch_size = min(max(nearest, _SMALLEST), _LARGEST)
    return min(batch_size, n_documents)
