"""Indexes whose vectors are in a database: rows of a table, and a list of which of them."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import weakref
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from .._runtime import limits
from ._base import Storable
from ._candidates import sort_candidates
from ._checks import check_vectors
from ._filters import Filter, search_deeper
from ._runs import LARGEST, Runs

logger = logging.getLogger(__name__)

# So many rows are named in a request, at most, where there is another way.
_FEW = 2048

# The only names that are ever sent to a database, whatever a folder says.
_NAME = re.compile(r"skxmc_[0-9a-f]{32}")


class Table:
    """A table that lives as long as something in this process uses it, or for good once kept.

    Parameters
    ----------
    address : str
        Of the database, as the environment had it. It is never written anywhere.
    name : str
    drop : callable
        Deletes the table of an address and a name.
    """

    def __init__(self, address: str, name: str, drop: Callable[[str, str], None]) -> None:
        self.address, self.name, self.drop = address, name, drop
        self._finalizer = weakref.finalize(self, _drop_unused, address, name, drop, os.getpid())

    def keep(self) -> None:
        """Leave the table where it is when this process ends."""
        self._finalizer.detach()


def _drop_unused(address: str, name: str, drop: Callable[[str, str], None], process: int) -> None:
    if os.getpid() != process:  # a fork has a copy of what its parent uses
        return
    try:
        drop(address, name)
    except Exception as error:  # nobody waits for this; the database may be gone
        logger.warning("the table %s is left in the database: %s", name, error)


class DatabaseIndex(Storable):
    """An index whose vectors are rows of a table.

    Rows have numbers that never change and are never given twice. The index knows the numbers of
    its own rows in the order of their positions. So copies of an index share a table: rows that
    one of them adds are none of the others', and rows that one has removed stay for the others
    until :meth:`purge`.

    A subclass says in which variable of the environment the address of its database is, and
    implements the methods that begin with ``_table``.
    """

    stored = "reference"

    _variable: ClassVar[str]
    _example: ClassVar[str]  # of an address

    _table: Table
    _rows: Runs
    # Whether the table was seen to hold rows of others, which a search has to leave out.
    _shared = False

    @property
    def table_name(self) -> str:
        """Name of the table in the database."""
        self._check_built()
        return self._table.name

    def purge(self) -> DatabaseIndex:
        """Delete the rows of the table that this index does not hold.

        These are vectors that were removed, and all that copies and models that were saved
        earlier have for themselves: call it once the model is saved.

        Returns
        -------
        index : DatabaseIndex
            The index itself.
        """
        self._check_built()
        self._table_keep_only(self._table, self._rows)
        self._shared = False
        return self

    # -- the contract -------------------------------------------------------------------------

    def _build(self, vectors: np.ndarray) -> None:
        self._begin(vectors.shape[1])
        self._insert(vectors, 0)
        self._table_finish(self._table, vectors.shape[1])

    def _build_in_parts(self, n: int, vectors_of: Callable[[slice], np.ndarray]) -> None:
        self._length = 0
        for start in range(0, max(n, 1), limits.ROWS):
            part = vectors_of(slice(start, min(n, start + limits.ROWS)))
            if start == 0:
                self.dimension = part.shape[1]
                self._begin(part.shape[1])
            part = check_vectors(part, "vectors", self.dimension)
            self._insert(part, start)
            self._length += len(part)
        self._table_finish(self._table, self.dimension)

    def _begin(self, dimension: int) -> None:
        """Go on with a table of its own, without rows."""
        self._check_width(dimension)
        table = Table(self._address(), f"skxmc_{secrets.token_hex(16)}", self._table_drop)
        self._table_create(table, dimension)
        self._table, self._rows, self._shared = table, Runs(), False

    def _add(self, vectors: np.ndarray) -> None:
        # Whoever else adds to the table draws a number as well: no two will ever meet.
        self._insert(vectors, 2**32 + secrets.randbelow(LARGEST - 2**33 - len(vectors)))

    def _insert(self, vectors: np.ndarray, start: int) -> None:
        """Append rows with the numbers from `start` on."""
        if len(vectors):
            ids = np.arange(start, start + len(vectors))
            self._table_insert(self._table, ids, vectors)
            self._rows = self._rows.extended(start, len(vectors))

    def _remove(self, kept: np.ndarray) -> None:
        self._rows, self._shared = Runs.of(self._rows.at(kept)), True

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if not self._shared:
            found = self._find(queries, k, None)
            if found is not None:
                return found
            self._shared = True  # by another process, or by a copy
        return self._find(queries, k, [self._rows] * len(queries))

    def _search_filtered(
        self, queries: np.ndarray, k: int, chosen: Filter
    ) -> tuple[np.ndarray, np.ndarray]:
        n = len(self)
        n_allowed = chosen.n_allowed(n)
        # A list of many rows takes longer to send and to read than a search for more takes.
        many = (n_allowed > _FEW) & (len(self._rows.starts) + n - n_allowed > _FEW)
        indices, scores, found = search_deeper(self, queries, k, chosen, np.flatnonzero(many))
        rest = np.flatnonzero(~found)
        if len(rest):
            allowed = dict.fromkeys(rest.tolist(), self._rows)
            for group in chosen.groups(rest):
                allowed.update(dict.fromkeys(group.tolist(), self._allowed(chosen, group[0])))
            part = self._find(queries[rest], k, list(allowed.values()))
            indices[rest], scores[rest] = part
        return indices, scores

    def _allowed(self, chosen: Filter, row: int) -> Runs:
        """Rows that a query may find."""
        if chosen.only is None:
            return self._rows.without(chosen.exclude[row])
        return Runs.of(np.sort(self._rows.at(chosen.of_row(row, len(self)))))

    def _find(
        self, queries: np.ndarray, k: int, allowed: list[Runs] | None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The k best of the rows allowed; None where rows of others were found."""
        ids, scores = self._table_search(self._table, queries, k, len(self), allowed)
        positions = self._rows.positions(ids)
        if allowed is None and ((positions < 0) & (ids >= 0)).any():
            return None
        return sort_candidates(positions, scores, k)

    def _vectors_at(self, indices: np.ndarray) -> np.ndarray:
        distinct, places = np.unique(indices, return_inverse=True)
        vectors = np.empty((len(distinct), self.dimension), dtype=np.float32)
        ids = self._rows.at(distinct)
        for start in range(0, len(ids), limits.ROWS):
            part = slice(start, start + limits.ROWS)
            vectors[part] = self._table_vectors(self._table, ids[part], self.dimension)
        return vectors[places]

    def _drop(self) -> None:
        if self.dimension is not None:
            self._table.keep()  # there is nothing left to delete later
            self._table_drop(self._table.address, self._table.name)

    # -- bytes --------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict) -> DatabaseIndex:
        copied = type(self)(**self.get_params(deep=False))
        copied.__dict__.update(self.__dict__)  # rows and table are never changed in place
        return copied

    def __copy__(self) -> DatabaseIndex:
        return self.__deepcopy__({})

    def _payload(self) -> np.ndarray:
        self._table.keep()
        text = json.dumps({"table": self._table.name, "rows": list(self._rows)})
        return np.frombuffer(text.encode(), dtype=np.uint8)

    def _restore(self, payload: np.ndarray, n: int, dimension: int) -> None:
        try:
            found = json.loads(payload.tobytes())
            name, pairs = found["table"], found["rows"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError("array is damaged: it names no table") from error
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"array is damaged: {name!r:.60} is not the name of a table of skxmc")
        rows = Runs.from_pairs(pairs)
        if len(rows) != n:
            raise ValueError(f"array is damaged: it names {len(rows)} rows of {n}")
        self._check_width(dimension)
        table = Table(self._address(), name, self._table_drop)
        table.keep()
        there = self._table_count(table, dimension, rows)
        if there != n:
            raise LookupError(
                f"the index of {n} vectors is in the table {name!r}, and the database of "
                f"{self._variable} has {there} of them; let it name the database where the index "
                "was saved, or load a model that was saved after vectors were purged."
            )
        self._table, self._rows, self._shared = table, rows, False

    def _address(self) -> str:
        address = os.environ.get(self._variable)
        if not address:
            raise ConnectionError(
                f"{type(self).__name__} does not know its server; set the environment variable "
                f"{self._variable}, such as {self._example!r}."
            )
        return address

    def _check_width(self, dimension: int) -> None:
        """Raise a ValueError where the database takes no vectors so wide."""

    # -- what a database does -------------------------------------------------------------------

    @abstractmethod
    def _table_create(self, table: Table, dimension: int) -> None:
        """Make a table without rows."""

    @abstractmethod
    def _table_insert(self, table: Table, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Insert rows; what is done twice has the same result."""

    @abstractmethod
    def _table_finish(self, table: Table, dimension: int) -> None:
        """Make the rows of a new table searchable in little time."""

    @abstractmethod
    def _table_search(
        self, table: Table, queries: np.ndarray, k: int, n: int, allowed: list[Runs] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the k best rows of each query, (m, k) int64, and scores float32; -1, -inf.

        `n` is how many rows the index has. `allowed` has the rows that each query may find,
        queries with the same ones share an object; None are all rows of the table.
        """

    @abstractmethod
    def _table_vectors(self, table: Table, ids: np.ndarray, dimension: int) -> np.ndarray:
        """Vectors of distinct rows, (len(ids), d) float32, or a LookupError."""

    @abstractmethod
    def _table_count(self, table: Table, dimension: int, rows: Runs) -> int:
        """How many of the rows there are; 0 without such a table."""

    @abstractmethod
    def _table_keep_only(self, table: Table, rows: Runs) -> None:
        """Delete all other rows."""

    @staticmethod
    @abstractmethod
    def _table_drop(address: str, name: str) -> None:
        """Delete a table, if it is there."""
