"""What bytes for faiss claim, compared with what they must be before faiss reads them.

Faiss trusts its files: links out of range make it read outside its memory, some classes open
other files, and its readers of one version check what those of another do not. So a payload is
walked through from its first to its last byte. The layouts are those of ``write_index`` for the
classes that :mod:`skxmc.indexes` builds. Faiss gives another layout another name of four letters.
"""

from __future__ import annotations

import numpy as np

# Numbers that are compared at a time.
_PIECE = 2**20

# Types of numbers that "IHNs" may hold, by faiss's number: (bytes a value, trained values a
# column).
_SHORT = {0: (1, 2), 4: (2, 0)}  # QT_8bit, QT_fp16

_INNER_PRODUCT = 0
_DIRECT_MAP_ARRAY = 1


def check_hnsw(payload: np.ndarray, n: int, dimension: int) -> None:
    """Raise ValueError unless a payload is a graph over n inner-product vectors of that width."""
    reader = _Reader(payload)
    kind = reader.name("IHNf", "IHNs")
    _check_sizes(reader, n, dimension)
    _check_graph(reader, n)
    if kind == "IHNf":
        _check_flat(reader, n, dimension)
    else:
        _check_short(reader, n, dimension)
    reader.end()


def check_ivf(payload: np.ndarray, n: int, dimension: int) -> None:
    """Raise ValueError unless a payload is lists of n inner-product vectors of that width."""
    reader = _Reader(payload)
    reader.name("IwFl")
    _check_sizes(reader, n, dimension)
    nlist, _ = reader.numbers("<u8", 2).tolist()  # and nprobe, which each search sets
    reader.require(nlist > 0, "it has no inverted lists")
    _check_flat(reader, nlist, dimension)  # the centroids
    reader.require(reader.number("u1") == _DIRECT_MAP_ARRAY, "its map of vectors is another one")
    places = reader.vector("<i8")
    reader.require(len(places) == n, f"its map has {len(places)} vectors instead of {n}")
    reader.name("ilar")
    reader.require(
        reader.numbers("<u8", 2).tolist() == [nlist, 4 * dimension],
        "its inverted lists have another number or width",
    )
    _check_lists(reader, places, nlist, 4 * dimension)
    reader.end()


class _Reader:
    """Takes one part of a payload after the other, none beyond its end."""

    def __init__(self, payload: np.ndarray) -> None:
        self.payload = payload
        self.place = 0

    def require(self, right: bool | np.bool_, problem: str) -> None:
        if not right:
            raise ValueError(f"array is damaged, and faiss must not read it: {problem}")

    def numbers(self, dtype: str, count: int) -> np.ndarray:
        size = count * np.dtype(dtype).itemsize
        self.require(size <= len(self.payload) - self.place, "it ends too early")
        part = self.payload[self.place : self.place + size].view(dtype)
        self.place += size
        return part

    def number(self, dtype: str) -> int:
        return self.numbers(dtype, 1).item()

    def vector(self, dtype: str, numbers: int = 1) -> np.ndarray:
        """A vector after its length, which counts groups of so many numbers."""
        return self.numbers(dtype, numbers * self.number("<u8"))

    def name(self, *allowed: str) -> str:
        name = self.numbers("u1", 4).tobytes().decode("latin-1")
        self.require(name in allowed, f"{name!r} stands where {' or '.join(allowed)} must stand")
        return name

    def end(self) -> None:
        self.require(self.place == len(self.payload), "bytes follow after its end")


def _check_sizes(reader: _Reader, n: int, dimension: int) -> None:
    """The beginning of every index."""
    width, count = reader.number("<i4"), reader.number("<i8")
    reader.require(width == dimension, f"its vectors have width {width} instead of {dimension}")
    reader.require(count == n, f"it has {count} vectors instead of {n}")
    reader.numbers("<i8", 2)  # always the same, and not used
    reader.require(reader.number("u1") == 1, "it is not trained")
    metric = reader.number("<i4")
    reader.require(metric == _INNER_PRODUCT, f"its metric is number {metric}, not inner products")


def _check_flat(reader: _Reader, n: int, dimension: int) -> None:
    """Vectors in float32."""
    reader.name("IxFI")
    _check_sizes(reader, n, dimension)
    vectors = reader.vector("<f4")
    reader.require(len(vectors) == n * dimension, "its vectors have another size")
    _check_finite(reader, vectors.reshape(n, dimension))


def _check_finite(reader: _Reader, vectors: np.ndarray) -> None:
    """Scores of the vectors are finite: faiss 1.10 may search for ever among others."""
    step = max(1, _PIECE // vectors.shape[1])
    for start in range(0, len(vectors), step):
        part = vectors[start : start + step]
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.vecdot(part, part, dtype=np.float32)
        reader.require(np.isfinite(squares).all(), "its vectors are not finite")


def _check_short(reader: _Reader, n: int, dimension: int) -> None:
    """Vectors in fewer bits."""
    reader.name("IxSQ")
    _check_sizes(reader, n, dimension)
    kind, range_kind = reader.numbers("<i4", 2).tolist()
    reader.require(kind in _SHORT, f"its numbers are of type {kind}")
    size, columns = _SHORT[kind]
    range_argument = reader.numbers("<f4", 1)[0]
    reader.require(range_kind == 0 and range_argument == 0, "its scales are found in another way")
    sizes = reader.numbers("<u8", 2).tolist()
    reader.require(sizes == [dimension, size * dimension], "its codes have another width")
    trained = reader.vector("<f4")
    reader.require(len(trained) == columns * dimension, "its scales are of other columns")
    codes = reader.vector("u1")
    reader.require(len(codes) == n * size * dimension, "its vectors have another size")
    if columns:  # least numbers of the columns, and what is added to them at most
        with np.errstate(over="ignore", invalid="ignore"):
            greatest = np.abs(trained.reshape(2, dimension)).sum(axis=0)
        _check_finite(reader, greatest[None])
    else:
        _check_finite(reader, codes.view("<f2").reshape(n, dimension))


def _check_graph(reader: _Reader, n: int) -> None:
    """Levels and links of all vectors.

    Vector i is on levels 0 to ``levels[i] - 1``. Its links on level l are the numbers
    ``offsets[i] + ends[l]`` to ``offsets[i] + ends[l + 1]`` of `links`.
    """
    probabilities, ends = reader.vector("<f8"), reader.vector("<i4").astype(np.int64)
    n_levels = len(ends) - 1
    right = n_levels >= 1 and len(probabilities) == n_levels
    reader.require(right, "it has no levels")
    width = int(ends[1]) // 2
    # Two widths of links on level 0, one on each above.
    right = width > 0 and ends[0] == 0 and (ends[1:] == width * np.arange(2, n_levels + 2)).all()
    reader.require(right, "its levels have other numbers of links")
    levels, offsets, links = reader.vector("<i4"), reader.vector("<u8"), reader.vector("<i4")
    reader.require(
        len(levels) == n and (n == 0 or (levels.min() >= 1 and levels.max() <= n_levels)),
        "its vectors are on levels that there are not",
    )
    expected = np.concatenate(([0], np.cumsum(ends[levels]))).astype(np.uint64)
    right = np.array_equal(offsets, expected) and len(links) == expected[-1]
    reader.require(right, "the places of its links are others")
    for start in range(0, len(links), _PIECE):
        part = links[start : start + _PIECE]
        reader.require(part.min() >= -1 and part.max() < n, "its links lead out of range")
    for level in range(1, int(levels.max(initial=1))):
        vectors = np.flatnonzero(levels > level)
        found = links[expected[vectors, None].astype(np.int64) + np.arange(*ends[level:][:2])]
        reader.require((levels[found[found >= 0]] > level).all(), "its links lead to lower levels")
    first, top, construction, _, beam = reader.numbers("<i4", 5).tolist()
    if n == 0:
        right = first == top == -1
    else:
        right = 0 <= first < n and levels[first] - 1 == top == levels.max() - 1
    reader.require(right, "its search begins at no vector of the highest level")
    reader.require(construction >= 1 and beam == 1, "its parameters are out of range")


def _check_lists(reader: _Reader, places: np.ndarray, nlist: int, code_size: int) -> None:
    """Inverted lists: each vector is in one, at the place that the map says."""
    sizes = np.zeros(nlist, dtype=np.int64)
    if reader.name("full", "sprs") == "full":
        given = reader.vector("<u8")
        reader.require(len(given) == nlist, "its lists have other sizes")
        sizes[:] = given
    else:
        flat = reader.vector("<u8")
        reader.require(len(flat) % 2 == 0, "its lists have other numbers")
        pairs = flat.reshape(-1, 2)
        rising = np.diff(pairs[:, 0].astype(np.int64)) > 0
        reader.require((pairs[:, 0] < nlist).all() and rising.all(), "its lists have other numbers")
        sizes[pairs[:, 0].astype(np.int64)] = pairs[:, 1]
    n = len(places)
    right = bool(sizes.min() >= 0 and sizes.max() <= n and sizes.sum() == n)
    reader.require(right, "its lists have other sizes")
    for number in np.flatnonzero(sizes):
        size = int(sizes[number])
        vectors = reader.numbers("<f4", size * code_size // 4)
        _check_finite(reader, vectors.reshape(size, -1))
        ids = reader.numbers("<i8", size)
        reader.require(ids.min() >= 0 and ids.max() < n, "its lists hold vectors out of range")
        # A list's number is in the upper half, the place in it in the lower.
        right = np.array_equal(places[ids], (int(number) << 32) + np.arange(size))
        reader.require(right, "its map leads to other vectors")
