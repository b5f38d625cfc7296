"""How the optimiser and the batches of tuning work."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions


class Training(BaseEstimator):
    """Options of the optimiser and of the batches when an encoder is tuned.

    "auto" takes the default of the estimator, one for small encoders
    (:class:`~skxmc.ViXMLClassifier`) and one for language models
    (:class:`~skxmc.DecoderXMCClassifier`).

    Parameters
    ----------
    head_learning_rate : "auto" or float, default="auto"
        Peak learning rate of parts that start from scratch: those of the objective, the image
        projection and a pooling query. "auto" is 3e-3 for small encoders and 5e-3 for language
        models.
    weight_decay : float, default=0.01
        Weight decay of AdamW; biases, LayerNorm weights and free vectors have none.
    warmup_steps : int, default=100
        Steps of linear warm-up, at most a fifth of all.
    max_grad_norm : "auto", float or None, default="auto"
        Norm that gradients are clipped to; None does not clip. "auto" is None for small encoders
        and 1.0 for language models.
    hard_negatives : bool or tuple of (int, int, sequence of int), default=True
        Whether batches are made of clusters of similar documents after the first epochs. True
        scales the schedule that was published for small encoders to the number of epochs. A tuple
        says when: the first epoch with clusters (counted from 0), the epochs from one clustering
        to the next, and the epochs at which their size doubles. The published one for language
        models, of 30 epochs, is ``(4, 2, (8, 12, 16, 20, 24))``.
    max_graph_memory : "auto" or float, default="auto"
        Bytes for the graphs of a batch. What does not fit is run twice, which takes a third more
        time for its part. "auto" is 1.5e9 for small encoders and 2e9 for language models.
    image_dropout : "auto" or float, default="auto"
        Share of the documents and labels with pictures that lose them all, drawn again in each
        step. Without it a model is worse than one of texts alone where pictures are missing at
        prediction. "auto" is 0.3. Without pictures in the data nothing is drawn.

    Examples
    --------
    >>> from skxmc.objectives import Training
    >>> Training(warmup_steps=10)
    Training(warmup_steps=10)
    """

    _parameter_constraints: dict = {
        "head_learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "warmup_steps": [Interval(Integral, 0, None, closed="left")],
        "max_grad_norm": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither"), None],
        "hard_negatives": ["boolean", tuple],
        "max_graph_memory": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "image_dropout": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        head_learning_rate: float | str = "auto",
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        max_grad_norm: float | str | None = "auto",
        hard_negatives: bool | tuple[int, int, Sequence[int]] = True,
        max_graph_memory: float | str = "auto",
        image_dropout: float | str = "auto",
    ) -> None:
        self.head_learning_rate = head_learning_rate
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.max_grad_norm = max_grad_norm
        self.hard_negatives = hard_negatives
        self.max_graph_memory = max_graph_memory
        self.image_dropout = image_dropout
