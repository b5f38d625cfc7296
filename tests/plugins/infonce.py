"""Objective: each document against the labels of its batch, one softmax (InfoNCE)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from skxmc.objectives import Objective


class InfoNCE(Objective):
    def __init__(self, temperature=0.05):
        self.temperature = temperature

    def compute_loss(self, embeddings, batch):
        embeddings = F.normalize(embeddings, dim=1)
        scores = embeddings[batch.documents] @ embeddings[batch.labels].T / self.temperature
        others = batch.target if batch.exclude is None else batch.target | batch.exclude
        others = others.scatter(1, batch.columns[:, None], False)  # right, but not drawn
        return F.cross_entropy(scores.masked_fill(others, -torch.inf), batch.columns)
