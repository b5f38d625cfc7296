"""Accuracy, time and memory on a data set, of the estimators and of what else people use.

``--data icons --mode all --baseline`` measures all modes beside TF-IDF neighbours. Every
configuration runs in a process of its own, so that its peak of memory is its own. Filter pairs
(the label is the document itself) are dropped from predictions and truth.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from skxmc.metrics import (
    label_propensities,
    micro_f1,
    precision_coverage_area,
    xmc_report,
)

from ._baselines import BASELINES, title_of
from ._chart import points
from ._data import add_data, join_training_documents, load
from ._report import apart, command, contestant, make_estimator, parameter, peak_gb, table

# The classes, and what "all" means for each: tuning all weights of a language model is no usual
# thing to do.
ESTIMATORS = {"vixml": "ViXMLClassifier", "decoder": "DecoderXMCClassifier"}
MODES = {"vixml": ("frozen", "lora", "full"), "decoder": ("frozen", "lora")}
CURVE = (1, 2, 4, 8, 12, 16)

METRICS = {
    "P@1": "precision_at_1",
    "P@3": "precision_at_3",
    "P@5": "precision_at_5",
    "nDCG@5": "ndcg_at_5",
    "PSP@1": "psprecision_at_1",
    "PSP@5": "psprecision_at_5",
    "RP@5": "rp_at_5",
}
# Area under the curve of precision over coverage: how far one threshold fits all documents.
AREA = "AUPC"
# Documents of which the evidence is collected at a time.
BLOCK = 2048


# --- one measurement, in its own process ---


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Fit and evaluate one configuration.

    Parameters
    ----------
    task : dict
        data, folder, estimator, mode ("baseline" or a value of `train_encoder`), baseline (its
        name), images (bool), exclude_train (bool), preset (constants of the propensities), params
        (dict of the method's parameters).

    Returns
    -------
    result : dict
        The task, with ``figures``, ``fit_seconds``, ``predict_seconds``, ``cpu_seconds`` of both
        and ``peak_gb``, and of an estimator ``micro_f1`` of `predict`, ``evidence`` (figures of
        each kind alone, and of the mixture before re-ranking), ``weights`` and ``temperatures`` of
        the mixture, and ``history``. Or with ``skipped``, the reason.
    """
    data = load(task["data"], task["folder"])
    if task.get("joined"):
        data = join_training_documents(data, task["params"].get("random_state", 0))
    propensities = label_propensities(data.Y_train, preset=task["preset"])

    def figures(found: Any) -> dict[str, float]:
        report = xmc_report(
            data.Y_test, found, k=(1, 3, 5), exclude=data.exclude_test, propensities=propensities
        )
        area = precision_coverage_area(data.Y_test, found, exclude=data.exclude_test)
        return {**{name: report[key] for name, key in METRICS.items()}, AREA: float(area)}

    run = _run_baseline if task["mode"] == "baseline" else _run_estimator
    return {**task, **run(task, data, figures)}


def _run_baseline(task, data, figures) -> dict[str, Any]:
    baseline = BASELINES[task["baseline"]]
    if missing := baseline.missing():
        return {"skipped": f"it needs {' and '.join(missing)}; pip install '.[bench]'"}
    clock = _Clock()
    model = baseline(**task["params"]).fit(data.text_train, data.Y_train, data.label_text)
    clock.lap("fit")
    found = model.predict(data.text_test)
    clock.lap("predict")
    return {**clock.result(), "figures": figures(found)}


def _run_estimator(task, data, figures) -> dict[str, Any]:
    import skxmc

    kind = getattr(skxmc, ESTIMATORS[task["estimator"]])
    images_train = data.images_train if task["images"] else None
    images_test = data.images_test if task["images"] else None
    clock = _Clock()
    model = make_estimator(
        kind, {"label_text": data.label_text, "train_encoder": task["mode"], **task["params"]}
    )
    model.fit(
        data.text_train,
        data.Y_train,
        images=images_train,
        exclude=data.exclude_train if task["exclude_train"] else None,
    )
    clock.lap("fit")
    found = model.predict_topk(data.text_test, k=5, images=images_test, exclude=data.exclude_test)
    clock.lap("predict")
    result = {**clock.result(), "figures": figures(found), "history": model.history_}
    # After the clock and the memory were read: the sets of labels, and what each kind of evidence
    # is worth alone.
    predicted = model.predict(data.text_test, images=images_test, exclude=data.exclude_test)
    result["micro_f1"] = float(micro_f1(data.Y_test, predicted, exclude=data.exclude_test))
    result["threshold"] = float(np.mean(model.threshold_))
    features = model._features(data.text_test, images_test)
    ranker = model.ranker_
    mixture = ranker.mixture_
    alone: dict[str, list] = {}
    for start in range(0, len(features), BLOCK):
        rows = slice(start, start + BLOCK)
        proposals = ranker.propose(ranker.documents(features.take(rows)))
        exclude = None if data.exclude_test is None else data.exclude_test[rows]
        for name, found in proposals.items():
            alone.setdefault(name, []).append(found)
        alone.setdefault("mixture", []).append(mixture.predict(proposals, 100, exclude))
    result["evidence"] = {name: figures(_stack(blocks)) for name, blocks in alone.items()}
    result["weights"] = {name: mixture.weights_[name] for name in proposals}
    result["temperatures"] = {name: mixture.temperatures_[name] for name in proposals}
    return result


def _stack(blocks: Iterable[tuple]) -> tuple:
    return tuple(np.concatenate(parts) for parts in zip(*blocks, strict=True))


class _Clock:
    """Seconds between laps, and the peak of memory since the process started."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._cpu_started = time.process_time()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[f"{name}_seconds"] = now - self._started
        self._started = now

    def result(self) -> dict[str, float]:
        cpu_seconds = time.process_time() - self._cpu_started
        return {**self._laps, "cpu_seconds": cpu_seconds, "peak_gb": peak_gb()}


# --- the report ---


def name_of(result: dict[str, Any]) -> str:
    """How a configuration is called in the tables."""
    if result["mode"] == "baseline":
        return title_of(result["baseline"], result["params"])
    parts = ["decoder"] if result["estimator"] == "decoder" else []
    parts += [result["mode"], "text + pictures" if result["images"] else "text"]
    if result["exclude_train"]:
        parts.append("exclude_train")
    if result.get("joined"):
        parts.append("joined")
    hidden = {"random_state", "verbose"}
    parts += [f"{key}={value}" for key, value in result["params"].items() if key not in hidden]
    return ", ".join(parts)


def main_table(results: list[dict[str, Any]]) -> str:
    """Return figures, seconds and memory of all configurations."""
    header = ["data", "configuration", *METRICS, AREA, "micro-F1"]
    header += ["fit s", "predict s", "CPU s", "peak GB"]
    rows = [
        [
            result["data"],
            name_of(result),
            *(f"{result['figures'][name]:.3f}" for name in (*METRICS, AREA)),
            f"{result['micro_f1']:.3f}" if "micro_f1" in result else "",
            f"{result['fit_seconds']:.1f}",
            f"{result['predict_seconds']:.1f}",
            f"{result['cpu_seconds']:.0f}",
            f"{result['peak_gb']:.2f}",
        ]
        for result in results
        if "figures" in result
    ]
    return table(header, rows)


def evidence_table(results: list[dict[str, Any]]) -> str:
    """Return what each kind of evidence reaches alone, and its weight in the mixture."""
    header = ["configuration", "evidence", *METRICS, AREA, "weight", "temperature"]
    rows = []
    for result in results:
        for kind, figures in result.get("evidence", {}).items():
            rows.append(
                [
                    f"{result['data']}: {name_of(result)}",
                    kind.replace("_", " "),
                    *(f"{figures[name]:.3f}" for name in (*METRICS, AREA)),
                    f"{result['weights'][kind]:.2f}" if kind in result["weights"] else "",
                    f"{result['temperatures'][kind]:.3g}" if kind in result["weights"] else "",
                ]
            )
    return table(header, rows)


def markdown(results: list[dict[str, Any]]) -> str:
    """Return all tables."""
    parts = [main_table(results)]
    parts += [
        f"{name_of(result)} was left out: {result['skipped']}"
        for result in results
        if "skipped" in result
    ]
    if any("evidence" in result for result in results):
        parts.append(f"Each kind of evidence alone:\n\n{evidence_table(results)}")
    return "\n\n".join(parts)


def chart(results: list[dict[str, Any]]) -> str:
    """Accuracy over the processor time of fit and prediction: each configuration is a point."""
    there = [result for result in results if "figures" in result]
    several = len({result["data"] for result in there}) > 1
    series = {
        (f"{result['data']}: " if several else "")
        + ("" if result["mode"] == "baseline" else "skxmc, ")
        + name_of(result): [(max(result["cpu_seconds"], 0.1), result["figures"]["P@1"])]
        for result in there
    }
    title = "Precision at 1 over processor time"
    below = "processor seconds of fit and prediction"
    return points(title, series, below, "P@1", log_vertical=False, named=True)


# --- the command ---


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_data(parser, "fontawesome", several=True)
    add = parser.add_argument
    add("--estimator", default="vixml", choices=list(ESTIMATORS))
    add("--mode", nargs="+", default=["frozen"], choices=[*MODES["vixml"], "all", "none"],
        help="values of train_encoder; 'none' runs baselines only")  # fmt: skip
    add("--images", action=argparse.BooleanOptionalAction, default=None,
        help="with or without pictures; both, one after the other, if not given")  # fmt: skip
    add("--seed", nargs="+", type=int, default=[0], help="values of random_state, one run each")
    add("--epochs", type=int, default=None, help="epochs of the modes that tune the encoder")
    add("--curve", nargs="*", type=int, default=None, metavar="EPOCHS",
        help=f"one run for each number of epochs; without numbers {CURVE}")  # fmt: skip
    add("--param", action="append", type=parameter, default=[], metavar="NAME=VALUE",
        help="parameter of the estimator, such as label_vectors__anchor=1; repeatable")  # fmt: skip
    add("--exclude-train", action="store_true", help="pass the training set's filter pairs to fit")
    add("--joined", action="store_true",
        help="training documents are texts of labels: join pairs of them as well")  # fmt: skip
    add("--preset", default="default", choices=["default", "amazon", "wikipedia"],
        help="constants of the propensities in PSP, by the kind of data")  # fmt: skip
    add("--baseline", nargs="*", type=_baseline, default=None, metavar="NAME",
        help=f"other methods ({', '.join(BASELINES)}), without a name the first; parameters: "
        "linear:C=1,tol=0.01")  # fmt: skip


def _baseline(text: str) -> tuple[str, dict[str, Any]]:
    name, parameters = contestant(text)
    if name not in BASELINES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(BASELINES)}")
    return name, parameters


def tasks(options: argparse.Namespace) -> list[dict[str, Any]]:
    """List what is to be measured, in the order of the tables."""
    modes = [] if "none" in options.mode else options.mode
    modes = list(MODES[options.estimator]) if "all" in modes else modes
    curve = options.curve
    if curve is not None and not curve:
        curve = list(CURVE)
    lengths = [options.epochs] if curve is None else curve
    baselines = options.baseline
    if baselines == [] or (baselines is None and not modes):
        baselines = [(next(iter(BASELINES)), {})]
    found = []
    for data in options.data:
        common = {
            name: getattr(options, name) for name in ("folder", "estimator", "preset", "joined")
        }
        common["data"] = data
        for name, parameters in baselines or []:
            found.append(
                {
                    **common,
                    "mode": "baseline",
                    "baseline": name,
                    "images": False,
                    "exclude_train": False,
                    "params": parameters,
                }
            )
        choices = [False, True] if options.images is None else [options.images]
        if True in choices and modes and load(data, options.folder).images_train is None:
            choices = [False]
        for mode in modes:
            for images in choices:
                for epochs in [None] if mode == "frozen" else lengths:
                    for seed in options.seed:
                        params = {"random_state": seed, **dict(options.param)}
                        if epochs is not None:
                            params["epochs"] = epochs
                        found.append(
                            {
                                **common,
                                "mode": mode,
                                "images": images,
                                "exclude_train": options.exclude_train,
                                "params": params,
                            }
                        )
    return found


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure one configuration after the other, each in a process of its own."""
    for task in tasks(options):
        print(f"{task['data']}: {name_of(task)} ...", file=sys.stderr, flush=True)
        yield apart(measure, task)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
