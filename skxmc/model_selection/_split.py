"""Splitters that spread every label over the folds, rare labels first."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from math import ceil
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit
from sklearn.utils import check_random_state

from .._inputs._targets import encode_targets

# A shuffled split cuts the documents into at most this many folds, of which one is the test part.
# More would take memory and gain nothing: labels with fewer documents cannot be spread so thin.
_MAX_FOLDS = 20


class LabelStratifiedKFold(BaseCrossValidator):
    """K folds over which each label is spread as evenly as possible.

    Iterative stratification [1]_: documents with the rarest labels are given to folds first, each
    to the fold that has the fewest documents of its rarest label so far. Of folds that have equally
    many, the next rarest label of the document decides, and so on, and last the size of the fold.
    Folds differ by at most one document, as those of :class:`~sklearn.model_selection.KFold`.
    Labels with a single document cannot be spread and are ignored.

    Y is never dense. 100,000 documents with 50,000 labels take seconds.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether documents are taken in random order where their labels leave the choice.
    random_state : int, RandomState instance or None, default=None
        With ``shuffle=True``, an int gives the same folds at every call.

    See Also
    --------
    LabelStratifiedShuffleSplit : Random splits with a test part of any size.

    Notes
    -----
    Differences to [1]_: labels are ordered by their number of documents once, not again after each
    document; ties are broken by the further labels of the document, not at random; and no
    fold is filled beyond its size. On tags of icons (14,682 documents, 6,042 labels, 5 folds) 0.6 %
    of the pairs of a test fold and a label with at least 5 documents are empty; they are 11.7 % in
    random folds, and 3.1 % with ties broken by the size of the folds alone.

    References
    ----------
    .. [1] Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-label Data, ECML PKDD
       2011, section 3.

    Examples
    --------
    >>> from skxmc.model_selection import LabelStratifiedKFold
    >>> tags = [["red"], ["red", "new"], ["blue"], ["blue", "new"], ["red"], ["red"]]
    >>> for train, test in LabelStratifiedKFold(n_splits=2).split(tags, tags):
    ...     print(test, [tags[i] for i in test])
    [1 2 4] [['red', 'new'], ['blue'], ['red']]
    [0 3 5] [['red'], ['blue', 'new'], ['red']]
    """

    n_splits: int
    shuffle: bool
    random_state: int | np.random.RandomState | None

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        if not isinstance(n_splits, Integral) or isinstance(n_splits, bool):
            raise TypeError(f"n_splits must be an int, got {n_splits!r}.")
        if n_splits < 2:
            raise ValueError(f"n_splits must be at least 2, got {n_splits}.")
        if not isinstance(shuffle, bool):
            raise TypeError(f"shuffle must be True or False, got {shuffle!r}.")
        if not shuffle and random_state is not None:
            raise ValueError(
                "random_state has no effect without shuffling; leave it out, or set shuffle=True."
            )
        self.n_splits = int(n_splits)
        self.shuffle = shuffle
        self.random_state = random_state

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Cut the documents into folds and leave out one after the other.

        Parameters
        ----------
        X : sequence of length n_samples, or array or DataFrame with n_samples rows
            Documents; only their number counts.
        y : sparse or dense indicator of shape (n_samples, n_labels), or sequence of lists
            Which labels each document has; lists hold label names.
        groups : object
            Always ignored, with a warning.

        Yields
        ------
        train, test : ndarray of int64, sorted
            Rows of the two parts.

        Raises
        ------
        ValueError
            If there are fewer documents than folds, or `y` is not as described.
        """
        _warn_groups(self, groups)
        yield from super().split(X, y)

    def _iter_test_masks(self, X: Any, y: Any, groups: Any = None) -> Iterator[np.ndarray]:
        Y = _read_labels(self, X, y)
        n_samples = Y.shape[0]
        if n_samples < self.n_splits:
            raise ValueError(
                f"n_splits is {self.n_splits} but there are {n_samples} documents; take fewer "
                "folds."
            )
        order = np.arange(n_samples)
        if self.shuffle:
            order = check_random_state(self.random_state).permutation(n_samples)
        folds = spread_labels(Y, self.n_splits, order)
        for number in range(self.n_splits):
            yield folds == number

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object
            Always ignored.

        Returns
        -------
        n_splits : int
        """
        return self.n_splits


class LabelStratifiedShuffleSplit(BaseShuffleSplit):
    """Random splits in which the test part has its share of each label.

    As many documents as make a whole number of test parts (at most 20) are drawn, cut into folds
    of that size as by :class:`LabelStratifiedKFold`, and one fold at random is the test part. (If
    the test part is the larger one, the training part is found like this.) So every document is in
    it with the same probability, whatever its labels, and the shares of rare labels are right on
    average. If two parts of unequal size were filled directly, documents of rare labels would be
    too many or too few in the smaller one.

    Parameters
    ----------
    n_splits : int, default=10
        Number of splits, independent of each other.
    test_size : float or int, default=0.1
        Share of the documents, rounded up, or their number.
    random_state : int, RandomState instance or None, default=None
        An int gives the same splits at every call.

    See Also
    --------
    LabelStratifiedKFold : Folds that do not overlap.

    Examples
    --------
    >>> from skxmc.model_selection import LabelStratifiedShuffleSplit
    >>> tags = [["red"]] * 4 + [["blue"]] * 8
    >>> splitter = LabelStratifiedShuffleSplit(n_splits=2, test_size=0.25, random_state=0)
    >>> for train, test in splitter.split(tags, tags):
    ...     print(sorted(tags[i][0] for i in test))
    ['blue', 'blue', 'red']
    ['blue', 'blue', 'red']
    """

    def __init__(
        self,
        n_splits: int = 10,
        *,
        test_size: float | int = 0.1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(n_splits, test_size=test_size, random_state=random_state)

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Draw the splits.

        Parameters
        ----------
        X, y, groups : object
            As for :meth:`LabelStratifiedKFold.split`.

        Yields
        ------
        train, test : ndarray of int64, sorted
            Rows of the two parts.

        Raises
        ------
        ValueError
            If `test_size` leaves one of the parts empty, or `y` is not as described.
        """
        _warn_groups(self, groups)
        yield from super().split(X, y)

    def _iter_indices(
        self, X: Any, y: Any, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        Y = _read_labels(self, X, y)
        n_samples = Y.shape[0]
        n_test = _test_size(self.test_size, n_samples)
        smaller = min(n_test, n_samples - n_test)
        n_folds = min(_MAX_FOLDS, n_samples // smaller)
        rng = check_random_state(self.random_state)
        for _ in range(self.n_splits):
            drawn = rng.permutation(n_samples)[: n_folds * smaller]
            is_test = spread_labels(Y, n_folds, drawn) == rng.randint(n_folds)
            if smaller < n_test:
                is_test = ~is_test
            yield np.flatnonzero(~is_test), np.flatnonzero(is_test)


def spread_labels(Y: sp.csr_array, n_folds: int, documents: np.ndarray) -> np.ndarray:
    """Give documents to folds so that each label is spread evenly.

    Parameters
    ----------
    Y : csr_array of shape (n_samples, n_labels)
    n_folds : int
    documents : ndarray of shape (n_documents,), int64
        Distinct rows of Y to be given to folds. Of documents with the same rarest label those that
        come first here are first in line.

    Returns
    -------
    folds : ndarray of shape (n_samples,), int64
        0 to n_folds - 1, and -1 for other rows. Folds differ by at most one document.
    """
    starts, labels, n_labels = _rarest_first(Y[documents])
    n_documents = len(documents)
    room = np.full(n_folds, n_documents // n_folds)
    room[: n_documents % n_folds] += 1
    taken = np.zeros((n_labels, n_folds), dtype=np.int32)  # documents of each label in each fold
    size, full = np.zeros(n_folds, dtype=np.int64), room == 0
    fold_of = np.full(n_documents, -1)
    labelled = np.flatnonzero(np.diff(starts))
    in_line = labelled[np.argsort(labels[starts[labelled]], kind="stable")]
    for document in in_line.tolist():
        own = labels[starts[document] : starts[document + 1]]
        # The last key counts first: a fold with room, then the counts from the rarest label on.
        fold = np.lexsort((size, *taken[own[::-1]], full))[0]
        fold_of[document] = fold
        taken[own, fold] += 1
        size[fold] += 1
        full[fold] = size[fold] == room[fold]
    fold_of[fold_of < 0] = np.repeat(np.arange(n_folds), room - size)
    folds = np.full(Y.shape[0], -1)
    folds[documents] = fold_of
    return folds


def _rarest_first(Y: sp.csr_array) -> tuple[np.ndarray, np.ndarray, int]:
    """The labels of each row that have several documents, renumbered from the rarest on.

    Returns
    -------
    starts : ndarray of shape (n_rows + 1,), int64
        Row i has the labels ``labels[starts[i] : starts[i + 1]]``.
    labels : ndarray of int64
        Rising in each row. 0 is the rarest label with at least two documents.
    n_labels : int
        The number of labels with at least two documents.
    """
    frequency = np.bincount(Y.indices, minlength=Y.shape[1])
    n_single = np.count_nonzero(frequency < 2)
    rank = np.empty(len(frequency), dtype=np.int64)
    rank[np.argsort(frequency, kind="stable")] = np.arange(len(frequency)) - n_single
    labels = rank[Y.indices]
    row = np.repeat(np.arange(Y.shape[0]), np.diff(Y.indptr))
    row, labels = row[labels >= 0], labels[labels >= 0]
    starts = np.searchsorted(row, np.arange(Y.shape[0] + 1))
    return starts, labels[np.lexsort((labels, row))], int(len(frequency) - n_single)


def _read_labels(splitter: Any, X: Any, y: Any) -> sp.csr_array:
    if y is None:
        raise ValueError(
            f"y is None, but {type(splitter).__name__} spreads labels; pass y, or take "
            "sklearn.model_selection.KFold or ShuffleSplit."
        )
    n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
    return encode_targets(y, n_samples)[0]


def _test_size(test_size: Any, n_samples: int) -> int:
    """The number of test documents, at least one and not all."""
    number: Any = test_size
    if isinstance(test_size, float | np.floating):
        number = ceil(test_size * n_samples) if 0 < test_size < 1 else 0
    if (
        isinstance(number, bool)
        or not isinstance(number, Integral)
        or not 0 < int(number) < n_samples
    ):
        raise ValueError(
            f"test_size is {test_size!r} for {n_samples} documents; pass a float between 0 and 1, "
            "or an int, that leaves documents in both parts."
        )
    return int(number)


def _warn_groups(splitter: Any, groups: Any) -> None:
    if groups is not None:
        warnings.warn(f"groups are ignored by {type(splitter).__name__}", UserWarning, stacklevel=3)
