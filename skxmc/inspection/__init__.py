"""Displays: figures of training, of rankings, and of single predictions.

Each display follows scikit-learn's convention: ``from_estimator`` or ``from_predictions``
computes and draws, ``plot`` draws again, and the matplotlib objects are available as
``figure_``, ``ax_`` and, where there are several, ``axes_``. matplotlib is imported when
something is drawn.

To compare several models, pass a dict of name to model (or to predictions) instead of a single
one. ``ax=`` puts a figure into your own subplot.
"""

from ._calibration import CalibrationDisplay
from ._coverage import PrecisionCoverageDisplay
from ._explanation import Explanation, NearDocument
from ._explanation_display import ExplanationDisplay
from ._frequency import FrequencyBinDisplay
from ._gallery import PredictionGalleryDisplay
from ._history import TrainingHistoryDisplay

__all__ = [
    "CalibrationDisplay",
    "Explanation",
    "ExplanationDisplay",
    "FrequencyBinDisplay",
    "NearDocument",
    "PrecisionCoverageDisplay",
    "PredictionGalleryDisplay",
    "TrainingHistoryDisplay",
]
