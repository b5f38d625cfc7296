"""The contract of an index, and of one that can be written as bytes."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError

from .._runtime import limits
from .._runtime._plugins import find_plugin
from ._bytes import checksum, pack, unpack
from ._checks import check_positions, check_vectors, distinct_rows
from ._filters import Filter, read_filter, search_in_turns


class Index(BaseEstimator, ABC):
    """Vectors that can be searched by inner product, the cosine if they have unit length.

    A vector is known by its position, 0 to ``len(index) - 1``. An index is a scikit-learn
    estimator: ``__init__`` stores its parameters, and building validates them against
    ``_parameter_constraints``, so that ``clone``, ``set_params`` and searches work.

    A subclass sets `name` and implements `_build`, `_add`, `_search` and `_vectors_at`; where it
    can remove vectors without a rebuild, be built in parts or leave vectors out of a search, also
    `_remove`, `_build_in_parts` or `_search_filtered`. What they receive has been checked:
    vectors are C-contiguous float32, ``k`` is at most the number of vectors.
    :func:`skxmc.testing.check_index` tests a subclass. Models can be saved with one that derives
    from :class:`Storable`.

    Attributes
    ----------
    name : str
        Of the class. Bytes hold it, and ``make_index`` finds the classes of other packages by it.
    dimension : int or None
        Width of the vectors; None before anything was built.
    stored : {"bytes", "reference"}
        Of the class: whether a saved model has the vectors in its folder, or only says where in a
        database they are.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.indexes import Index, sort_candidates
    >>> class Plain(Index):
    ...     name = "plain"
    ...
    ...     def _build(self, vectors):
    ...         self._stored = vectors
    ...
    ...     def _add(self, vectors):
    ...         self._stored = np.concatenate((self._stored, vectors))
    ...
    ...     def _search(self, queries, k):
    ...         scores = queries @ self._stored.T
    ...         positions = np.broadcast_to(np.arange(len(self)), scores.shape)
    ...         return sort_candidates(positions, scores, k)
    ...
    ...     def _vectors_at(self, positions):
    ...         return self._stored[positions]
    >>> index = Plain().build(np.eye(3)).remove([0])
    >>> index.search(np.array([[0.0, 0.6, 0.8]]), k=2)[0]
    array([[1, 0]])
    """

    name: ClassVar[str]
    stored: ClassVar[str] = "bytes"
    dimension: int | None = None
    _parameter_constraints: dict[str, Any] = {}
    _length = 0

    def build(self, vectors: np.ndarray) -> Index:
        """Index vectors in place of those that were there.

        Parameters
        ----------
        vectors : ndarray of shape (n, d), floating
            Finite; n may be 0.

        Returns
        -------
        index : Index
            The index itself.

        Raises
        ------
        ValueError
            If a parameter of the index or the shape of `vectors` is wrong, or they are not finite.
        TypeError
            If `vectors` is not floating.
        """
        self._validate_params()
        vectors = check_vectors(vectors, "vectors")
        self._build(vectors)
        self._length, self.dimension = vectors.shape
        return self

    def build_in_parts(self, n: int, vectors_of: Callable[[slice], np.ndarray]) -> Index:
        """As :meth:`build`, from a function that gives some of the vectors.

        An index that keeps vectors in another form never holds all of them as they are given.

        Parameters
        ----------
        n : int
            Number of vectors.
        vectors_of : callable
            Takes a slice of ``range(n)``, and returns these vectors as :meth:`build` takes them.

        Returns
        -------
        index : Index
            The index itself.
        """
        self._validate_params()
        self._build_in_parts(n, vectors_of)
        return self

    def add(self, vectors: np.ndarray) -> Index:
        """Append vectors, whose positions continue at ``len(index)``.

        Parameters
        ----------
        vectors : ndarray of shape (n_new, d), floating
            Finite.

        Returns
        -------
        index : Index
            The index itself.

        Raises
        ------
        ValueError
            If `vectors` has another width than those in the index, or is not finite.
        TypeError
            If `vectors` is not floating.
        """
        self._check_built()
        vectors = check_vectors(vectors, "vectors", self.dimension)
        self._add(vectors)
        self._length += len(vectors)
        return self

    def remove(self, ids: np.ndarray) -> Index:
        """Take vectors away; those behind them move up, and all keep their order.

        What cannot delete is built again from the vectors that it stores.

        Parameters
        ----------
        ids : ndarray of shape (n_removed,), integer
            Distinct positions, in any order.

        Returns
        -------
        index : Index
            The index itself.

        Raises
        ------
        ValueError
            If a position is out of range or comes twice. Nothing was removed then.
        TypeError
            If `ids` is not an integer array.
        """
        self._check_built()
        ids = check_positions(ids, "ids", len(self), distinct=True)
        if len(ids):
            kept = np.delete(np.arange(len(self)), ids)
            self._remove(kept)
            self._length = len(kept)
        return self

    def drop(self) -> Index:
        """Give up the vectors, also where they are in a database; the index is empty then.

        Returns
        -------
        index : Index
            The index itself.
        """
        self._drop()
        self.__dict__ = clone(self).__dict__
        return self

    def search(
        self, queries: np.ndarray, k: int, exclude: Any = None, only: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the `k` vectors of greatest inner product with each query.

        Parameters
        ----------
        queries : ndarray of shape (m, d), floating
            Finite.
        k : int
            At least 1.
        exclude : ndarray of shape (n_excluded,), sequence of m of these, or None, default=None
            Positions, integer, that are left out: for all queries, or for each. -1 in those of a
            query stands for none, so that indices of an earlier search can be passed.
        only : ndarray of shape (n_only,), sequence of m of these, or None, default=None
            Positions that may be found, in the same forms.

        Returns
        -------
        indices : ndarray of shape (m, k), int64
            Positions. Best first, of equal scores the lower position first; -1 where nothing more
            was found.
        scores : ndarray of shape (m, k), float32
            Inner products; -inf where nothing more was found.

        Raises
        ------
        ValueError
            If `queries` has another width than the vectors or is not finite, ``k < 1``, or a
            position is out of range.
        TypeError
            If `queries` is not floating or `k` not an integer, or positions are not.

        Examples
        --------
        >>> import numpy as np
        >>> from skxmc.indexes import Exact
        >>> index = Exact().build(np.eye(3))
        >>> index.search(np.array([[0.6, 0.0, 0.8]]), k=2, exclude=[2])[0]
        array([[0, 1]])
        >>> index.search(np.array([[0.6, 0.0, 0.8]]), k=2, only=[1])[0]
        array([[ 1, -1]])
        """
        self._check_built()
        queries = check_vectors(queries, "queries", self.dimension)
        if isinstance(k, bool | np.bool_) or not hasattr(k, "__index__"):
            raise TypeError(f"k must be an integer, got {k!r}")
        k = operator.index(k)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        chosen = read_filter(exclude, only, len(queries), len(self))
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        found = min(k, len(self))
        if found and len(queries) and chosen is not None:
            indices[:, :found], scores[:, :found] = self._search_filtered(queries, found, chosen)
        elif found and len(queries):
            distinct, places = distinct_rows(queries)
            if len(distinct) == len(queries):
                indices[:, :found], scores[:, :found] = self._search(queries, found)
            else:  # once each: of many vectors that are equal, each query compares all
                once = self._search(queries[distinct], found)
                indices[:, :found], scores[:, :found] = (part[places] for part in once)
        return indices, scores

    def vectors(self, indices: np.ndarray) -> np.ndarray:
        """The vectors at some positions, exactly as they are stored.

        Parameters
        ----------
        indices : ndarray of shape (n,), integer
            Positions, in any order; one may come several times.

        Returns
        -------
        vectors : ndarray of shape (n, d), float32

        Raises
        ------
        ValueError
            If a position is out of range.
        TypeError
            If `indices` is not an integer array.
        """
        self._check_built()
        return self._vectors_at(check_positions(indices, "indices", len(self)))

    def __len__(self) -> int:
        return self._length

    def _check_built(self) -> None:
        if self.dimension is None:
            raise NotFittedError(f"this {type(self).__name__} is empty; call build(vectors) first")

    @abstractmethod
    def _build(self, vectors: np.ndarray) -> None:
        """Index `vectors`; `_length` and `dimension` are set afterwards."""

    def _build_in_parts(self, n: int, vectors_of: Callable[[slice], np.ndarray]) -> None:
        """Build from all parts together."""
        vectors = None
        for start in range(0, max(n, 1), limits.ROWS):
            part = vectors_of(slice(start, min(n, start + limits.ROWS)))
            if vectors is None:
                vectors = np.empty((n, part.shape[1]), dtype=np.float32)
            vectors[start : start + limits.ROWS] = part
        assert vectors is not None  # there is at least one part, be it empty
        self.build(vectors)

    @abstractmethod
    def _add(self, vectors: np.ndarray) -> None:
        """Append `vectors`."""

    def _remove(self, kept: np.ndarray) -> None:
        """Keep the vectors at the sorted positions `kept`, int64, alone."""
        self._build(self._vectors_at(kept))

    @abstractmethod
    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best as :meth:`search` returns them."""

    def _search_filtered(
        self, queries: np.ndarray, k: int, chosen: Filter
    ) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`_search`, of the vectors that a filter allows; -1 and -inf where it is fewer.

        By default, more are searched than are asked for, and some dropped; of few that are
        allowed, all are compared.
        """
        return search_in_turns(self, queries, k, chosen)

    @abstractmethod
    def _vectors_at(self, indices: np.ndarray) -> np.ndarray:
        """The vectors at positions, float32."""

    def _drop(self) -> None:
        """Delete what is outside of this process."""


class Storable(Index):
    """An index that can be written as bytes, and so be part of a saved model.

    A subclass implements `_payload` and `_restore` beside the methods of :class:`Index`. Pickles
    of an index hold its bytes; joblib can map them into memory. Bytes of an index in a database
    (``stored = "reference"``) say where the vectors are, and never at which address the database
    is.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.indexes import IVF, Storable
    >>> written = IVF().build(np.eye(4)).to_bytes()
    >>> Storable.from_bytes(written)
    IVF()
    """

    # Whether loading checks that the payload is what was written. It reads all of the payload,
    # which is no loss unless `_restore` leaves it in a memory map.
    _has_checksum: ClassVar[bool] = True

    # Parameters that bytes do not hold. After loading they have their default values.
    _not_stored: ClassVar[tuple[str, ...]] = ()

    def to_bytes(self) -> np.ndarray:
        """Return the index as an array of bytes.

        Returns
        -------
        array : ndarray of shape (n_bytes,), uint8
        """
        self._check_built()
        payload = self._payload()
        header = {
            "index": self.name,
            "parameters": {name: getattr(self, name) for name in self._stored_names()},
            "shape": [self._length, self.dimension],
            "checksum": checksum(payload) if self._has_checksum else None,
        }
        return pack(header, payload)

    @classmethod
    def from_bytes(cls, array: np.ndarray) -> Storable:
        """Return the index that :meth:`to_bytes` wrote.

        Its class is found by name: among the subclasses that are defined in this process, and
        those that an installed package registers under the entry-point group "skxmc.indexes".
        Nothing that the bytes name is imported.

        Parameters
        ----------
        array : ndarray of shape (n_bytes,), uint8
            May be a read-only memory map.

        Returns
        -------
        index : Storable

        Raises
        ------
        ValueError
            If `array` is damaged or holds anything else, or an index of another class than `cls`.
        """
        header, payload = unpack(array)
        kind = cls._class_named(header["index"])
        parameters, shape = header["parameters"], header["shape"]
        if sorted(parameters) != kind._stored_names():
            raise ValueError(
                f"array is damaged: {sorted(parameters)} are not the parameters of {kind.__name__}"
            )
        index = kind(**parameters)
        index._validate_params()
        if index._has_checksum and header["checksum"] != checksum(payload):
            raise ValueError("array is damaged: its checksum is another one")
        index._restore(payload, *shape)
        index._length, index.dimension = shape
        return index

    @classmethod
    def _class_named(cls, name: str) -> type[Storable]:
        """The class of that name: this one, one that is defined already, or a plug-in."""
        if getattr(cls, "name", None) == name:
            return cls
        kind = find_plugin("indexes", name, _defined_classes())
        if not issubclass(kind, cls):
            raise ValueError(f"array holds an index {name!r}, which is not a {cls.__name__}")
        return kind

    def __getstate__(self) -> dict[str, Any]:
        # A uint8 array, so that joblib can map it and faiss objects need no pickling.
        if self.dimension is None:
            return {"parameters": self.get_params(deep=False), "bytes": None}
        return {"parameters": None, "bytes": self.to_bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["bytes"] is None:
            self.__dict__.update(state["parameters"])
        else:
            self.__dict__ = type(self).from_bytes(state["bytes"]).__dict__

    @classmethod
    def _stored_names(cls) -> list[str]:
        return sorted(set(cls._get_param_names()) - set(cls._not_stored))

    @abstractmethod
    def _payload(self) -> np.ndarray:
        """What was built, as a uint8 array of one dimension."""

    @abstractmethod
    def _restore(self, payload: np.ndarray, n: int, dimension: int) -> None:
        """Take what :meth:`_payload` wrote, or raise ValueError where it is something else."""


def _defined_classes() -> dict[str, type[Storable]]:
    """All subclasses by name; of two that share a name, the package's own or the later one."""
    found: list[type[Storable]] = []
    waiting = Storable.__subclasses__()
    while waiting:
        kind = waiting.pop(0)
        found.append(kind)
        waiting += kind.__subclasses__()
    found.sort(key=lambda kind: kind.__module__.startswith(f"{__package__}."))
    return {kind.name: kind for kind in found if "name" in vars(kind)}
