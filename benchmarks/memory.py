"""What memory a fit takes with language models of all sizes, by ``skxmc.estimate_memory``.

Nothing is measured, and neither weights nor a GPU are needed: the estimate reads configurations,
which are written here from the published sizes. Texts and targets are synthetic; of them, only
numbers and lengths count.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from skxmc import DecoderXMCClassifier, estimate_memory
from skxmc.encoders import LanguageModel, LoRA
from skxmc.objectives import Training

from ._data import targets, titles
from ._report import command, table

# Published sizes. Whether embeddings are tied to a head does not matter: none is loaded.
SIZES = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
)
MODELS = {
    "SmolLM2-135M": ("llama", 576, 30, 9, 3, 64, 1536, 49_152),
    "SmolLM2-360M": ("llama", 960, 32, 15, 5, 64, 2560, 49_152),
    "Qwen2.5-0.5B": ("qwen2", 896, 24, 14, 2, 64, 4864, 151_936),
    "Qwen3-0.6B": ("qwen3", 1024, 28, 16, 8, 128, 3072, 151_936),
    "Llama-3.2-1B": ("llama", 2048, 16, 32, 8, 64, 8192, 128_256),
    "Qwen2.5-1.5B": ("qwen2", 1536, 28, 12, 2, 128, 8960, 151_936),
    "Qwen2.5-3B": ("qwen2", 2048, 36, 16, 2, 128, 11_008, 151_936),
    "Qwen2.5-7B": ("qwen2", 3584, 28, 28, 4, 128, 18_944, 152_064),
    "Llama-3.1-8B": ("llama", 4096, 32, 32, 8, 128, 14_336, 128_256),
}

# Value of `train_encoder`, and of `quantization`.
SETTINGS: dict[str, tuple[str, str | None]] = {
    "frozen": ("frozen", None),
    "LoRA": ("lora", None),
    "LoRA on nf4": ("lora", "nf4"),
}
# Header: setting, and which figure of its estimate. Four bits need a GPU.
COLUMNS = {
    "CPU, frozen": ("frozen", "total"),
    "CPU, LoRA": ("LoRA", "total"),
    "GPU, frozen": ("frozen", "accelerator"),
    "GPU, LoRA": ("LoRA", "accelerator"),
    "GPU, LoRA on nf4": ("LoRA on nf4", "accelerator"),
}


def write_configuration(name: str, folder: Path) -> str:
    """Write the ``config.json`` of one of `MODELS` into a folder of its own; its path."""
    path = folder / name
    path.mkdir()
    config = dict(zip(SIZES, MODELS[name], strict=True))
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add = parser.add_argument
    add("--models", nargs="+", default=list(MODELS), choices=list(MODELS), metavar="NAME",
        help=f"some of {', '.join(MODELS)}")  # fmt: skip
    add("--documents", type=int, default=100_000)
    add("--labels", type=int, default=10_000)
    add("--words", type=int, default=20, help="of a text, on average")
    add("--batch", type=int, default=512, help="documents of a batch")
    add("--rank", type=int, default=16, help="of the adapters")
    add("--graph", type=float, default=2e9, help="max_graph_memory, in bytes")
    add("--checkpointing", action="store_true", help="set gradient_checkpointing")


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Estimate for model after model."""
    rng = np.random.default_rng(0)
    texts = titles(options.documents, options.words, rng)
    Y = targets(options.documents, options.labels, 5.0, rng)
    settings = {name: getattr(options, name) for name in ("documents", "labels", "words", "batch")}
    settings |= {"rank": options.rank, "graph_gb": options.graph / 1e9}
    for name in options.models:
        result = {"model": name, **settings, "checkpointing": options.checkpointing}
        with tempfile.TemporaryDirectory() as folder:
            path = write_configuration(name, Path(folder))
            for setting, (train_encoder, quantization) in SETTINGS.items():
                clf = DecoderXMCClassifier(
                    LanguageModel(
                        path,
                        quantization=quantization,
                        gradient_checkpointing=options.checkpointing,
                    ),
                    train_encoder=train_encoder,
                    adapter=LoRA(rank=options.rank) if train_encoder == "lora" else None,
                    precision="bfloat16",
                    batch_size=options.batch,
                    training=Training(max_graph_memory=options.graph),
                )
                estimate = estimate_memory(clf, texts, Y)
                sums = {"total": estimate.total, "accelerator": estimate.accelerator}
                result[setting] = asdict(estimate) | sums
        yield result


def markdown(results: list[dict[str, Any]]) -> str:
    """Return the table of all models."""
    first = results[0]
    rows = []
    for result in results:
        millions = result["frozen"]["base_weights"] / 2e6  # in bf16, two bytes each
        sizes = [result[setting][figure] for setting, figure in COLUMNS.values()]
        rows.append([result["model"], f"{millions:,.0f}", *(f"{n / 1e9:.1f}" for n in sizes)])
    checkpointing = ", gradient checkpointing" if first["checkpointing"] else ""
    return (
        f"GB, estimated, not measured: {first['documents']:,} texts of {first['words']} words "
        f"without pictures, {first['labels']:,} labels, batches of {first['batch']}, adapters of "
        f"rank {first['rank']}, graphs of {first['graph_gb']:g} GB{checkpointing}, bf16\n\n"
        + table(["model", "million weights", *COLUMNS], rows, left=1)
    )


def main(arguments: list[str] | None = None) -> None:
    """Estimate and print."""
    command(sys.modules[__name__], arguments)


if __name__ == "__main__":
    main()
