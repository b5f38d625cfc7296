"""Figures on documents of one's own while the encoder is tuned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class ValidationMonitor:
    """Figures on your own documents after each epoch of tuning, and early stopping.

    A callback of scikit-learn 1.9 and newer: ``clf.set_callbacks(ValidationMonitor(...))``. After
    each epoch a whole model is made, as if tuning had ended there, and scored. That takes as long
    as the part of ``fit`` after tuning. ``Validation(patience=3)`` costs less: it looks only at
    prototypes. It also keeps the weights of the best epoch, which this callback does not.

    Parameters
    ----------
    X : sequence of str, DataFrame or array
        Documents, as for ``fit``; none that ``fit`` is given.
    y : list of lists of labels, or indicator
        Their labels, as for ``fit``.
    images : sequence or array, default=None
        Their pictures, as for ``fit``.
    exclude : sparse or bool matrix, default=None
        Pairs that do not count, as for ``fit``.
    scoring : str, callable, dict or None, default=None
        As in scikit-learn's searches; None is the estimator's own score, precision at 1.
    patience : int or None, default=None
        Epochs without a better figure after which tuning ends; of several figures the first counts.
    report : callable, default=None
        ``report(epoch, figures)`` is called after each epoch with its number, from 1, and a dict of
        floats; tuning ends where it returns True. Loggers and pruners are called here.

    Attributes
    ----------
    log_ : list of dict
        Epoch and figures of the latest fit.

    Examples
    --------
    >>> from skxmc.model_selection import ValidationMonitor
    >>> monitor = ValidationMonitor(["a red fruit"], [["fruit"]], patience=2)
    >>> monitor.log_
    []
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        images: Any = None,
        exclude: Any = None,
        scoring: Any = None,
        patience: int | None = None,
        report: Callable[[int, dict[str, float]], Any] | None = None,
    ) -> None:
        if patience is not None and patience < 1:
            raise ValueError(f"patience must be None or an int of at least 1, got {patience!r}.")
        self.X, self.y = X, y
        self.images, self.exclude = images, exclude
        self.scoring, self.patience, self.report = scoring, patience, report
        self.log_: list[dict[str, Any]] = []

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a new log, and make the scorer; called by scikit-learn.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : sklearn.callback.CallbackContext
            The task.
        """
        from sklearn.metrics import check_scoring

        self.log_ = []
        self._scorer = check_scoring(estimator, self.scoring)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Nothing is left to do; called by scikit-learn.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : sklearn.callback.CallbackContext
            The task.
        """

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Nothing is to do yet; called by scikit-learn.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : sklearn.callback.CallbackContext
            The task.
        """

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> bool:
        """Score the model of an epoch; called by scikit-learn.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : sklearn.callback.CallbackContext
            The task.
        fitted_estimator : estimator or None
            A model as if tuning had ended here.

        Returns
        -------
        stop : bool
            Whether tuning ends here.
        """
        if context.task_name != "epoch" or fitted_estimator is None:
            return False
        given = {"images": self.images, "exclude": self.exclude}
        given = {name: value for name, value in given.items() if value is not None}
        found = self._scorer(fitted_estimator, self.X, self.y, **given)
        figures = dict(found) if isinstance(found, dict) else {"score": float(found)}
        self.log_.append({"epoch": len(self.log_) + 1, **figures})
        stop = self.report is not None and self.report(len(self.log_), figures) is True
        return stop or self._is_over(next(iter(figures)))

    def _is_over(self, name: str) -> bool:
        if self.patience is None:
            return False
        scores = [entry[name] for entry in self.log_]
        best = max(range(len(scores)), key=scores.__getitem__)
        return len(scores) - 1 - best >= self.patience
