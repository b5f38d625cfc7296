"""What a user says of adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.base import BaseEstimator


class LoRA(BaseEstimator):
    """Rank-stabilised low-rank adapters on the linear layers of an encoder.

    Pass it as `adapter` of an estimator with ``train_encoder="lora"``.

    Parameters
    ----------
    rank : int or "auto", default="auto"
        Rank of the adapters; "auto" is 64 on a text encoder and 16 on a language model. Published
        settings for models of billions of weights: 256.
    alpha : float or None, default=None
        Scale of the adapters; None takes the rank.
    dropout : float, default=0.0
        Dropout in front of the adapters.
    targets : "auto" or list of str, default="auto"
        Names of the layers that get adapters; "auto" takes the projections of attention and
        feed-forward layers of the architecture.

    References
    ----------
    Hu et al., "LoRA", ICLR 2022; Kalajdzievski, "A Rank Stabilization Scaling Factor for
    Fine-Tuning with LoRA", 2023.

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.encoders import LoRA
    >>> clf = ViXMLClassifier(train_encoder="lora", adapter=LoRA(rank=32))
    >>> clf.get_params()["adapter__rank"]
    32
    """

    def __init__(
        self,
        rank: int | str = "auto",
        alpha: float | None = None,
        dropout: float = 0.0,
        targets: str | Sequence[str] = "auto",
    ) -> None:
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.targets = targets

    def add(self, backbone: Any, seed: int) -> None:
        """Put the adapters on a model, in place; nothing else is trained then.

        Parameters
        ----------
        backbone : transformers.PreTrainedModel
            The model.
        seed : int
            Seed of the adapters' start.
        """
        from .._backbones._lora import add_adapters

        add_adapters(
            backbone,
            rank=self.rank,
            alpha=self.alpha,
            dropout=self.dropout,
            targets=self.targets,
            seed=seed,
        )
