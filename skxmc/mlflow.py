"""Saved models as models of MLflow, without a pickle.

``mlflow.sklearn.save_model`` refuses the estimators, because they hold types that it does not
know. :func:`save_model` lets the estimator save itself, and MLflow load it by this module.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._estimator._persistence import skxmc_version
from ._inputs._texts import check_top_k
from ._inputs._values import is_missing
from ._runtime._optional import import_optional
from .serving import load_model

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["save_model"]

# Labels of a document, where the caller does not say how many.
_K = 10


def save_model(model: Any, path: str | os.PathLike, **options: Any) -> None:
    """Write a fitted estimator as a model of MLflow.

    It is loaded by ``mlflow.pyfunc.load_model(path)``, or by ``mlflow.pyfunc.spark_udf``. Its
    ``predict`` takes a DataFrame with the column ``text`` (lists of numbers for a model of ready
    embeddings), and ``image`` (bytes, paths, or what else `fit` takes) for one with pictures. It
    gives a DataFrame with the columns ``labels`` (ids, best first) and ``scores``
    (probabilities). ``params={"k": 3}`` says how many.

    Parameters
    ----------
    model : ViXMLClassifier or DecoderXMCClassifier
        Fitted.
    path : path-like
        Folder, which must not exist or be empty.
    **options
        Of ``mlflow.pyfunc.save_model``, such as ``metadata`` or ``input_example``.

    Raises
    ------
    ImportError
        If MLflow is not installed; ``mlflow-skinny`` is enough.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.mlflow import save_model
    >>> clf = ViXMLClassifier("precomputed").fit(np.eye(3), [["a"], ["b"], ["c"]])
    >>> save_model(clf, "model")  # doctest: +SKIP
    """
    pyfunc = import_optional("mlflow.pyfunc", "mlflow")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "skxmc"
        model.save(folder)
        settings = {
            "signature": _signature(model),
            "pip_requirements": [f"skxmc=={skxmc_version()}"],
            **options,
        }
        pyfunc.save_model(
            os.fspath(path), loader_module=__name__, data_path=os.fspath(folder), **settings
        )


def _signature(model: Any) -> Any:
    """Columns of input and output, and the parameter k."""
    types = import_optional("mlflow.types.schema", "mlflow")
    signature = import_optional("mlflow.models.signature", "mlflow").ModelSignature
    numbers = types.Array(types.DataType.double)  # as lists of a DataFrame, and JSON, have them
    columns = [types.ColSpec(numbers if model.tower_ is None else "string", "text")]
    if model.featurizer_.whitener is not None:
        ready = model.image_encoder_ is None
        columns.append(types.ColSpec(numbers if ready else "binary", "image", required=False))
    is_text = not np.issubdtype(model.classes_.dtype, np.integer)
    ids = types.Array(types.DataType.string if is_text else types.DataType.long)
    outputs = [types.ColSpec(ids, "labels"), types.ColSpec(numbers, "scores")]
    k = types.ParamSpec("k", "long", _K)
    return signature(types.Schema(columns), types.Schema(outputs), types.ParamSchema([k]))


def _load_pyfunc(data_path: str) -> _Loaded:
    """What MLflow calls to load a model; the name is MLflow's."""
    return _Loaded(load_model(data_path))


class _Loaded:
    """A model as MLflow calls it."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Labels and scores of documents; ``params`` may hold k."""
        pandas = import_optional("pandas", "mlflow")
        k = check_top_k((params or {}).get("k", _K))
        X: Any = model_input["text"].tolist()
        if self._model.tower_ is None and X:
            X = np.array(X, dtype=np.float32)
        images = self._pictures(model_input)
        labels, scores = self._model.predict_topk(X, k, images=images, return_labels=True)
        there = np.isfinite(scores)
        return pandas.DataFrame(
            {
                "labels": [own[kept].tolist() for own, kept in zip(labels, there, strict=True)],
                "scores": [own[kept].tolist() for own, kept in zip(scores, there, strict=True)],
            },
            index=model_input.index,
        )

    def _pictures(self, model_input: pd.DataFrame) -> Any:
        if "image" not in model_input or self._model.featurizer_.whitener is None:
            return None
        pictures = [None if is_missing(one) else one for one in model_input["image"]]
        if self._model.image_encoder_ is not None:
            return pictures
        width = len(self._model.featurizer_.whitener.mean_)
        return np.array([np.zeros(width) if one is None else one for one in pictures], np.float32)
