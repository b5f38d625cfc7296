"""The callbacks of scikit-learn 1.9 and newer: what fit tells them, and when they may stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn is older, and estimators have no set_callbacks

    class CallbackSupportMixin:
        """Takes the place of scikit-learn's where it has none."""

    def with_callbacks(method: Callable) -> Callable:
        """Change nothing where scikit-learn has no callbacks."""
        return method


class FitTasks:
    """The tasks of a fit as scikit-learn's callbacks see them: the whole, and each epoch of it.

    Parameters
    ----------
    estimator : BaseXMCClassifier
    X, y
        As they were passed to ``fit``.
    metadata : dict
        What else was passed; None stands for what was not.
    n_epochs : int
        Most epochs that the encoder is tuned.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, metadata: dict, n_epochs: int) -> None:
        self._estimator, self._whole, self._epoch = estimator, None, None
        given = {name: value for name, value in metadata.items() if value is not None}
        self._data = {"X": X, "y": y, "metadata": given or None}
        if hasattr(estimator, "set_callbacks"):
            self._whole = estimator._init_callback_context(max_subtasks=n_epochs)
            self._whole.call_on_fit_task_begin(estimator=estimator, **self._data)

    def begin_epoch(self) -> None:
        """Say that an epoch begins."""
        if self._whole is not None:
            self._epoch = self._whole.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    def end_epoch(self, fitted: Callable[[], dict[str, Any]]) -> bool:
        """Say that the epoch has ended; whether a callback asks for an end of tuning.

        Parameters
        ----------
        fitted : callable
            Gives what a fitted estimator has, as if tuning had ended here. It is called where a
            callback wants to see that estimator.
        """
        return self._epoch is not None and self._end(self._epoch, fitted)

    def end(self) -> None:
        """Say that the estimator is fitted."""
        if self._whole is not None:
            self._end(self._whole, dict)

    def _end(self, context: Any, fitted: Callable[[], dict[str, Any]]) -> bool:
        return context.call_on_fit_task_end(
            estimator=self._estimator, **self._data, reconstruction_attributes=fitted
        )
