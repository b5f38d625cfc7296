"""Exact and approximate search, and faiss used by hand: when does which pay?

Vectors are synthetic: unit vectors in clusters of about 100 inside of clusters of about 5,000;
queries are vectors with noise. Recall is that of the true nearest vectors.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._report import (
    apart,
    command,
    contestant,
    interleaved,
    peak_gb,
    ratio,
    repeats,
    show,
    spread,
    table,
)

K = 100
RECALLS = (10, 100)

# The one that is no index of skxmc.
BY_HAND = "faiss"

# Parameters that say how an index is searched: indexes that differ in them alone are built once.
OF_SEARCH = {"hnsw": "ef_search", "ivf": "nprobe"}


def synthetic(n: int, dimension: int, n_queries: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Clustered unit vectors (n, dimension) and queries (n_queries, dimension), float32."""
    rng = np.random.default_rng(seed)

    def normal(rows: int) -> np.ndarray:
        return rng.standard_normal((rows, dimension), dtype=np.float32)

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    outer = normal(max(1, n // 5000))
    inner = outer[rng.integers(len(outer), size=max(1, n // 100))]
    inner += 0.7 * normal(len(inner))
    vectors = np.empty((n, dimension), dtype=np.float32)
    for start in range(0, n, 10_000):
        part = inner[rng.integers(len(inner), size=min(10_000, n - start))]
        vectors[start : start + 10_000] = unit(part + 0.5 * normal(len(part)))
    queries = vectors[rng.integers(n, size=n_queries)]
    return vectors, unit(queries + 0.5 * normal(n_queries) / np.sqrt(dimension, dtype=np.float32))


class FaissFlat:
    """Exact search as one writes it with faiss."""

    def build(self, vectors: np.ndarray) -> "FaissFlat":
        """Add the vectors."""
        import faiss

        self._faiss = faiss.IndexFlatIP(vectors.shape[1])
        self._faiss.add(vectors)
        return self

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and scores of the k best."""
        scores, indices = self._faiss.search(queries, k)
        return indices, scores


def held_bytes(thing: Any, seen: set[int] | None = None) -> int:
    """Bytes of all arrays, tensors and faiss indexes that an object holds, each counted once."""
    import faiss
    import torch

    seen = set() if seen is None else seen
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        return thing.nbytes if thing.base is None else held_bytes(thing.base, seen)
    if isinstance(thing, torch.Tensor):
        return thing.untyped_storage().nbytes()
    if isinstance(thing, faiss.Index):
        sizes: list[int] = []
        faiss.write_index(thing, faiss.PyCallbackIOWriter(lambda part: sizes.append(len(part))))
        return sum(sizes)
    if isinstance(thing, dict):
        return sum(held_bytes(value, seen) for value in thing.values())
    if isinstance(thing, list | tuple):
        return sum(held_bytes(value, seen) for value in thing)
    if type(thing).__module__.partition(".")[0] in ("skxmc", "benchmarks"):
        return held_bytes(vars(thing), seen)
    return 0


def measure(n: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All indexes over n vectors, their searches in turns."""
    # Before the indexes: as in a fit or a prediction, torch is loaded.
    import torch  # noqa: F401

    from skxmc.indexes import make_index

    clock = time.process_time if options.one_thread else time.perf_counter
    vectors, queries = synthetic(n, options.dimension, options.queries)
    k = min(K, n)
    expected = make_index("exact", *vectors.shape).build(vectors).search(queries, k)[0]
    defaults: dict[str, dict[str, Any]] = {
        "hnsw": {"ef_search": options.ef_search},
        "ivf": {"nprobe": options.nprobe if options.nprobe == "auto" else int(options.nprobe)},
    }
    built, results = {}, []
    known: dict[str, tuple[Any, float]] = {}
    for text in options.indexes:
        name, parameters = contestant(text)
        if name == BY_HAND:
            index: Any = FaissFlat()
        else:
            parameters = {**defaults.get(name, {}), **parameters}
            index = make_index(name, *vectors.shape).set_params(**parameters)
        key = str((name, {k: v for k, v in parameters.items() if k != OF_SEARCH.get(name)}))
        if key in known:
            own = {OF_SEARCH[name]: getattr(index, OF_SEARCH[name])}
            vars(index).update(vars(known[key][0]) | own)
        else:
            started = clock()
            known[key] = index.build(vectors), clock() - started
        built[text] = index
        result = {"vectors": n, "index": text, "build_seconds": known[key][1]}
        found = index.search(queries, k)[0]
        for depth in (depth for depth in RECALLS if depth <= k):
            pairs = zip(found[:, :depth], expected[:, :depth], strict=True)
            hits = sum(len(np.intersect1d(*pair)) for pair in pairs)
            result[f"recall_at_{depth}"] = hits / (depth * len(queries))
        result["bytes_per_vector"] = held_bytes(index) / n
        results.append(result)
    singles = [query[None] for query in queries[: options.singles]]

    def one_by_one(index: Any) -> None:
        for query in singles:
            index.search(query, k)

    searches = {
        "single": ({t: lambda i=i: one_by_one(i) for t, i in built.items()}, len(singles)),
        "batch": ({t: lambda i=i: i.search(queries, k) for t, i in built.items()}, len(queries)),
    }
    for kind, (calls, count) in searches.items():
        seconds = interleaved(calls, options.repeats, clock)
        first = seconds[options.indexes[0]]
        for result in results:
            own = seconds[result["index"]]
            result[f"{kind}_seconds"] = spread(second / count for second in own)
            result[f"{kind}_ratio"] = ratio(first, own)
    return [{**result, "peak_gb": peak_gb()} for result in results]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    add("--indexes", nargs="+", default=["exact", "hnsw", "ivf", BY_HAND],
        help="'faiss' is its flat index used by hand; the others may have parameters: "
        "hnsw:m=16,ef_search=100. Speed is compared with the first")  # fmt: skip
    add("--dimension", type=int, default=384)
    add("--queries", type=int, default=256, help="queries of a batch")
    add("--singles", type=int, default=10, help="queries one by one")
    add("--repeats", type=repeats, default=3)
    add("--ef-search", type=int, default=200)
    add("--nprobe", default="auto")
    add("--one-thread", action="store_true",
        help="processor seconds of one thread, for a machine that others use as well")  # fmt: skip


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure one size after the other, each in a process of its own."""
    if options.one_thread and os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("--one-thread needs OMP_NUM_THREADS=1 in the environment")
    for n in options.sizes:
        yield from apart(measure, n, options)


def markdown(results: list[dict[str, Any]]) -> str:
    """Return the table of all sizes and indexes."""
    first = results[0]["index"]
    header = ["vectors", "index", "build, s", "one query, ms", "query of a batch, ms"]
    header += [f"recall@{depth}" for depth in RECALLS]
    header += ["bytes a vector", f"one: {first} / this", f"batch: {first} / this", "peak GB"]
    rows = [
        [
            f"{result['vectors']:,}",
            result["index"],
            f"{result['build_seconds']:.1f}",
            *(f"{1e3 * result[f'{kind}_seconds']['median']:.3f}" for kind in ("single", "batch")),
            *(f"{result.get(f'recall_at_{depth}', 1.0):.3f}" for depth in RECALLS),
            f"{result['bytes_per_vector']:,.0f}",
            *(show(result[f"{kind}_ratio"]) for kind in ("single", "batch")),
            f"{result['peak_gb']:.2f}",
        ]
        for result in results
    ]
    return (
        f"k = {K}; medians, ratios with their range; build once; peak of all indexes of a size "
        f"together\n\n{table(header, rows)}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
