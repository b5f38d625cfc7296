"""From checked documents to embeddings and prototypes, with the encoder tuned or as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._features._centroids import untuned_prototypes
from .._inputs._label_set import Labels, joined_texts
from .._ranking._holdout import without_rows
from ..encoders import LoRA
from ..model_selection import Validation
from ._callbacks import FitTasks
from ._featurizer import Featurizer


@dataclass
class TrainingData:
    """Documents and labels as `fit` has checked them.

    Attributes
    ----------
    X : list of str, or ndarray of shape (n_documents, dimension)
        Texts, or ready embeddings.
    images, label_images
        Pictures; as vectors once they are encoded.
    Y : csr_array of shape (n_documents, n_labels)
    usable : ndarray of shape (n_documents,), bool
        Documents whose labels are known: all but those that lost theirs as excluded pairs.
    labels : Labels
        What is known of the columns of Y.
    exclude : csr_array of shape (n_documents, n_labels), or None
    label_text : list of list of str, or None
        The labels' texts, where an encoder reads them.
    label_embeddings : ndarray of shape (n_labels, dimension), float32, or None
        The labels' ready embeddings, where documents come as such.
    """

    X: Any
    images: Any
    Y: sp.csr_array
    usable: np.ndarray
    labels: Labels
    exclude: sp.csr_array | None
    label_text: list[list[str]] | None
    label_images: Any
    label_embeddings: np.ndarray | None = None


@dataclass
class Representation:
    """What an encoder makes of documents and labels.

    Attributes
    ----------
    documents : ndarray of shape (n_documents, dimension), float32
    labels : ndarray of shape (n_labels, dimension), float32, or None
    make_prototypes : callable
        ``make_prototypes(Y, centroids)``, as in :class:`TrainingSet`.
    """

    documents: np.ndarray
    labels: np.ndarray | None
    make_prototypes: Callable[[sp.csr_array, bool], np.ndarray | None]


@dataclass
class Tuning:
    """How an encoder is tuned: all that the result depends on beside the documents.

    Attributes
    ----------
    objective : Objective
    adapter : LoRA or None
        None trains all weights.
    options : TrainingOptions
    validation : Validation
    checkpoint : callable
        ``checkpoint(*inputs)`` gives where the state of the training is kept, or None.
    merge_adapters : bool
        Whether adapters are folded into the weights in the end.
    """

    objective: Any
    adapter: LoRA | None
    options: Any
    validation: Validation
    checkpoint: Callable[..., Any]
    merge_adapters: bool


def represent_untuned(documents: np.ndarray, labels: np.ndarray | None) -> Representation:
    """Embeddings stay as they are; prototypes are made of labels' texts and documents."""

    def make_prototypes(Y: sp.csr_array, centroids: bool) -> np.ndarray | None:
        return untuned_prototypes(documents, labels, Y) if centroids else labels

    return Representation(documents, labels, make_prototypes)


def represent_tuned(
    data: TrainingData,
    featurizer: Featurizer,
    tuning: Tuning,
    bank: np.ndarray,
    held_out: np.ndarray,
    rng: np.random.RandomState,
    history: list[dict],
    tasks: FitTasks,
    finish: Callable[[Representation], dict[str, Any]],
) -> Representation:
    """Tune the tower, in place.

    Parameters
    ----------
    data : TrainingData
        With pictures as vectors.
    featurizer : Featurizer
    tuning : Tuning
    bank : ndarray of shape (n_documents, dimension), float32
        Embeddings of the documents by the untuned tower; overwritten.
    held_out : ndarray of int64
        Documents that are not trained on.
    rng : RandomState
    history : list of dict
        Gets an entry an epoch while training goes on.
    tasks : FitTasks
        Whom the epochs are reported to.
    finish : callable
        ``finish(representation)`` gives what a fitted estimator has.
    """
    from .._training._early_stopping import PrototypeValidation
    from .._training._trainer import TowerTrainer

    tower = featurizer.tower
    checkpoint = tuning.checkpoint(data, held_out, rng)
    if data.images is not None:
        seed = int(rng.randint(2**31))
        tower.add_images(data.images.vectors, seed=seed, widths=data.images.widths)
    if tuning.adapter is None:
        tower.backbone.model.requires_grad_(True)
    else:
        tuning.adapter.add(tower.backbone.model, seed=int(rng.randint(2**31)))
    documents = tower.items(data.X, data.images)
    labels = joined_texts(data.label_text)
    labels = None if labels is None else tower.items(labels, data.label_images, of_labels=True)
    validate = None
    if tuning.validation.patience is not None and len(held_out):
        validate = PrototypeValidation(
            documents, data.Y, held_out, tuning.validation.metric, tuning.validation.propensity
        )
    trainer = TowerTrainer(
        tower,
        documents,
        labels,
        without_rows(data.Y, held_out),
        tuning.objective,
        tuning.options,
        rng,
        exclude=data.exclude,
        bank=bank,
        validate=validate,
        observer=_Epochs(tasks, finish),
        checkpoint=checkpoint,
    )
    trainer.history = history
    trainer.fit()
    if tuning.adapter is not None and tuning.merge_adapters:
        from .._backbones._lora import merge_adapters

        merge_adapters(tower.backbone.model)
    return _represent(trainer, trainer.bank)


def _represent(trainer: Any, documents: np.ndarray) -> Representation:
    """What the tower, as it is, makes of the labels; the documents' embeddings are given."""
    vectors, lengths = trainer.encode_labels()
    # Tokens, targets and gradients of training are not kept for this.
    make = trainer.objective.prototype_maker(documents, vectors, lengths)
    start = make(trainer.Y) if vectors is None else vectors
    return Representation(documents, start, lambda Y, centroids: make(Y))


class _Epochs:
    """Reports the epochs of a trainer as tasks of the fit."""

    def __init__(self, tasks: FitTasks, finish: Callable[[Representation], dict[str, Any]]) -> None:
        self.tasks, self.finish = tasks, finish

    def begin_epoch(self) -> None:
        self.tasks.begin_epoch()

    def end_epoch(self, trainer: Any) -> bool:
        def fitted() -> dict[str, Any]:
            # The bank holds embeddings of the time of each batch.
            return self.finish(_represent(trainer, trainer.encode(trainer.documents)))

        return self.tasks.end_epoch(fitted)
