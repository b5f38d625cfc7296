"""Training speed against a plain padded loop over the same model, in one run.

``python -m benchmarks.train --data icons --encoder minilm --images`` prints documents a second
(one document with one label, forward and backward) of both, their ratio, and the share of the
processor's matrix products that training reaches. The plain loop is what research scripts do: texts
padded to the longest of the batch, one label encoded for every document, dropout on. Both
optimise the same loss on the same batches from the same weights.
"""

import argparse
import os
import statistics
import time
from typing import Any

import numpy as np
import torch

from skxmc._features import Featurizer
from skxmc._images import collect_images
from skxmc.encoders._decoder import load_decoder_tower
from skxmc.encoders._image import ImageEncoder
from skxmc.encoders._lora import add_adapters
from skxmc.encoders._sources import find_model
from skxmc.encoders._text import load_text_tower
from skxmc.encoders._tower import autocast
from skxmc.training._batches import PositiveSampler
from skxmc.training._trainer import TowerTrainer, TrainingOptions

from .quality import environment, environment_text, load, table

ENCODERS = {
    "minilm": ("text", "sentence-transformers/all-MiniLM-L6-v2"),
    "smollm": ("decoder", "HuggingFaceTB/SmolLM2-135M-Instruct"),
}


class PaddedTrainer(TowerTrainer):
    """The plain loop; everything beside the forward and backward pass is that of skxmc."""

    def _train_step(self, rows, drawn, optimizer):
        ids, batch = self._make_batch(rows, drawn)
        # One label for every document that drew it.
        ids = np.concatenate([rows, len(self.documents) + drawn])
        self.tower.backbone.train()
        _, first = np.unique(drawn, return_index=True)
        batch.documents = torch.arange(len(rows))
        batch.labels = len(rows) + torch.from_numpy(first)
        optimizer.zero_grad(set_to_none=True)
        halves = ids[: len(rows)], ids[len(rows) :]
        embeddings = torch.cat([self._embed(half) for half in halves])
        loss = self._loss(embeddings, batch)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def _embed(self, ids: np.ndarray) -> torch.Tensor:
        items, backbone = self.items.take(ids), self.tower.backbone
        lengths = items.tokens.lengths
        tokens = np.zeros((len(ids), lengths.max()), dtype=np.int64)
        mask = np.arange(tokens.shape[1]) < lengths[:, None]
        tokens[mask] = items.tokens.ids
        mask = torch.from_numpy(mask)
        with autocast("cpu", self.options.precision):
            embeddings = backbone.get_input_embeddings()(torch.from_numpy(tokens))
            if items.images is not None:
                index = torch.from_numpy(items.images.index.astype(np.int64))
                vectors = torch.from_numpy(items.images.vectors)[index.clamp(min=0)]
                pictures = self.tower.image_projection(vectors.flatten(0, 1))
                pictures = pictures.view(*index.shape, -1).to(embeddings.dtype)
                embeddings = torch.cat([pictures, embeddings], dim=1)
                mask = torch.cat([index >= 0, mask], dim=1)
            hidden = backbone(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state
        weights = mask[:, :, None].float()
        return (hidden.float() * weights).sum(dim=1) / weights.sum(dim=1)


def make_trainer(kind: type, options: argparse.Namespace, data: Any, images, precision: str):
    """A trainer of this kind with a tower of its own, ready for steps."""
    family, name = ENCODERS[options.encoder]
    dtype = getattr(torch, precision)
    if family == "text":
        source = find_model(name)
        tower = load_text_tower(str(source.path), max_length=options.max_length, max_images=1)
    else:
        tower = load_decoder_tower(
            name, max_length=options.max_length, max_images=1, weights_dtype=dtype
        )
    if kind is PaddedTrainer:
        tower.backbone.set_attn_implementation("sdpa")
        if family == "decoder":  # the prompt stands in every sequence
            tower.n_shared = 0
    if images is not None:
        tower.add_images(images.vectors)
    if family == "decoder":
        add_adapters(tower.backbone, rank=options.rank, seed=0)
    trainer = kind(
        tower,
        tower.items(data.text_train, images),
        tower.items(data.label_text),
        data.Y_train,
        TrainingOptions(precision=dtype, max_chunk_bytes=options.chunk),
        np.random.RandomState(0),
        bank=np.ones((len(data.text_train), tower.dimension), dtype=np.float32),
    )
    trainer.network = None
    trainer._build_network()
    tower.train()
    trainer.network.train()
    return trainer


def seconds_of(trainer, batches, sampler) -> tuple[float, list[float]]:
    """Seconds a step, the first left out, and the losses."""
    optimizer, _ = trainer._build_optimizer(len(batches))
    rng = np.random.RandomState(1)
    torch.manual_seed(0)
    laps, losses = [], []
    for rows in batches:
        drawn = sampler.draw(rows, rng)
        started = time.perf_counter()
        losses.append(float(trainer._train_step(rows, drawn, optimizer)))
        laps.append(time.perf_counter() - started)
    return statistics.median(laps[1:]), losses


def flops_a_document(trainer, rows) -> float:
    """Of a forward and a backward pass without padding: six for each weight and token."""
    weights = sum(
        p.numel()
        for name, p in trainer.tower.backbone.named_parameters()
        if p.ndim == 2 and "embed" not in name
    )
    tokens = (
        trainer.documents.tokens.lengths[rows].mean() + trainer.label_items.tokens.lengths.mean()
    )
    return 6.0 * weights * (tokens + trainer.documents.image_counts()[rows].mean())


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train",
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--data", default="icons", help="folder below --folder, or 'fontawesome'")
    add("--folder", default="../shared/data", help="where the data sets are")
    add("--encoder", default="minilm", choices=list(ENCODERS))
    add("--images", action="store_true", help="with pictures, as ready vectors")
    add("--batch", type=int, default=512, help="documents a step")
    add("--steps", type=int, default=4, help="steps of each loop; the first does not count")
    add("--max-length", type=int, default=64, help="longest text in tokens")
    add("--rank", type=int, default=64, help="of the adapters on a language model")
    add("--chunk", type=float, default=5e8, help="bytes of one chunk's graph")
    add("--plain", nargs="+", default=["float32", "bfloat16"], help="precisions of the plain loop")
    options = parser.parse_args(arguments)
    data = load(options.data, options.folder)
    images = None
    if options.images:
        collected = collect_images(data.images_train, len(data.text_train), max_images=1)
        encoder = ImageEncoder("efficientnet-lite0", precision=torch.bfloat16)
        images = Featurizer(
            tower=None, image_encoder=encoder, whitener=None, sparse=None, precision="bfloat16"
        ).encode_images(collected)
    labelled = np.flatnonzero(np.diff(data.Y_train.indptr))
    rng = np.random.RandomState(0)
    batches = [rng.choice(labelled, options.batch, replace=False) for _ in range(options.steps)]
    sampler = PositiveSampler(data.Y_train, (0.55, 1.5))
    runs = [(f"plain, {name}", PaddedTrainer, name) for name in options.plain]
    runs.append(("skxmc, bfloat16", TowerTrainer, "bfloat16"))
    rows, speed = [], {}
    for name, kind, precision in runs:
        trainer = make_trainer(kind, options, data, images, precision)
        seconds, losses = seconds_of(trainer, batches, sampler)
        speed[name] = options.batch / seconds
        gflops = speed[name] * flops_a_document(trainer, batches[0]) / 1e9
        rows.append(
            [name, f"{seconds:.2f}", f"{speed[name]:.1f}", f"{gflops:.0f}", f"{losses[-1]:.4f}"]
        )
        del trainer
    ours = speed[runs[-1][0]]
    for row in rows:
        row.append(f"{ours / speed[row[0]]:.2f}")
    what = f"{options.data}, {options.encoder}, " + ("text + pictures" if images else "text")
    print(f"{what}, batch {options.batch}, {os.cpu_count()} cores\n")
    header = ["loop", "s a step", "documents/s", "GFLOP/s", "last loss", "skxmc is faster by"]
    print(table(header, rows))
    print(f"\n{environment_text(environment())}")


if __name__ == "__main__":
    main()
