"""Exact and approximate search: when does which pay?

``python -m benchmarks.index`` prints a Markdown table. Vectors are synthetic: unit vectors in
clusters of about 100 inside of clusters of about 5,000; queries are vectors with noise.
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np

K = 100


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


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--indexes", nargs="+", default=["exact", "hnsw", "ivf"])
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--queries", type=int, default=256, help="queries of a batch")
    parser.add_argument("--singles", type=int, default=10, help="queries one by one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ef-search", type=int, default=200)
    parser.add_argument("--nprobe", default="auto")
    parser.add_argument(
        "--one-thread",
        action="store_true",
        help="processor seconds of a single thread, for a machine that others use as well",
    )
    arguments = parser.parse_args()
    clock = time.perf_counter
    if arguments.one_thread:
        # Before numpy's BLAS and the others read it, hence the imports further down.
        if os.environ.get("OMP_NUM_THREADS") != "1":
            parser.error("--one-thread needs OMP_NUM_THREADS=1 in the environment")
        clock = time.process_time

    import torch  # noqa: F401  as in a fit or a prediction, torch is loaded

    from skxmc.retrieval import make_index

    def seconds(function: Callable[[], object]) -> float:
        function()
        times = []
        for _ in range(arguments.repeats):
            start = clock()
            function()
            times.append(clock() - start)
        return float(np.median(times))

    parameters = {
        "hnsw": {"ef_search": arguments.ef_search},
        "ivf": {
            "nprobe": arguments.nprobe if arguments.nprobe == "auto" else int(arguments.nprobe)
        },
    }
    print(f"k = {K}, d = {arguments.dimension}, batch of {arguments.queries}, medians of", end=" ")
    print(f"{arguments.repeats}; build: once\n")
    print("| vectors | index | build, s | one query, ms | query of a batch, ms | recall |")
    print("|---:|---|---:|---:|---:|---:|")
    for n in arguments.sizes:
        vectors, queries = synthetic(n, arguments.dimension, arguments.queries)
        expected = make_index("exact", *vectors.shape).build(vectors).search(queries, K)[0]
        for name in arguments.indexes:
            index = make_index(name, *vectors.shape, **parameters.get(name, {}))
            start = clock()
            index.build(vectors)
            build = clock() - start
            found = index.search(queries, K)[0]
            hits = [len(np.intersect1d(a, b)) for a, b in zip(found, expected, strict=True)]
            singles = [query[None] for query in queries[: arguments.singles]]
            one = seconds(lambda: [index.search(q, K) for q in singles]) / len(singles)  # noqa: B023
            batch = seconds(lambda: index.search(queries, K)) / len(queries)  # noqa: B023
            print(
                f"| {n:,} | {name} | {build:.1f} | {1e3 * one:.2f} | {1e3 * batch:.2f} "
                f"| {sum(hits) / expected.size:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
