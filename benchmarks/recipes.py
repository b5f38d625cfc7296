"""Published runs as recipes: parameters, published figures, memory, and a dry run of each.

A recipe is a file in ``benchmarks/recipes``: where it was published, the shape of its data, the
parameters that are the paper's as nearly as they can be, what was published, and under
"measured" what was measured here, or null. Without ``--dry-run`` a recipe is fitted on its data
set below ``--folder``. With it, documents of the same shape are made up, fewer of them, and a
tiny random encoder learns from them for two steps: it shows that all parameters are accepted.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._data import load, targets, tiny_encoder, titles
from ._report import command, make_estimator, table

FOLDER = Path(__file__).parent / "recipes"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))

# The most documents and labels of a dry run; half of them have pictures, of vectors this wide.
DOCUMENTS, LABELS, PICTURE_WIDTH = 400, 200, 16
# What a dry run has its own values of: it would take days, or needs the published weights.
SHORT = {"epochs": 1, "max_steps": 2, "batch_size": 32, "random_state": 0}
FIGURES = ("P@1", "P@5", "PSP@1", "R@100")


def read_recipe(name: str) -> dict[str, Any]:
    """Read the recipe of a name."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def parameters_of(recipe: dict[str, Any], encoder: str, **changes: Any) -> dict[str, Any]:
    """Parameters of the estimator, as `make_estimator` takes them."""
    found = {"encoder": encoder, **recipe["parameters"], **changes}
    hard = found.get("training__hard_negatives")
    if hard is not None:
        found["training__hard_negatives"] = (*hard[:2], tuple(hard[2]))
    return found


def estimator_of(recipe: dict[str, Any], encoder: str, **changes: Any) -> Any:
    """The estimator of a recipe around an encoder."""
    import skxmc

    kinds = {"vixml": skxmc.ViXMLClassifier, "decoder": skxmc.DecoderXMCClassifier}
    return make_estimator(kinds[recipe["estimator"]], parameters_of(recipe, encoder, **changes))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add = parser.add_argument
    add("names", nargs="*", default=NAMES, metavar="NAME", help=f"some of {', '.join(NAMES)}")
    add("--dry-run", action="store_true", help="made-up documents, a tiny encoder, two steps")
    add("--memory", action="store_true", help="estimate the memory of the whole run")
    add("--folder", default="../shared/data", help="where the data sets are")
    add("--seed", type=int, default=0, help="random_state")


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Run recipe after recipe."""
    for name in options.names:
        if name not in NAMES:
            raise SystemExit(f"{name!r} is none of {', '.join(NAMES)}")
        recipe = read_recipe(name)
        result = {"recipe": name, "title": recipe["title"], "published": recipe["published"]}
        if options.memory:
            result["memory_gb"] = estimate(recipe) / 1e9
        if options.dry_run:
            result["dry_run"] = dry_run(recipe)
        elif not options.memory:
            result["measured"] = measure(recipe, options)
        yield {"measured": recipe["measured"], **result}


def dry_run(recipe: dict[str, Any]) -> str:
    """Fit and predict on made-up documents; says what came of it."""
    rng = np.random.default_rng(0)
    shape = recipe["shape"]
    n, n_labels = min(DOCUMENTS, shape["documents"]), min(LABELS, shape["labels"])
    texts = titles(n, shape["words"], rng)
    names = [f"{number} {text}" for number, text in enumerate(titles(n_labels, 4, rng))]
    Y = targets(n, n_labels, min(shape["labels_per_document"], 8), rng)
    images = label_images = None
    if recipe["images"]:
        images = rng.normal(size=(n, 3, PICTURE_WIDTH)).astype(np.float32)
        images[::2] = np.nan
        label_images = rng.normal(size=(n_labels, 3, PICTURE_WIDTH)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        encoder = _tiny_model(recipe, Path(folder))
        model = estimator_of(
            recipe, encoder, label_text=names, label_images=label_images, device="cpu", **SHORT
        )
        labels, _ = model.fit(texts, Y, images=images).predict_topk(texts, k=5, images=images)
    return f"{n} documents, {n_labels} labels: predicted {labels.shape}"


def _tiny_model(recipe: dict[str, Any], folder: Path) -> str:
    """A random model of the recipe's kind."""
    if recipe["estimator"] == "vixml":
        return tiny_encoder(folder)
    import torch
    import transformers

    tiny_encoder(folder)  # for its tokenizer, which gets an end token
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"eos_token": "<|endoftext|>"})
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.AutoConfig.for_model(
        recipe["configuration"]["model_type"],
        **sizes,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=128,
        vocab_size=len(tokenizer),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    return str(folder)


def estimate(recipe: dict[str, Any]) -> float:
    """Bytes that the whole run takes, by ``skxmc.estimate_memory``; nothing is loaded."""
    from skxmc import estimate_memory

    rng = np.random.default_rng(0)
    shape = recipe["shape"]
    n, n_labels = shape["documents"], shape["labels"]
    sample = titles(1000, shape["words"], rng)
    texts = (sample * (n // len(sample) + 1))[:n]
    names = [f"{number} {sample[number % len(sample)]}" for number in range(n_labels)]
    Y = targets(n, n_labels, shape["labels_per_document"], rng)
    with tempfile.TemporaryDirectory() as folder:
        content = json.dumps(recipe["configuration"])
        (Path(folder) / "config.json").write_text(content, encoding="utf-8")
        clf = estimator_of(recipe, folder, label_text=names, precision="bfloat16", device="cpu")
        return estimate_memory(clf, texts, Y, [None] * n if recipe["images"] else None).total


def measure(recipe: dict[str, Any], options: argparse.Namespace) -> dict[str, float]:
    """Fit the recipe on its data set, and evaluate it as it was published."""
    from skxmc.metrics import label_propensities, xmc_report

    data = load(recipe["data"], options.folder)
    model = estimator_of(
        recipe, recipe["encoder"], label_text=data.label_text, random_state=options.seed, verbose=1
    )
    images = (data.images_train, data.images_test) if recipe["images"] else (None, None)
    model.fit(data.text_train, data.Y_train, images=images[0])
    found = model.predict_topk(data.text_test, k=100, images=images[1], exclude=data.exclude_test)
    report = xmc_report(
        data.Y_test,
        found,
        k=(1, 5, 100),
        exclude=data.exclude_test,
        propensities=label_propensities(data.Y_train, preset="amazon"),
    )
    keys = ("precision_at_1", "precision_at_5", "psprecision_at_1", "recall_at_100")
    return {name: 100 * float(report[key]) for name, key in zip(FIGURES, keys, strict=True)}


def markdown(results: list[dict[str, Any]]) -> str:
    """Return published figures beside measured ones."""
    header = ["recipe", *(f"{name} published" for name in FIGURES)]
    header += [f"{name} here" for name in FIGURES] + ["memory, GB", "dry run"]
    rows = []
    for result in results:
        own = result["measured"] or {}
        rows.append(
            [
                result["recipe"],
                *(
                    f"{result['published'][n]:.2f}" if n in result["published"] else ""
                    for n in FIGURES
                ),
                *(f"{own[n]:.2f}" if n in own else "" for n in FIGURES),
                f"{result['memory_gb']:.1f}" if "memory_gb" in result else "",
                result.get("dry_run", ""),
            ]
        )
    return table(header, rows)


def main(arguments: list[str] | None = None) -> None:
    """Run and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
