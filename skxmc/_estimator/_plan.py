"""How an encoder is tuned, as the parameters of an estimator say it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._inputs._label_set import joined_texts
from ..model_selection import Validation
from ._featurizer import Featurizer
from ._learning_rates import resolve_learning_rate
from ._parameters import (
    resolve_adapter,
    resolve_batch_size,
    resolve_training,
    settings_of,
)
from ._persistence import skxmc_version
from ._tuning import TrainingData, Tuning

if TYPE_CHECKING:
    from ..objectives import Objective


def plan_tuning(
    estimator: Any,
    featurizer: Featurizer,
    objective: Objective,
    validation: Validation,
    digest: str,
    n_documents: int,
) -> Tuning:
    """All that the result of tuning depends on beside the documents.

    Parameters
    ----------
    estimator : BaseXMCClassifier
    featurizer : Featurizer
        With the tower before it is tuned.
    objective : Objective
    validation : Validation
    digest : str
        Of the encoder's weights.
    n_documents : int
    """
    adapter = None
    if estimator.train_encoder == "lora":
        adapter = resolve_adapter(estimator.adapter, estimator._recipe)
    options = _training_options(estimator, featurizer, validation, n_documents)
    settings = (featurizer.tower.settings(), featurizer.precision, estimator._max_images)

    def checkpoint(data: TrainingData, held_out: np.ndarray, rng):
        """Where `memory` keeps the tuning; None if it is not kept, being unlike any other."""
        if estimator.random_state is None:
            return None
        from .._training._checkpoint import Checkpoint

        plan = (settings_of(objective), settings_of(adapter), replace(options, verbose=0))
        validated = (validation.metric, validation.patience)
        texts = joined_texts(data.label_text)
        inputs = (data.X, data.images, data.Y, data.exclude, texts, data.label_images)
        code = (skxmc_version(), type(estimator).__name__)
        start = (digest, settings, rng.get_state(legacy=False))
        return Checkpoint.of(estimator.memory, code, plan, validated, start, inputs, held_out)

    return Tuning(
        objective, adapter, options, validation, checkpoint, estimator._recipe.merge_adapters
    )


def _training_options(
    estimator: Any, featurizer: Featurizer, validation: Validation, n_documents: int
):
    import torch

    from .._training._batches import HardNegativeSchedule
    from .._training._options import TrainingOptions

    recipe, training = estimator._recipe, resolve_training(estimator.training, estimator._recipe)
    rate = resolve_learning_rate(estimator.learning_rate, recipe.encoder, featurizer.tower)
    # None: the trainer makes one for as many epochs as it gets to.
    return TrainingOptions(
        epochs=estimator.epochs,
        max_steps=estimator.max_steps,
        batch_size=resolve_batch_size(estimator.batch_size, n_documents, recipe.n_batches),
        learning_rate=rate,
        head_learning_rate=training.head_learning_rate,
        weight_decay=training.weight_decay,
        warmup_steps=training.warmup_steps,
        max_grad_norm=training.max_grad_norm,
        propensity=tuple(validation.propensity),
        schedule=HardNegativeSchedule.of(training.hard_negatives),
        image_dropout=training.image_dropout,
        max_graph_bytes=training.max_graph_memory,
        precision=getattr(torch, featurizer.precision),
        patience=validation.patience,
        verbose=estimator._verbosity,
    )
