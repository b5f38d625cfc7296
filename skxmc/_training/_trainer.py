"""Trains a tower towards an objective: the loop alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from tqdm import tqdm

from .._features._blocks import row_norms
from .._runtime import group
from .._runtime._device import random_state, set_random_state, to_device
from .._towers._items import Items
from .._towers._tower import Tower
from ._checkpoint import Checkpoint
from ._gradient_cache import GradientCache
from ._gradient_sum import GradientSum
from ._options import TrainingOptions
from ._problem import TuningProblem
from ._row_gradients import RowGradients
from ._run import TrainingRun, build_optimizer
from ._several import encode_shares, start_alike
from ._step_share import StepShare

logger = logging.getLogger(__name__)

# Steps between checks of the loss on devices where reading it stalls the queue.
CHECK_EVERY = 16

# Steps after which the time of all of them is estimated, and seconds that are long.
TIMED_STEPS, LONG = 3, 600

# What to do about numbers that are not finite.
REMEDY = "lower learning_rate, or set precision='float32'"


class TowerTrainer:
    """The loop that trains a Siamese tower; what is minimised is the objective's.

    Parameters
    ----------
    tower : Tower
        On the device where training happens.
    documents : Items
    labels : Items or None
        None if the labels have no texts, for an objective that does without.
    Y : csr of shape (n_documents, n_labels)
    objective : skxmc.objectives.Objective
        Built by :meth:`prepare`, and changed by training.
    options : TrainingOptions
    rng : numpy.random.RandomState
    exclude : csr of shape (n_documents, n_labels) or None
        Pairs that are neither positive nor negative.
    bank : ndarray of shape (n_documents, dimension), float32, or None
        Unit-norm embeddings of the documents before training, if they are known; those after
        training take their place in the same memory.
    validate : callable or None
        ``validate(trainer) -> dict`` of figures, called after each epoch. The figure
        ``"validation_score"`` decides which epoch's weights are kept.
    observer : object or None
        Its ``begin_epoch()`` is called before each epoch and ``end_epoch(trainer)`` after it, which
        says whether training shall end there.
    checkpoint : Checkpoint or None
        Where the state is kept while training runs, and its result when it has ended. If there is
        a state, training resumes from it: the same arguments must have led to it.

    Attributes
    ----------
    history : list of dict
        One entry an epoch.
    bank : ndarray of shape (n_documents, dimension), float32, unit norm
        Latest embeddings of the documents; exact after training, those of the last time in a
        batch before.
    items : Items
        Documents, and behind them the labels' texts: what the ids of a batch count in.
    representatives : ndarray of shape (n_items,), int64
        The first item with the same content; a batch encodes each of them once.

    Raises
    ------
    ValueError
        If the labels have no texts and the objective needs them.
    """

    def __init__(
        self,
        tower: Tower,
        documents: Items,
        labels: Items | None,
        Y: sp.csr_array,
        objective: Any,
        options: TrainingOptions,
        rng: np.random.RandomState,
        *,
        exclude: sp.csr_array | None = None,
        bank: np.ndarray | None = None,
        validate: Callable[[TowerTrainer], dict] | None = None,
        observer: Any = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        if labels is None and objective.needs_label_texts:
            raise ValueError(
                f"the objective {type(objective).__name__} needs the labels' texts; pass them, or "
                "take an objective that does without, such as LinearHead."
            )
        self.tower, self.options, self.rng = tower.eval().for_training(), options, rng
        self.documents, self.labels, self.Y, self.exclude = documents, labels, Y, exclude
        self.objective, self.checkpoint = objective, checkpoint
        self.validate, self.observer = validate, observer
        self.device = tower.device
        self.labelled = np.flatnonzero(np.diff(Y.indptr))
        self.items = documents if labels is None else documents + labels
        self.representatives = self.items.representatives()
        self.generator = torch.Generator().manual_seed(int(rng.randint(2**31)))
        self.gradient_cache = GradientCache(self.tower, options.precision, options.max_graph_bytes)
        self.bank = bank
        self._row_gradients, self._gradient_sum = RowGradients(), GradientSum()
        self._new_rows: list[tuple[np.ndarray, torch.Tensor]] = []
        self.history: list[dict] = []

    # -- training as a whole ------------------------------------------------------------------

    def fit(self) -> TowerTrainer:
        """Train; a KeyboardInterrupt ends training, and what was learned so far is kept.

        Where several processes train, it is raised: the others cannot go on without this one.

        Raises
        ------
        FloatingPointError
            If the loss or the embeddings are not finite; the message names epoch and step.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # the caller's random numbers stay theirs
            torch.manual_seed(int(self.rng.randint(2**31)))  # start and dropout of new modules
            self.prepare()
            run = TrainingRun(self.Y, self.options, self.rng, self.build_optimizer)
            if not self._resume(run):
                self._train(run)
        self.objective.after_training()
        return self

    def prepare(self) -> TowerTrainer:
        """Encode the documents, unless their embeddings are known, and build the objective.

        :meth:`fit` does it; call it to take single steps. Modules start with PyTorch's global
        random numbers, which :meth:`fit` seeds and puts back.
        """
        if self.bank is None:
            self.bank = self.encode(self.documents)
        self.objective.build(
            TuningProblem(
                tower=self.tower,
                documents=self.documents,
                labels=self.labels,
                Y=self.Y,
                exclude=self.exclude,
                bank=self.bank,
                encode=self.encode,
                rng=self.rng,
                generator=self.generator,
                device=self.device,
                precision=self.options.precision,
            )
        )
        start_alike(dict(self._trained()), self.objective.modules(), self.rng, self.generator)
        return self.train(False)

    def train(self, mode: bool = True) -> TowerTrainer:
        """Put the tower and the objective's modules into training mode, or out of it."""
        self.tower.train(mode)
        for module in self.objective.modules().values():
            module.train(mode)
        return self

    def _train(self, run: TrainingRun) -> None:
        """Train from where a run is to its end, or to an interrupt."""
        interrupted = False
        try:
            interrupted = self._train_epochs(run)
        except KeyboardInterrupt:
            if group.size() > 1:
                raise
            interrupted = True
            logger.warning(
                "training interrupted after %d epochs; going on with what was learned",
                len(self.history),
            )
        self.train(False)
        if run.best_weights is not None:
            self._restore(run.best_weights)  # also after the last epoch: one may be half done
        run.optimizer.zero_grad(set_to_none=True)
        self.bank = self.encode(self.documents, progress="documents", out=self.bank)
        if not np.isfinite(self.bank).all():  # the last step of all broke the weights
            raise FloatingPointError(
                f"embeddings are not finite after epoch {len(self.history)}, step "
                f"{len(run.batches)}; {REMEDY}"
            )
        if self.checkpoint is not None and not interrupted:
            self.checkpoint.save(self._state())

    # -- what is learned ----------------------------------------------------------------------

    def encode(
        self,
        items: Items,
        normalize: bool = True,
        *,
        progress: str | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Embeddings as :meth:`Tower.encode` gives them, in the precision of training.

        A progress bar with the title `progress` is shown to the verbose only.
        """
        self.tower.eval()
        return encode_shares(
            self.tower,
            items,
            out,
            precision=self.options.precision,
            normalize=normalize,
            progress=progress if self.options.verbose else None,
        )

    def encode_labels(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Label embeddings of unit norm, (n_labels, dimension), and their lengths before.

        None and None if the labels have no texts.
        """
        if self.labels is None:
            return None, None
        raw = self.encode(self.labels, normalize=False)
        lengths = row_norms(raw)
        return np.divide(raw, np.maximum(lengths, 1e-12), out=raw), lengths

    def prototypes(
        self,
        labels: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
        Y: sp.csr_array | None = None,
    ) -> np.ndarray:
        """Prototypes of all labels, (n_labels, dimension) float32.

        Parameters
        ----------
        labels, lengths : ndarray or None
            As given by :meth:`encode_labels`.
        Y : csr of shape (n_documents, n_labels) or None
            Which documents a centroid is taken from; None takes those of training.
        """
        make = self.objective.prototype_maker(self.bank, labels, lengths)
        return make(self.Y if Y is None else Y)

    # -- epochs and steps ---------------------------------------------------------------------

    def _train_epochs(self, run: TrainingRun) -> bool:
        """Train epoch by epoch; whether the observer put an end to it."""
        for epoch in range(run.epoch, run.n_epochs):
            if self.observer is not None:
                self.observer.begin_epoch()
            entry = self._train_epoch(run)
            self.train(False)
            self.objective.after_epoch(self.bank)
            if self.validate is not None:
                entry.update(group.same(self.validate(self)))
            self.history.append(entry)
            run.epoch, run.losses, run.seconds = epoch + 1, [], 0.0
            over = self.validate is not None and self._is_over(run, epoch)
            if self.observer is not None and group.same(self.observer.end_epoch(self)):
                logger.info("a callback ended training after %d epochs", epoch + 1)
                return not over
            if over:
                break
        return False

    def _is_over(self, run: TrainingRun, epoch: int) -> bool:
        """Keep the weights of the best epoch; whether there was no better one for long enough."""
        score, patience = self.history[-1]["validation_score"], self.options.patience
        if score > run.best_score:
            run.best_score, run.best_epoch = score, epoch
            run.best_weights = self._snapshot()
        elif patience is not None and epoch - run.best_epoch >= patience:
            logger.info("no better figure for %d epochs: stopping early", patience)
            return True
        return False

    def _train_epoch(self, run: TrainingRun) -> dict:
        """Train on all documents once, or on those that steps are left for."""
        self.train()
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
                loss = self.train_step(rows, run.sampler.draw(rows, self.rng), run.optimizer)
                run.scheduler.step()
                losses.append(loss)
                due = self.checkpoint is not None and self.checkpoint.is_due()
                if due or self.device.type == "cpu" or len(losses) % CHECK_EVERY == 0:
                    self._check_finite(losses, epoch)
                    bar.set_postfix(loss=f"{losses[-1].item():.4f}", refresh=False)
                bar.update(len(rows))
                if epoch == 0 and len(losses) == TIMED_STEPS:
                    self._announce(run, (time.perf_counter() - started) / TIMED_STEPS)
                if due:
                    self._write_bank()
                    run.seconds = time.perf_counter() - started
                    self.checkpoint.save(self._state(run))
        self._check_finite(losses, epoch)
        self._write_bank()
        seconds = time.perf_counter() - started
        return {
            "epoch": epoch + 1,
            "loss": float(torch.stack(losses).mean()),
            "learning_rate": run.scheduler.get_last_lr()[0],
            "seconds": seconds,
            "documents_per_second": n_seen / seconds,
        }

    def _announce(self, run: TrainingRun, seconds: float) -> None:
        """Say how long training will take, when a step takes so many seconds."""
        left = seconds * (run.n_steps - run.epoch * len(run.batches))
        level = logging.WARNING if left > LONG else logging.INFO
        hint = "; train_encoder='frozen' takes a small part of that" if left > LONG else ""
        logger.log(level, "tuning takes about %.0f minutes on this machine%s", left / 60, hint)

    def train_step(
        self, rows: np.ndarray, drawn: np.ndarray, optimizer: torch.optim.Optimizer
    ) -> torch.Tensor:
        """Make one optimisation step, and keep the documents' embeddings for the bank.

        Parameters
        ----------
        rows : ndarray of shape (n,), int64
            Documents of the batch.
        drawn : ndarray of shape (n,), int64
            A label of each.
        optimizer : Optimizer

        Returns
        -------
        Tensor of shape ()
            The loss before the step, without a graph.
        """
        ids, batch = self.objective.batch(rows, drawn)
        distinct, inverse = np.unique(self.representatives[ids], return_inverse=True)
        items, selected = self._leave_out_images(distinct)
        share = StepShare(items, selected, self.gradient_cache.chunk_tokens, rows, drawn)
        # Row of the packs' output that belongs to each document and label of the batch.
        gather = to_device(share.places[inverse], self.device)
        batch.documents, batch.labels = gather[: len(rows)], gather[len(rows) :]
        optimizer.zero_grad(set_to_none=True)
        packs = [pack.to(self.device) for pack in share.packs]
        loss, embeddings = self.gradient_cache.backward(
            packs, lambda found: self.objective.compute_loss(found, batch), share
        )
        for _, parameter in self._trained():
            self._row_gradients.make_dense(parameter)
        if share.counts is not None:
            loss = self._gradient_sum(dict(self._trained()), loss)
        if self.options.max_grad_norm is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.options.max_grad_norm)
        optimizer.step()
        with torch.no_grad():
            self._new_rows.append((rows, F.normalize(embeddings[batch.documents], dim=1)))
        if self.device.type == "cpu" or len(self._new_rows) >= CHECK_EVERY:
            self._write_bank()
        return loss

    def _write_bank(self) -> None:
        """Bring the embeddings of the last steps to the host; it waits for these."""
        for rows, embeddings in self._new_rows:
            self.bank[rows] = embeddings.cpu().numpy()
        self._new_rows.clear()

    def _leave_out_images(self, distinct: np.ndarray) -> tuple[Items, np.ndarray]:
        """Take all pictures from a share of the items of a batch, in this step alone.

        A model that never sees an item without pictures is worse than one of texts where they are
        missing at prediction (ViXML, AAAI 2026, supplement H).

        Returns
        -------
        items : Items
        selected : ndarray of shape (len(distinct),), int64
            Which of them stand for the distinct ones.
        """
        share, images = self.options.image_dropout, self.items.images
        if share == 0 or images is None:
            return self.items, distinct  # nothing is drawn
        illustrated = np.flatnonzero((images.index[distinct] >= 0).any(axis=1))
        drawn = torch.rand(len(illustrated), generator=self.generator).numpy() < share
        left_out = illustrated[drawn]
        bare = self.tower.without_images(self.items.take(distinct[left_out]))
        selected = np.arange(len(distinct))
        selected[left_out] = len(distinct) + np.arange(len(left_out))
        return self.items.take(distinct) + bare, selected

    def build_optimizer(
        self, n_steps: int
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """Optimiser and schedule of the learning rates for a number of steps."""
        return build_optimizer(
            self._trained(),
            self.options,
            n_steps,
            new=("objective.", *(f"tower.{name}" for name in self.tower.new_parts)),
            undecayed=tuple(f"objective.{name}" for name in self.objective.undecayed),
        )

    # -- state --------------------------------------------------------------------------------

    def _state(self, run: TrainingRun | None = None) -> dict[str, Any]:
        """The result of training, and while it runs all that it resumes from."""
        state = {
            "weights": dict(self._trained()),
            "bank": torch.from_numpy(self.bank),
            "history": self.history,
            "rng": self.rng.get_state(legacy=False),
        }
        if run is not None:
            state["run"] = {
                **run.state_dict(),
                "objective": self.objective.state_dict(),
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
        self.objective.load_state_dict(state["objective"])
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
        modules = self.objective.modules()
        parts = {"tower": self.tower, **{f"objective.{key}": modules[key] for key in modules}}
        for prefix, module in parts.items():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    yield f"{prefix}.{name}", parameter

    def _check_finite(self, losses: list[torch.Tensor], epoch: int) -> None:
        recent = torch.stack(losses[-CHECK_EVERY:])
        bad = (~torch.isfinite(recent)).nonzero()
        if len(bad):
            step = len(losses) - len(recent) + int(bad[0]) + 1
            raise FloatingPointError(
                f"the loss is {recent[bad[0]].item()} in epoch {epoch + 1}, step {step}; {REMEDY}"
            )
