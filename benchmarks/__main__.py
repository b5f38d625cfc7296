"""One command for all benchmarks: ``python -m benchmarks SUBCOMMAND [options]``."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module

from ._report import add_common, execute

SUBCOMMANDS = {
    "train": "training speed, loss and time to accuracy against a plain padded loop",
    "distributed": "tuning by several processes against one: the same model, and how fast",
    "encode": "embeddings of texts against sentence-transformers",
    "predict": "throughput, latency and cold start of predictions",
    "gpu": "what a GPU computes, whether it is right, and how fast",
    "index": "exact and approximate search, and faiss by hand",
    "indexes": "every index that is installed, databases too, with and without filters",
    "metrics": "xmc_report against a loop over documents",
    "quality": "accuracy, time and memory on a data set, and those of other methods",
    "serve": "requests per second and waiting times of the service",
    "answers": "probabilities, thresholds and documents without labels",
    "tokens": "encoders trained through the score of single tokens, against those by cosine",
    "update": "a model before and after partial_fit, and a refit",
    "scale": "how time and memory of fit and predict grow with the problem",
    "fingerprint": "hashes of what small fits predict, to compare commits",
    "reliability": "loading with verification, and memory over long use",
    "recipes": "published runs: parameters, figures, memory, and a dry run of each",
    "capacity": "what models and jobs of millions of labels take, from measured constants",
    "data": "build the data sets of the figures from packages, and compare them",
    "memory": "what a fit takes with language models of all sizes, estimated",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the benchmarks."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    module = None
    for name, summary in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=summary,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        if name in arguments[:1]:  # the others would load much for nothing
            module = import_module(f".{name}", __package__)
            module.add_arguments(subparser)
            add_common(subparser)
    options = parser.parse_args(arguments)
    execute(module, options, shlex.join(["python", "-m", "benchmarks", *arguments]))


if __name__ == "__main__":
    main()
