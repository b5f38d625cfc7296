"""An encoder trained by the cosine of embeddings, or through the score of single tokens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F

from skxmc._backbones._sources import find_model
from skxmc._towers._items import Items, Pack, make_packs
from skxmc._towers._text import TextTower, load_text_tower
from skxmc._towers._token_places import special_ends
from skxmc._towers._tower import ENCODE_TOKENS, Tower, by_runs
from skxmc._training._options import TrainingOptions
from skxmc._training._run import build_optimizer

# Numbers in a matrix of tokens times labels: 64 MB, of which training keeps a few.
_COSINES = 1 << 24


@dataclass(frozen=True)
class PlainTraining:
    """How an encoder is trained by a plain loop.

    Attributes
    ----------
    way : str
        Which score of a document and a label the loss sees: one of :data:`SCORES`.
    epochs, batch : int
        How often a document is seen, and documents of a step.
    learning_rate : float
        Greatest one of AdamW: it rises for 5 % of the steps and falls to 0.
    seed : int
        Of batches and drawn labels.
    tau : float
        Temperature of the attention over tokens, in units of cosine.
    temperature : float
        What scores are divided by before the softmax over the labels of a batch.
    precision : torch.dtype
        Of matrix products.
    """

    way: str
    epochs: int
    batch: int
    learning_rate: float
    seed: int
    tau: float = 0.3
    temperature: float = 0.05
    precision: torch.dtype = torch.float32


def load_tower(encoder: str, max_length: int) -> TextTower:
    """The tower of skxmc, without prompts, which tokens would have to do without."""
    folder = str(find_model(encoder).path)
    return load_text_tower(folder, max_length=max_length, prompt=None, label_prompt=None)


# --- scores ---


def token_scores(runs: list[torch.Tensor], labels: torch.Tensor, tau: float) -> torch.Tensor:
    """Scores (n_texts, n_labels) of labels by single tokens, differentiable in both.

    Parameters
    ----------
    runs : list of Tensor of shape (n_texts, n_tokens, dimension)
        Unit vectors of the tokens; a text without any has a score of 0.
    labels : Tensor of shape (n_labels, dimension)
        Unit vectors.
    tau : float
        Temperature of the attention.
    """
    return torch.cat([_score_run(run, labels, tau) for run in runs])


def _score_run(run: torch.Tensor, labels: torch.Tensor, tau: float) -> torch.Tensor:
    """Scores of texts of equal length, some labels at a time."""
    n = max(1, _COSINES // max(1, run.shape[0] * run.shape[1]))
    return torch.cat([_attend(run @ some.T, tau) for some in labels.split(n)], dim=1)


def _attend(cosines: torch.Tensor, tau: float) -> torch.Tensor:
    """Mean of the cosines (n_texts, n_tokens, n_labels), weighted by their softmax."""
    return (torch.softmax(cosines / tau, dim=1) * cosines).sum(dim=1)


def embed(tower: Tower, pack: Pack) -> torch.Tensor:
    """Embeddings of unit norm, (n_items, dimension)."""
    return F.normalize(tower(pack).float(), dim=1)


def token_states(tower: TextTower, pack: Pack) -> list[torch.Tensor]:
    """Unit vectors of the tokens of each run, (count, n_tokens, dimension), no special ones."""
    before, behind = special_ends(tower.tokenizer)
    hidden = tower.backbone.run(tower._input_embeddings(pack), pack.positions, pack.runs).float()
    hidden = hidden if tower.head is None else tower.head(hidden).float()
    unit = F.normalize(hidden[:, : tower.truncated], dim=1)
    runs = by_runs(unit, pack.runs)
    return [run[:, before : max(before, run.shape[1] - behind)] for run in runs]


def _by_cosine(tower: Tower, pack: Pack, labels: torch.Tensor, tau: float) -> torch.Tensor:
    return embed(tower, pack) @ labels.T


def _by_tokens(tower: Tower, pack: Pack, labels: torch.Tensor, tau: float) -> torch.Tensor:
    return token_scores(token_states(tower, pack), labels, tau)


#: Scores (n_items, n_labels) of the documents of a pack, by name.
SCORES: dict[str, Callable[..., torch.Tensor]] = {"cosine": _by_cosine, "tokens": _by_tokens}


def in_order(
    items: Items, rows: np.ndarray, of_pack: Callable[[Pack], torch.Tensor]
) -> torch.Tensor:
    """What a function makes of packs of some items, a row for each item, in their order."""
    packs, order = make_packs(items, rows, ENCODE_TOKENS)
    return torch.cat([of_pack(pack) for pack in packs])[np.argsort(order)]


@torch.inference_mode()
def score_blocks(
    tower: Tower, items: Items, labels: torch.Tensor, tau: float, n: int = 256
) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """Scores (n, n_labels) of a few documents after the other, of each kind and their mean."""
    for start in range(0, len(items), n):
        rows = np.arange(start, min(start + n, len(items)))
        found = {
            name: in_order(items, rows, lambda pack, by=by: by(tower, pack, labels, tau))
            for name, by in SCORES.items()
        }
        found["both"] = (found["cosine"] + found["tokens"]) / 2
        yield slice(start, rows[-1] + 1), {name: part.numpy() for name, part in found.items()}


# --- training ---


def train(
    tower: Tower, texts: list[str], label_text: list[str], Y: sp.csr_array,
    exclude: sp.csr_array | None, training: PlainTraining,
) -> list[float]:  # fmt: skip
    """Train the tower in place; the mean loss of each epoch.

    A document draws one of its labels in each epoch. It competes with those that the others of the
    batch drew, each label once. Batches depend on the seed alone, not on the way.
    """
    # The backbone of skxmc's own; the gradient of its table is dense, for the plain AdamW.
    tower = tower.eval().for_training()
    tower.sparse_gradients = False
    documents, labels = tower.items(texts), tower.items(label_text, of_labels=True)
    rng = np.random.default_rng(training.seed)
    labelled = np.flatnonzero(np.diff(Y.indptr))
    per_epoch = -(-len(labelled) // training.batch)
    n_steps = training.epochs * per_epoch
    optimizer, scheduler = build_optimizer(
        tower.named_parameters(), _options(training, n_steps), n_steps, new=(), undecayed=()
    )
    losses = []
    for epoch in range(training.epochs):
        total = 0.0
        for rows in np.array_split(rng.permutation(labelled), per_epoch):
            drawn = draw_labels(Y, rows, rng)
            optimizer.zero_grad(set_to_none=True)
            loss = _loss(tower, documents, labels, rows, drawn, (Y, exclude), training)
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item()
        losses.append(total / per_epoch)
        print(f"{training.way}, epoch {epoch + 1}: loss {losses[-1]:.3f}", file=sys.stderr)
    return losses


def _options(training: PlainTraining, n_steps: int) -> TrainingOptions:
    return TrainingOptions(
        learning_rate=training.learning_rate, weight_decay=0.01, warmup_steps=max(1, n_steps // 20)
    )


def draw_labels(Y: sp.csr_array, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One label of each of some documents, all of them equally probable, (n,)."""
    starts, ends = Y.indptr[rows], Y.indptr[rows + 1]
    return Y.indices[starts + (rng.random(len(rows)) * (ends - starts)).astype(np.int64)]


def _loss(
    tower: Tower,
    documents: Items,
    labels: Items,
    rows: np.ndarray,
    drawn: np.ndarray,
    pairs: tuple[sp.csr_array | None, ...],
    training: PlainTraining,
) -> torch.Tensor:
    """Cross-entropy over the labels of the batch; `pairs` other than those drawn do not compete."""
    columns, targets = np.unique(drawn, return_inverse=True)
    out = np.zeros((len(rows), len(columns)), dtype=bool)
    for known in pairs:
        if known is not None:
            out |= known[rows][:, columns].toarray() != 0
    out[np.arange(len(rows)), targets] = False
    by = SCORES[training.way]
    with tower.mixed_precision(training.precision):
        vectors = in_order(labels, columns, lambda pack: embed(tower, pack))

        def score(pack: Pack) -> torch.Tensor:
            return by(tower, pack, vectors, training.tau).float()

        scores = in_order(documents, rows, score)
    scores = (scores / training.temperature).masked_fill(torch.from_numpy(out), -torch.inf)
    return F.cross_entropy(scores, torch.from_numpy(targets))
