"""The plain padded loop that research scripts train with, over the same model and loss."""

import argparse
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from skxmc._backbones._lora import add_adapters
from skxmc._backbones._sources import find_model
from skxmc._inputs._images import ImageFeatures, collect_images
from skxmc._pictures._image_encoder import ImageEncoder
from skxmc._towers._decoder import load_decoder_tower
from skxmc._towers._text import load_text_tower
from skxmc._towers._tower import Tower, autocast
from skxmc._training._trainer import TowerTrainer
from skxmc.objectives import Prime

# Short names; any other name or folder is that of a text encoder.
ENCODERS = {
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "smollm": "HuggingFaceTB/SmolLM2-135M-Instruct",
}
DECODERS = ("smollm",)


class PaddedTrainer(TowerTrainer):
    """The plain loop; everything beside the forward and backward pass is that of skxmc.

    Texts are padded to the longest of the batch, one label is encoded for every document that
    drew it, dropout is on, and gradients of tables are dense.
    """

    def prepare(self):
        """As usual, but for free vectors, whose gradient is dense."""
        super().prepare()
        self.objective.modules()["network"].free_vectors.sparse = False
        return self

    def train_step(self, rows, drawn, optimizer):
        """One step over padded texts."""
        _, batch = self.objective.batch(rows, drawn)
        # One label for every document that drew it.
        halves = rows, len(self.documents) + drawn
        self.tower.backbone.model.train()
        _, first = np.unique(drawn, return_index=True)
        batch.documents = torch.arange(len(rows))
        batch.labels = len(rows) + torch.from_numpy(first)
        optimizer.zero_grad(set_to_none=True)
        embeddings = torch.cat([self._embed(half) for half in halves])
        loss = self.objective.compute_loss(embeddings, batch)
        loss.backward()
        optimizer.step()
        self.bank[rows] = F.normalize(embeddings.detach()[: len(rows)], dim=1).numpy()
        return loss.detach()

    def _embed(self, ids: np.ndarray) -> torch.Tensor:
        items, backbone = self.items.take(ids), self.tower.backbone.model
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


def load_tower(
    options: argparse.Namespace, images: ImageFeatures | None, precision: str, *, padded: bool
) -> Tower:
    """The encoder of the options, for the plain loop or for that of skxmc."""
    name = ENCODERS.get(options.encoder, options.encoder)
    limits = {"max_length": options.max_length, "max_images": 1}
    if options.encoder in DECODERS:
        tower = load_decoder_tower(name, weights_dtype=getattr(torch, precision), **limits)
    else:
        tower = load_text_tower(str(find_model(name).path), **limits)
    if padded:
        tower.backbone.model.set_attn_implementation("sdpa")
        tower.backbone.packed = False
        if options.encoder in DECODERS:  # the prompt stands in every sequence
            tower.n_shared = 0
    if images is not None:
        tower.add_images(images.vectors)
    if options.encoder in DECODERS:
        add_adapters(tower.backbone.model, rank=options.rank, seed=0)
    return tower


def make_objective(options: argparse.Namespace) -> Prime:
    """PRIME; both loops do without a linear head, unless the options ask for one."""
    return Prime(**{"head_weight": 0.0, **dict(options.objective_param)})


def picture_vectors(pictures: Any, n: int, memory: str | None = None) -> ImageFeatures:
    """One vector for each picture, as both loops get them; `memory` is a folder for a cache."""
    encoder = ImageEncoder("efficientnet-lite0", precision=torch.bfloat16, memory=memory)
    return encoder.encode(collect_images(pictures, n, max_images=1))
