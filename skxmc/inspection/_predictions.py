"""Rankings of the models that a display is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from .._inputs._targets import check_exclude, encode_targets
from ..metrics._scorers import find_ranker, training_labels


def predict_topk(
    estimator: Any, X: Any, k: int, *, images: Any, exclude: Any
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """Return the estimator that ranks labels, and the k best labels with their scores.

    Parameters
    ----------
    estimator : object
        Has ``predict_topk``, or is a pipeline or a fitted search around such an estimator.
    X, images, exclude
        Documents, as for ``predict_topk``; X passes through the leading steps of a pipeline.
    k : int
    """
    steps, ranker = find_ranker(estimator)
    check_is_fitted(ranker)
    for step in steps:
        X = step.transform(X)
    metadata = {"images": images, "exclude": exclude}
    given = {name: value for name, value in metadata.items() if value is not None}
    return ranker, ranker.predict_topk(X, k=k, **given)


def rank_labels(
    estimators: dict[str | None, Any], X: Any, Y: Any, k: int, *, images: Any, exclude: Any
) -> tuple[sp.csr_array, dict[str | None, tuple[np.ndarray, np.ndarray]], sp.csr_array | None]:
    """Return targets as CSR, the k best labels that each estimator finds, and filter pairs.

    Names in `Y` that fit has not seen are left out, since no model can find them.
    """
    found: dict[str | None, tuple[np.ndarray, np.ndarray]] = {}
    classes = None
    for name, estimator in estimators.items():
        ranker, found[name] = predict_topk(estimator, X, k, images=images, exclude=exclude)
        if classes is None:
            classes = ranker.classes_
        elif not np.array_equal(classes, ranker.classes_):
            raise ValueError(
                f"the estimator {name!r} knows other labels than the first; compare estimators "
                "that were fitted with the same columns of Y."
            )
    n_documents = len(next(iter(found.values()))[0])
    truth, _ = encode_targets(Y, n_documents, classes=classes, unseen="ignore")
    return truth, found, check_exclude(exclude, n_documents, len(classes))


def training_frequencies(estimator: Any) -> np.ndarray:
    """Return the number of training documents of each label that a fitted estimator knows."""
    _, ranker = find_ranker(estimator)
    check_is_fitted(ranker)
    if not hasattr(ranker, "ranker_"):
        raise TypeError(
            f"{type(ranker).__name__} does not know how often each label occurred in training; "
            "pass frequencies, such as np.bincount(Y_train.indices, minlength=n_labels)."
        )
    Y = training_labels(ranker)
    return np.bincount(Y.indices, minlength=Y.shape[1])
