"""Scores of a stream: predict, score, then learn, block by block."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import Bunch, _safe_indexing
from sklearn.utils.validation import _is_fitted, _num_samples


def prequential_score(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    images: Any = None,
    block_size: int = 250,
    first: int | None = None,
    window: int = 1000,
    scoring: Callable[..., float] | None = None,
    update: Callable[..., Any] | None = None,
) -> Bunch:
    """Score documents that arrive one after the other, each block before it is learned.

    Parameters
    ----------
    estimator : object
        Has ``fit`` and ``partial_fit``, as :class:`~skxmc.ViXMLClassifier`. It stays as it is: a
        copy is used, which is fitted on the first documents if `estimator` is not fitted.
    X : sequence of length n_samples, or table
        Documents in the order in which they come.
    y : sequence of lists, or indicator of shape (n_samples, n_labels)
        Their labels. Lists may hold labels that are new; as long as the estimator does not know
        one, it counts as missed.
    images : sequence of length n_samples, default=None
        Their pictures.
    block_size : int, default=250
        Documents that are scored, and then learned from, at a time.
    first : int, default=None
        Documents that an unfitted estimator is fitted on, which are not scored. None takes
        `block_size`.
    window : int, default=1000
        Documents that the running scores look back on.
    scoring : callable, default=None
        ``scoring(estimator, X, y)``, with ``images=`` where there are some, gives a number; such
        as :func:`~skxmc.metrics.make_topk_scorer` makes it. None takes ``estimator.score``, which
        is precision at 1 here.
    update : callable, default=None
        ``update(estimator, rows, score)`` is called after each block, of which `rows` is the slice
        of the documents. None calls ``partial_fit``.

    Returns
    -------
    result : Bunch
        * ``score``: float, the mean over all scored documents;
        * ``block_scores``: ndarray of shape (n_blocks,);
        * ``window_scores``: ndarray of shape (n_blocks,), the mean over each block and those
          before it that are within the window;
        * ``ends``: ndarray of shape (n_blocks,), int64, the number of documents up to its end;
        * ``estimator``: the copy, which has learned from all of them.

    Raises
    ------
    ValueError
        If a number is below 1, `images` has another length, or no document is left to be scored.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.model_selection import prequential_score
    >>> X = np.tile(np.eye(4), (10, 1))
    >>> y = [["a"], ["b"], ["c"], ["d"]] * 10
    >>> clf = ViXMLClassifier("precomputed", random_state=0)
    >>> result = prequential_score(clf, X, y, block_size=10, first=20)
    >>> result.score, result.ends.tolist()
    (1.0, [30, 40])
    """
    for name, value in ("block_size", block_size), ("first", first), ("window", window):
        if value is None and name == "first":
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be an int of at least 1, got {value!r}.")
    n = _num_samples(X)
    for name, values in ("y", y), ("images", images):
        if values is not None and _num_samples(values) != n:
            raise ValueError(f"{name} has {_num_samples(values)} rows but X has {n} documents.")

    def part(rows: slice) -> tuple[Any, Any, dict[str, Any]]:
        more = {} if images is None else {"images": _safe_indexing(images, rows)}
        return _safe_indexing(X, rows), _safe_indexing(y, rows), more

    fitted = _is_fitted(estimator)
    start = 0 if fitted else (block_size if first is None else first)
    if start >= n:
        raise ValueError(
            f"X has {n} documents, and {start} are for the first fit; pass more, or a smaller "
            "`first`."
        )
    model = deepcopy(estimator) if fitted else clone(estimator)
    if not fitted:
        own, labels, more = part(slice(0, start))
        model.fit(own, labels, **more)
    ends, scores = [], []
    for begin in range(start, n, block_size):
        rows = slice(begin, min(begin + block_size, n))
        own, labels, more = part(rows)
        measure = model.score if scoring is None else partial(scoring, model)
        scores.append(float(measure(own, labels, **more)))
        ends.append(rows.stop)
        if update is None:
            model.partial_fit(own, labels, **more)
        else:
            update(model, rows, scores[-1])
    return _summary(np.array(ends), np.array(scores), start, window, model)


def _summary(ends: np.ndarray, scores: np.ndarray, start: int, window: int, model: Any) -> Bunch:
    sizes = np.diff(ends, prepend=start)
    running = []
    for stop in ends:
        near = (ends <= stop) & ((ends - sizes >= stop - window) | (ends == stop))
        running.append(np.average(scores[near], weights=sizes[near]))
    return Bunch(
        score=float(np.average(scores, weights=sizes)),
        block_scores=scores,
        window_scores=np.array(running),
        ends=ends,
        estimator=model,
    )
