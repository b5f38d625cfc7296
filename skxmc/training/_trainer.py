"""Trains a tower and its label prototypes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from tqdm import tqdm

from .. import _limits
from .._device import random_state, set_random_state
from .._features import row_norms
from .._towers._items import Items, make_packs
from .._towers._tower import Tower
from ._centroids import label_centroids
from ._checkpoint import Checkpoint
from ._clustering import balanced_kmeans
from ._gradient_cache import GradientCache
from ._linear_head import HeadTargets, LinearHead
from ._losses import DynamicMarginTripletLoss, PrototypeRegularizer, draw_positives
from ._options import TrainingOptions
from ._prototypes import PrototypeNetwork
from ._row_gradients import RowGradients
from ._run import TrainingRun, build_optimizer

logger = logging.getLogger(__name__)

# Steps between checks of the loss on devices where reading it stalls the queue.
CHECK_EVERY = 16

# What to do about numbers that are not finite.
MEND = "lower learning_rate, or set precision='float32'"


class TowerTrainer:
    """PRIME training of a Siamese tower (method of the user guide, Sections 3 to 6).

    Parameters
    ----------
    tower : Tower
        On the device where training happens.
    documents : Items
    labels : Items or None
        None for a subclass that needs nothing of the labels.
    Y : csr of shape (n_documents, n_labels)
    options : TrainingOptions
    rng : numpy.random.RandomState
    ignore : csr of shape (n_documents, n_labels) or None
        Pairs that are neither positive nor negative.
    bank : ndarray of shape (n_documents, dimension), float32, or None
        Unit-norm embeddings of the documents before training, if they are known; those after
        training take their place in the same memory.
    validate : callable or None
        ``validate(trainer) -> dict`` of figures, called after each epoch. The figure
        ``"validation_score"`` decides which epoch's weights are kept.
    checkpoint : Checkpoint or None
        Where the state is kept while training runs, and what has come of it when it has ended. A
        state that is there is gone on from: the same arguments must have led to it.

    Attributes
    ----------
    history : list of dict
        One entry an epoch.
    bank : ndarray of shape (n_documents, dimension), float32, unit norm
        Latest embeddings of the documents; exact after training, those of the last time in a
        batch before.
    """

    def __init__(
        self,
        tower: Tower,
        documents: Items,
        labels: Items | None,
        Y: sp.csr_array,
        options: TrainingOptions,
        rng: np.random.RandomState,
        *,
        ignore: sp.csr_array | None = None,
        bank: np.ndarray | None = None,
        validate: Callable[[TowerTrainer], dict] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.tower, self.options, self.rng = tower.eval().for_training(), options, rng
        self.documents, self.label_items, self.Y, self.ignore = documents, labels, Y, ignore
        self.validate, self.checkpoint = validate, checkpoint
        self.device = tower.device
        self.labelled = np.flatnonzero(np.diff(Y.indptr))
        self.items = documents if labels is None else documents + labels
        self._representatives = self.items.representatives()
        self.generator = torch.Generator().manual_seed(int(rng.randint(2**31)))
        self.loss = DynamicMarginTripletLoss(options.n_negatives, options.margin)
        self.regularizer = PrototypeRegularizer(options.n_negatives)
        self.gradient_cache = GradientCache(self.tower, options.precision, options.max_graph_bytes)
        self.bank = bank
        self._row_gradients = RowGradients()
        self.centroids: torch.Tensor | None = None
        self.network: torch.nn.Module | None = None
        self.head: LinearHead | None = None
        self.history: list[dict] = []

    # -- public -------------------------------------------------------------------------------

    def fit(self) -> TowerTrainer:
        """Train; a KeyboardInterrupt ends training, and what was learned so far is kept.

        Raises
        ------
        FloatingPointError
            If the loss or the embeddings are not finite; the message names epoch and step.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # the caller's random numbers stay theirs
            torch.manual_seed(int(self.rng.randint(2**31)))  # start and dropout of the network
            self._fit()
        return self

    def _fit(self) -> None:
        if self.bank is None:
            self.bank = self._encode(self.documents)
        if self.options.prototypes:
            self._build_network()
        run = TrainingRun(self.Y, self.options, self.rng, self._build_optimizer)
        if not self._resume(run):
            self._train(run)
        self.centroids = None  # those of the prototypes are taken anew

    def _train(self, run: TrainingRun) -> None:
        """Train from where a run is to its end, or to an interrupt."""
        interrupted = False
        try:
            self._train_epochs(run)
        except KeyboardInterrupt:
            interrupted = True
            logger.warning(
                "training interrupted after %d epochs; going on with what was learned",
                len(self.history),
            )
        if run.best_weights is not None:
            self._restore(run.best_weights)  # also after the last epoch: one may be half done
        run.optimizer.zero_grad(set_to_none=True)
        self.bank = self._encode(self.documents, "documents", out=self.bank)
        if not np.isfinite(self.bank).all():  # the last step of all broke the weights
            raise FloatingPointError(
                f"embeddings are not finite after epoch {len(self.history)}, step "
                f"{len(run.batches)}; {MEND}"
            )
        if self.checkpoint is not None and not interrupted:
            self.checkpoint.save(self._state())

    def encode_labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Label embeddings of unit norm, (n_labels, dimension), and their lengths before."""
        raw = self._encode(self.label_items, normalize=False)
        lengths = row_norms(raw)
        return np.divide(raw, np.maximum(lengths, 1e-12), out=raw), lengths

    def prototypes(
        self,
        labels: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
        Y: sp.csr_array | None = None,
    ) -> np.ndarray:
        """Prototypes of all labels, (n_labels, dimension) float32 of unit norm.

        Parameters
        ----------
        labels, lengths : ndarray
            As given by :meth:`encode_labels`.
        Y : csr of shape (n_documents, n_labels) or None
            Which documents a centroid is taken from; None takes those of training.
        """
        return self.prototype_maker(labels, lengths)(self.Y if Y is None else Y)

    def prototype_maker(
        self, labels: np.ndarray | None, lengths: np.ndarray | None
    ) -> Callable[[sp.csr_array], np.ndarray]:
        """Make the function of :meth:`prototypes` from `Y`, which keeps no more than it needs."""
        network, bank = self.network, self.bank
        if network is None:
            return lambda Y: labels
        return lambda Y: network.of_all(labels, lengths, label_centroids(bank, Y))

    # -- epochs -------------------------------------------------------------------------------

    def _train_epochs(self, run: TrainingRun) -> None:
        patience = self.options.patience
        for epoch in range(run.epoch, run.n_epochs):
            entry = self._train_epoch(run)
            self._follow_bank()
            if self.validate is not None:
                entry.update(self.validate(self))
            self.history.append(entry)
            run.epoch, run.losses, run.seconds = epoch + 1, [], 0.0
            if self.validate is None:
                continue
            if entry["validation_score"] > run.best_score:
                run.best_score, run.best_epoch = entry["validation_score"], epoch
                run.best_weights = self._snapshot()
            elif patience is not None and epoch - run.best_epoch >= patience:
                logger.info("no better figure for %d epochs: stopping early", patience)
                break

    def _train_epoch(self, run: TrainingRun) -> dict:
        """Train on all documents once, or on those that steps are left for."""
        self.tower.train()
        if self.network is not None:
            self.network.train()
        started = time.perf_counter() - run.seconds
        epoch, losses = run.epoch, run.losses
        if not losses:
            due = run.batches.schedule.is_due(epoch)  # else nobody reads the bank
            run.batches.start_epoch(epoch, self.bank[self.labelled] if due else self.bank)
        batches = run.batches.batches[: run.n_steps - epoch * len(run.batches)]
        n_seen = sum(map(len, batches))
        with tqdm(
            total=n_seen,
            initial=sum(map(len, batches[: len(losses)])),
            desc=f"epoch {epoch + 1}/{self.options.epochs}",
            unit="doc",
            disable=not self.options.verbose,
        ) as bar:
            for batch in batches[len(losses) :]:
                rows = self.labelled[batch]
                loss = self._train_step(rows, run.sampler.draw(rows, self.rng), run.optimizer)
                run.scheduler.step()
                losses.append(loss)
                due = self.checkpoint is not None and self.checkpoint.is_due()
                if due or self.device.type == "cpu" or len(losses) % CHECK_EVERY == 0:
                    self._check_finite(losses, epoch)
                    bar.set_postfix(loss=f"{losses[-1].item():.4f}", refresh=False)
                bar.update(len(rows))
                if due:
                    run.seconds = time.perf_counter() - started
                    self.checkpoint.save(self._state(run))
        self._check_finite(losses, epoch)
        seconds = time.perf_counter() - started
        return {
            "epoch": epoch + 1,
            "loss": float(torch.stack(losses).mean()),
            "learning_rate": run.scheduler.get_last_lr()[0],
            "seconds": seconds,
            "documents_per_second": n_seen / seconds,
        }

    def _train_step(self, rows, drawn, optimizer) -> torch.Tensor:
        ids, batch = self._make_batch(rows, drawn)
        distinct, inverse = np.unique(self._representatives[ids], return_inverse=True)
        packs, order = make_packs(self.items, distinct, self.gradient_cache.chunk_tokens)
        # Row of the packs' output that belongs to each document and label of the batch.
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        gather = torch.from_numpy(place[inverse]).to(self.device)
        batch.documents, batch.labels = gather[: len(rows)], gather[len(rows) :]
        optimizer.zero_grad(set_to_none=True)
        packs = [pack.to(self.device) for pack in packs]
        loss, embeddings = self.gradient_cache.backward(
            packs, lambda found: self._loss(found, batch)
        )
        for _, parameter in self._trained():
            self._row_gradients.make_dense(parameter)
        if self.options.max_grad_norm is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.options.max_grad_norm)
        optimizer.step()
        with torch.no_grad():
            self.bank[rows] = F.normalize(embeddings[batch.documents], dim=1).cpu().numpy()
        return loss

    def _make_batch(self, rows: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, _Batch]:
        """What a step encodes, documents first, and its targets."""
        labels, columns = np.unique(drawn, return_inverse=True)
        batch = _Batch(
            torch.from_numpy(labels).to(self.device),
            torch.from_numpy(columns).to(self.device),
            self._submatrix(self.Y, rows, labels),
            None if self.ignore is None else self._submatrix(self.ignore, rows, labels),
        )
        if self.head is not None:
            ignore = None if self.ignore is None else self.ignore[rows]
            batch.of_head = HeadTargets.of(self.Y[rows], ignore, self.rng, self.device)
        return np.concatenate([rows, len(self.documents) + labels]), batch

    def _loss(self, embeddings: torch.Tensor, batch: _Batch) -> torch.Tensor:
        """The total of Section 5: text against text both ways, prototypes, and the head."""
        target, ignore = batch.target, batch.ignore
        queries = F.normalize(embeddings[batch.documents], dim=1)
        raw_labels = embeddings[batch.labels]
        similarity = queries @ F.normalize(raw_labels, dim=1).T
        total = self.loss(similarity, target, batch.columns, ignore)
        if self.network is None:
            return total
        by_label = draw_positives(target.T, self.generator)
        total = total + self.loss(
            similarity.T, target.T, by_label, None if ignore is None else ignore.T
        )
        prototypes = self.network(raw_labels, batch.label_ids, self.centroids[batch.label_ids])
        to_prototypes = queries @ prototypes.T
        total = total + self.loss(to_prototypes, target, batch.columns, ignore)
        if self.head is not None:
            loss = self.head.loss(queries, batch.of_head, self.options.precision)
            total = total + self.options.head_weight * loss
        return total + self.options.regularization * self.regularizer(
            similarity, to_prototypes, target, batch.columns, ignore
        )

    # -- state --------------------------------------------------------------------------------

    def _build_network(self) -> None:
        n_labels = self.Y.shape[1]
        many = n_labels > _limits.MAX_FREE_VECTORS
        with_head = self.options.head_weight > 0 and n_labels <= _limits.MAX_ALL_NEGATIVES
        clusters, free_vectors = np.arange(n_labels), None
        if many or with_head or self.options.free_vectors_from_labels:
            embeddings = self._encode(self.label_items)
        if many:
            clusters = balanced_kmeans(embeddings, _limits.MAX_FREE_VECTORS, random_state=self.rng)
        if self.options.free_vectors_from_labels:
            ones = np.ones(n_labels, dtype=np.float32)
            members = sp.csr_array((ones, (np.arange(n_labels), clusters)))
            free_vectors = label_centroids(embeddings, members)
        if with_head:
            head = LinearHead.for_training(self.bank, embeddings, self.Y, self.options.head_loss)
            self.head = head.to(self.device)
        network = PrototypeNetwork(self.tower.dimension, clusters, free_vectors=free_vectors)
        self.network = network.to(self.device)
        self.centroids = self._centroids()

    def _follow_bank(self) -> None:
        """After an epoch: centroids of the embeddings that it left in the bank."""
        if self.network is not None:
            self.centroids = self._centroids()

    def _centroids(self) -> torch.Tensor:
        return torch.from_numpy(label_centroids(self.bank, self.Y)).to(self.device)

    def _build_optimizer(self, n_steps: int):
        new = ("network.", "head.", *(f"tower.{name}" for name in self.tower.new_parts))
        return build_optimizer(self._trained(), self.options, new, n_steps)

    def _encode(
        self,
        items: Items,
        progress: str | None = None,
        normalize: bool = True,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        self.tower.eval()
        return self.tower.encode(
            items,
            precision=self.options.precision,
            normalize=normalize,
            progress=progress if self.options.verbose else None,
            out=out,
        )

    def _submatrix(self, matrix: sp.csr_array, rows, columns) -> torch.Tensor:
        dense = matrix[rows][:, columns].toarray() > 0
        return torch.from_numpy(dense).to(self.device)

    def _state(self, run: TrainingRun | None = None) -> dict[str, Any]:
        """What has come of training, and while it runs all that it goes on from."""
        state = {
            "weights": dict(self._trained()),
            "bank": torch.from_numpy(self.bank),
            "history": self.history,
            "rng": self.rng.get_state(legacy=False),
        }
        if run is not None:
            state["run"] = {
                **run.state_dict(),
                "centroids": self.centroids,
                "generator": self.generator.get_state(),
                "random_state": random_state(self.device),
            }
        return state

    def _resume(self, run: TrainingRun) -> bool:
        """Go on from the checkpoint, if there is one; whether training had ended there."""
        state = None if self.checkpoint is None else self.checkpoint.load()
        if state is None:
            return False
        self._restore(state["weights"])
        self.bank[:] = state["bank"].numpy()
        self.history[:] = state["history"]
        self.rng.set_state(state["rng"])
        if "run" not in state:
            logger.info("training is taken from %s", self.checkpoint.path)
            return True
        state = state["run"]
        run.load_state_dict(state, self.device)
        if self.centroids is not None:
            self.centroids.copy_(state["centroids"])
        self.generator.set_state(state["generator"])
        set_random_state(state["random_state"], self.device)
        logger.info("training goes on from %s", self.checkpoint.path)
        return False

    def _snapshot(self) -> dict:
        """Copies of all that is trained; a frozen base stays as it is."""
        return {name: parameter.detach().clone() for name, parameter in self._trained()}

    @torch.no_grad()
    def _restore(self, snapshot: dict) -> None:
        for name, parameter in self._trained():
            parameter.copy_(snapshot[name])

    def _trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        parts = {"tower": self.tower, "network": self.network, "head": self.head}
        for prefix, module in parts.items():
            for name, parameter in [] if module is None else module.named_parameters():
                if parameter.requires_grad:
                    yield f"{prefix}.{name}", parameter

    def _check_finite(self, losses: list[torch.Tensor], epoch: int) -> None:
        recent = torch.stack(losses[-CHECK_EVERY:])
        bad = (~torch.isfinite(recent)).nonzero()
        if len(bad):
            step = len(losses) - len(recent) + int(bad[0]) + 1
            raise FloatingPointError(
                f"the loss is {recent[bad[0]].item()} in epoch {epoch + 1}, step {step}; {MEND}"
            )


@dataclass
class _Batch:
    """Tensors of one step: label ids, drawn columns, targets; rows of the packs' output."""

    label_ids: torch.Tensor
    columns: torch.Tensor
    target: torch.Tensor
    ignore: torch.Tensor | None
    of_head: HeadTargets | None = None
    documents: torch.Tensor | None = None
    labels: torch.Tensor | None = None
