"""What all benchmarks share: clocks, memory, processes of their own, and the report."""

import argparse
import json
import os
import platform
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

PACKAGES = (
    "skxmc",
    "torch",
    "transformers",
    "sentence-transformers",
    "scikit-learn",
    "numpy",
    "scipy",
    "faiss-cpu",
    "omikuji",
    "napkinxc",
)
# What decides how fast a CPU multiplies matrices.
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")

# Fewer rounds have no median to speak of.
MIN_REPEATS = 3

Spread = dict[str, float]


# --- clocks ---


def interleaved(
    contestants: dict[str, Callable[[], Any]],
    repeats: int = MIN_REPEATS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each contestant in each round; they take turns, so that noise hits all of them.

    A first round of all warms up and does not count.
    """
    for contestant in contestants.values():
        contestant()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            started = clock()
            contestant()
            seconds[name].append(clock() - started)
    return seconds


def spread(values: Iterable[float]) -> Spread:
    """Median, least and greatest of some values."""
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(others: Sequence[float], ours: Sequence[float]) -> Spread:
    """How many times as long the others took, round by round."""
    return spread(other / own for other, own in zip(others, ours, strict=True))


def show(value: Spread, digits: int = 2) -> str:
    """Median (least to greatest)."""
    median, low, high = (f"{value[name]:.{digits}f}" for name in ("median", "min", "max"))
    return f"{median} ({low} to {high})"


# --- memory and processes ---


def peak_gb() -> float:
    """The most memory that this process has had, in gigabytes."""
    kilobytes = _status("VmHWM")
    if kilobytes is not None:
        return kilobytes * 1024 / 1e9
    # On Linux ru_maxrss would count what the parent had when it started this process.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def restart_peak() -> float:
    """Let :func:`peak_gb` start again where that is possible; what is in use now, in gigabytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_gb()
    return (_status("VmRSS") or 0) * 1024 / 1e9


def _status(name: str) -> int | None:
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return None


def apart(function: Callable, *arguments: Any) -> Any:
    """Call a function in a new process, whose memory and caches are its own."""
    # Some libraries print what they do: standard output is for the report.
    with ProcessPoolExecutor(1, get_context("spawn"), os.dup2, (2, 1)) as pool:
        return pool.submit(function, *arguments).result()


def n_threads() -> int:
    """How many threads the matrix products of this run have, for libraries with others."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


# --- the command line ---


def parameter(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE, the value in JSON or as a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} has no '='; write NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def make_estimator(kind: type, params: dict[str, Any]) -> Any:
    """An estimator of skxmc, of which parameters may be nested, as in ``label_vectors__anchor``.

    What such a parameter belongs to is made of its name, or with its defaults.
    """
    own = {key: value for key, value in params.items() if "__" not in key}
    nested = {key: value for key, value in params.items() if "__" in key}
    makers = _makers(kind)
    for name in dict.fromkeys(key.partition("__")[0] for key in nested):
        name = name if name in makers else "evidence"
        own[name] = makers[name](own.get(name))
    return kind(**own).set_params(**nested)


def _makers(kind: type) -> dict[str, Callable[[Any], Any]]:
    """For a parameter of the estimator a function to an object from what was passed, or None."""
    from skxmc import DecoderXMCClassifier
    from skxmc.encoders import ImageEncoder, LanguageModel, LoRA, TextEncoder
    from skxmc.evidence import resolve_evidence
    from skxmc.indexes import make_index
    from skxmc.model_selection import Validation
    from skxmc.objectives import Training, resolve_objective

    encoder = LanguageModel if issubclass(kind, DecoderXMCClassifier) else TextEncoder
    return {
        "encoder": lambda name: encoder() if name is None else encoder(name),
        "image_encoder": lambda name: ImageEncoder() if name is None else ImageEncoder(name),
        "evidence": resolve_evidence,
        "objective": lambda name: resolve_objective(name or "prime"),
        "adapter": lambda _: LoRA(),
        "training": lambda _: Training(),
        "validation": lambda share: Validation(fraction=share or "auto"),
        "index": lambda name: make_index(name or "hnsw", 0, 0),
    }


def contestant(text: str) -> tuple[str, dict[str, Any]]:
    """Read NAME or NAME:PARAMETER=VALUE,PARAMETER=VALUE."""
    name, _, rest = text.partition(":")
    return name, dict(parameter(part) for part in rest.split(",") if part)


def of_backend(name: str, backend: str) -> str:
    """Name of a contestant with what runs its encoder, where that is not torch."""
    return name if backend == "torch" else f"{name}, {backend}"


def repeats(text: str) -> int:
    """Read how often something is timed."""
    number = int(text)
    if number < MIN_REPEATS:
        raise argparse.ArgumentTypeError(f"{number} repeats have no spread; take {MIN_REPEATS}")
    return number


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that every benchmark has."""
    parser.add_argument(
        "--output",
        type=Path,
        default=None,
        metavar="REPORT",
        help="write REPORT.json, all that was measured, REPORT.md, what is printed, and of some "
        "benchmarks REPORT.svg, a chart",
    )


def command(module: Any, arguments: Sequence[str] | None = None) -> None:
    """Run one benchmark: ``python -m benchmarks.<name>``."""
    name = module.__spec__.name
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=module.__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    module.add_arguments(parser)
    add_common(parser)
    arguments = sys.argv[1:] if arguments is None else arguments
    execute(module, parser.parse_args(arguments), shlex.join(["python", "-m", name, *arguments]))


def execute(module: Any, options: argparse.Namespace, line: str) -> None:
    """Measure, print and write the report of the command `line`."""
    report: dict[str, Any] = {
        "command": line,
        "environment": environment(),
        "settings": {
            name: value
            for name, value in vars(options).items()
            if value is None or isinstance(value, bool | int | float | str | list | tuple | dict)
        },
        "results": [],
    }
    for result in module.run(options):
        report["results"].append(result)
        if options.output is not None:  # after each: a later failure loses nothing
            _write(options.output, ".json", json.dumps(report, indent=1))
    text = f"{module.markdown(report['results'])}\n\n{environment_text(report['environment'])}"
    if options.output is not None:
        _write(options.output, ".md", f"# `{line}`\n\n{text}\n")
        if hasattr(module, "chart"):
            _write(options.output, ".svg", module.chart(report["results"]))
    print(text)


def _write(output: Path, suffix: str, text: str) -> None:
    output = output.with_suffix("") if output.suffix in (".json", ".md", ".svg") else output
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_name(output.name + suffix).write_text(text, encoding="utf-8")


# --- Markdown ---


def table(header: list[str], rows: list[list[str]], left: int = 2) -> str:
    """Return a Markdown table whose columns are aligned; all but the first few to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    rule = ["-" * width if n < left else "-" * (width - 1) + ":" for n, width in enumerate(widths)]
    lines = []
    for row in [header, rule, *rows]:
        cells = [
            cell.ljust(width) if n < left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def environment() -> dict[str, Any]:
    """Return what the seconds depend on: processor, threads, versions."""
    information: dict[str, str] = {}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            information.setdefault(key.strip(), value.strip())
    flags = information.get("flags", "").split()
    return {
        "cpu": information.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in CPU_FLAGS if flag in flags],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def _version(package: str) -> str | None:
    if package == "skxmc":
        from skxmc import __version__

        return __version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def environment_text(facts: dict[str, Any]) -> str:
    """Return the environment as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"{facts['cores']} cores, {facts['cpu']} ({', '.join(facts['flags']) or 'no flags known'}),"
        f" OMP_NUM_THREADS {facts['threads']}, load at the start {facts['load'][0]}\n\n"
        f"{facts['system']}, Python {facts['python']}, {versions}"
    )
