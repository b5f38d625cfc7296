"""Scorers for scikit-learn's searches: the figures of a fold from one call of predict_topk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._inputs._targets import check_exclude, encode_truth
from ._inputs import check_k
from ._predictions import Indices
from ._propensity import _PRESETS, label_propensities
from ._report import _LABEL_AVERAGES, _MEANS, _PROPENSITY_SCORED, xmc_report

# scikit-learn is imported inside of functions: the metrics are light without it, and whoever
# calls a scorer has it loaded.

_BY_FREQUENCY = ("recall_head", "recall_torso", "recall_tail")
_METRICS = (*_MEANS, *_LABEL_AVERAGES, *_PROPENSITY_SCORED, *_BY_FREQUENCY)

# How the columns of the field's tables of results are headed.
_SHORT = {"p": "precision", "n": "ndcg", "psp": "psprecision", "psn": "psndcg"}

# What a scorer uses itself. None: an error if it is passed to a search and nobody said whether
# the scorer wants it, so that a forgotten one is an error.
_REQUESTS = {"images": None, "exclude": None, "sample_weight": None}


def xmc_scores(
    *,
    ks: int | Sequence[int] = (1, 3, 5),
    metrics: str | Sequence[str] = ("precision", "ndcg", "recall", "psprecision"),
    propensity: str | tuple[float, float] = "default",
) -> XMCScorer:
    """Make a scorer that computes all figures of a fold from one call of ``predict_topk``.

    Parameters
    ----------
    ks : int or sequence of int, default=(1, 3, 5)
        The numbers of predictions that count.
    metrics : str or sequence of str, default=("precision", "ndcg", "recall", "psprecision")
        Names as in the keys of :func:`xmc_report`: precision, ndcg, recall, rp, hit, mrr, map,
        micro_f1, macro_f1, macro_precision, label_coverage, psprecision, psndcg, psrecall,
        recall_head, recall_torso, recall_tail. The short names p, n, psp and psn stand for
        precision, ndcg, psprecision and psndcg.
    propensity : {"default", "amazon", "wikipedia"} or tuple of float, default="default"
        Constants (a, b) of :func:`label_propensities`. They are the scorer's own, not those of the
        estimator: a search over the estimator's `propensity` has to measure all candidates
        in the same way.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, images=None, exclude=None, sample_weight=None)`` gives a dict of
        str to float with keys such as ``"precision_at_1"``.

    See Also
    --------
    make_topk_scorer : A scorer that gives a single number.

    Notes
    -----
    Pass it as ``scoring=`` to :class:`~sklearn.model_selection.GridSearchCV` and
    :class:`~sklearn.model_selection.RandomizedSearchCV`, with one of the keys as ``refit=``, or
    to :func:`~sklearn.model_selection.cross_validate`. Searches by halving know one number only:
    they take :func:`make_topk_scorer`.

    The estimator is one of skxmc, or a pipeline that ends in one; its leading steps transform X
    first. Propensities and the bins of recall_head, recall_torso and recall_tail come from the
    training labels that the fitted estimator holds, so from the training fold. Documents that
    have no label are not counted among the training documents there.

    `y` is what `fit` takes; columns of a DataFrame are found by their names. Names that fit has
    not seen are labels that are never found, as are columns of an indicator without a training
    document.

    With metadata routing, ``set_score_request(images=True)`` makes a search pass the scorer its
    part of `images`. An estimator that was fitted with pictures is not scored without: that is an
    error, unless ``set_score_request(images=False)`` says that it is meant. Without
    ``error_score="raise"`` searches turn errors of scorers into a warning and a score of NaN.

    Examples
    --------
    >>> from skxmc.metrics import xmc_scores
    >>> xmc_scores(ks=(1, 5), metrics=["precision", "psp"])
    xmc_scores(ks=(1, 5), metrics=('precision', 'psprecision'))
    """
    return XMCScorer(ks, metrics, propensity)


def make_topk_scorer(
    metric: str = "precision",
    *,
    k: int = 1,
    propensity: str | tuple[float, float] = "default",
) -> TopkScorer:
    """Make a scorer that computes one metric of the k best labels.

    Parameters
    ----------
    metric : str, default="precision"
        One of the metrics of :func:`xmc_scores`.
    k : int, default=1
        The number of predictions that count.
    propensity : {"default", "amazon", "wikipedia"} or tuple of float, default="default"
        As for :func:`xmc_scores`.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, images=None, exclude=None, sample_weight=None)`` gives a float.

    See Also
    --------
    xmc_scores : All figures at once; what is said there holds here, too.

    Examples
    --------
    >>> from skxmc.metrics import make_topk_scorer
    >>> make_topk_scorer("psp", k=3)
    make_topk_scorer('psprecision', k=3)
    """
    if np.ndim(k):
        raise TypeError(f"k must be an int, got {k!r}; xmc_scores takes several.")
    if not isinstance(metric, str):
        raise TypeError(f"metric must be a str, got {metric!r}; xmc_scores takes several.")
    return TopkScorer(k, metric, propensity)


class XMCScorer:
    """Scorer that gives all its figures in a dict; made by :func:`xmc_scores`."""

    def __init__(
        self,
        ks: int | Sequence[int],
        metrics: str | Sequence[str],
        propensity: str | tuple[float, float],
    ) -> None:
        self.ks = tuple(check_k(ks)[0].tolist())
        self.metrics = _check_metrics([metrics] if isinstance(metrics, str) else metrics)
        self.propensity = _check_propensity(propensity)
        self._requests: Mapping[str, bool | str | None] = _REQUESTS

    def __call__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        images: Any = None,
        exclude: Any = None,
        sample_weight: Any = None,
        **metadata: Any,
    ) -> Any:
        """Measure a fitted estimator.

        Parameters
        ----------
        estimator : object
            Has ``predict_topk``, or is a pipeline or a fitted search around such an estimator.
        X, y, images, exclude
            Documents and their labels, as for ``fit``. `exclude` is a sparse or bool matrix.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the documents.
        **metadata : dict
            What leading steps of a pipeline request for ``transform``; needs metadata routing.

        Returns
        -------
        figures : dict of str to float
        """
        return self._figures(
            estimator,
            X,
            y,
            {"images": images, "exclude": exclude, "sample_weight": sample_weight, **metadata},
        )

    def _figures(self, estimator: Any, X: Any, y: Any, metadata: dict[str, Any]) -> Any:
        steps, model = find_ranker(estimator)
        for step, routed in zip(steps, self._route(steps, metadata), strict=True):
            X = step.transform(X, **routed)
        images, exclude = metadata["images"], metadata["exclude"]
        if images is None and self._requests["images"] is not False:
            _check_needs_no_pictures(model, X)
        if not (exclude is None or sp.issparse(exclude) or np.asarray(exclude).dtype == bool):
            raise TypeError(
                "exclude must be a sparse or bool matrix with one row for each document: of other "
                "pairs a search cannot tell which belong to a fold."
            )
        given = {"images": images, "exclude": exclude}
        indices, _ = model.predict_topk(
            X,
            k=min(max(self.ks), len(model.classes_)),
            **{name: value for name, value in given.items() if value is not None},
        )
        truth = encode_truth(y, len(indices), model.classes_)
        exclude = check_exclude(exclude, len(indices), len(model.classes_))
        if exclude is not None:
            exclude.resize(truth.shape)
        report = xmc_report(
            truth,
            Indices(np.asarray(indices)),
            k=self.ks,
            exclude=exclude,
            sample_weight=metadata["sample_weight"],
            **self._training_figures(model, truth.shape[1]),
        )
        keys = (f"{metric}_at_{k}" for metric in self.metrics for k in self.ks)
        return {key: report[key] for key in keys}

    def _training_figures(self, model: Any, n_labels: int) -> dict[str, Any]:
        """What the metrics need to know of the training documents' labels."""
        by_propensity = any(metric in _PROPENSITY_SCORED for metric in self.metrics)
        by_frequency = any(metric in _BY_FREQUENCY for metric in self.metrics)
        if not (by_propensity or by_frequency):
            return {}
        Y = training_labels(model)
        # Labels behind the known ones have no training document.
        Y = sp.csr_array((Y.data, Y.indices, Y.indptr), shape=(Y.shape[0], n_labels))
        figures = {}
        if by_propensity:
            preset = self.propensity
            a, b = _PRESETS[preset] if isinstance(preset, str) else preset
            figures["propensities"] = label_propensities(Y, a=a, b=b)
        if by_frequency:
            figures["frequencies"] = np.bincount(Y.indices, minlength=n_labels)
        return figures

    # -- metadata routing ---------------------------------------------------------------------

    def set_score_request(self, **requests: bool | str | None) -> XMCScorer:
        """Say which metadata a search or ``cross_validate`` passes to the scorer.

        Parameters
        ----------
        **requests : bool, str or None
            For `images`, `exclude`, `sample_weight`, or what leading steps of a pipeline request:
            True passes it, False does not, None makes it an error to pass it to the search, and a
            str is the name under which the search gets it.

        Returns
        -------
        self : XMCScorer

        Raises
        ------
        RuntimeError
            If metadata routing is not enabled, so that requests would have no effect.
        """
        if not _routing_enabled():
            raise RuntimeError(
                "requests have no effect while metadata routing is off; call "
                "sklearn.set_config(enable_metadata_routing=True) first."
            )
        changed = {**self._requests, **requests}
        self._request(changed)  # complains about what is neither bool, None nor a name
        self._requests = changed
        return self

    def get_metadata_routing(self) -> Any:
        """Tell scikit-learn which metadata the scorer wants.

        Returns
        -------
        request : sklearn.utils.metadata_routing.MetadataRequest
        """
        return self._request(self._requests)

    def _request(self, requests: Mapping[str, bool | str | None]) -> Any:
        from sklearn.utils.metadata_routing import MetadataRequest

        request = MetadataRequest(owner=self)
        for name, alias in requests.items():
            request.score.add_request(param=name, alias=alias)
        return request

    def _route(self, steps: list[Any], metadata: dict[str, Any]) -> list[dict[str, Any]]:
        """The metadata for ``transform`` of each of the leading steps."""
        extra = [name for name in metadata if name not in _REQUESTS]
        if not _routing_enabled():
            if extra:
                raise TypeError(
                    f"{self!r} got {extra}, which only metadata routing can pass on; call "
                    "sklearn.set_config(enable_metadata_routing=True)."
                )
            return [{} for _ in steps]
        from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping

        router = MetadataRouter(owner=self)
        names = [f"step_{number}" for number in range(len(steps))]
        mapping = MethodMapping().add(caller="score", callee="transform")
        router.add(method_mapping=mapping, **dict(zip(names, steps, strict=True)))
        router.validate_metadata(method="score", params={name: metadata[name] for name in extra})
        routed = router.route_params(caller="score", params=metadata)
        return [routed[name]["transform"] for name in names]

    def _routing_repr(self) -> str:
        """How scikit-learn calls the scorer in messages about routing."""
        return repr(self)

    def __repr__(self) -> str:
        return f"xmc_scores(ks={self.ks}, metrics={self.metrics}{self._repr_propensity()})"

    def _repr_propensity(self) -> str:
        return "" if self.propensity == "default" else f", propensity={self.propensity!r}"


class TopkScorer(XMCScorer):
    """Scorer that gives one figure as a float; made by :func:`make_topk_scorer`."""

    def _figures(self, estimator: Any, X: Any, y: Any, metadata: dict[str, Any]) -> Any:
        (figure,) = super()._figures(estimator, X, y, metadata).values()
        return figure

    def __repr__(self) -> str:
        metric, k = self.metrics[0], self.ks[0]
        return f"make_topk_scorer({metric!r}, k={k}{self._repr_propensity()})"


def find_ranker(estimator: Any) -> tuple[list[Any], Any]:
    """Find the estimator that ranks labels, and the transformers that X passes on the way there.

    Parameters
    ----------
    estimator : object
        Has ``predict_topk``, or is a pipeline or a fitted search around such an estimator, to
        any depth.

    Returns
    -------
    steps : list of transformers
    ranker : object
    """
    steps: list[Any] = []
    ranker = estimator
    # A pipeline may have predict_topk, too, and still does not know the training documents.
    while hasattr(ranker, "steps") or not hasattr(ranker, "predict_topk"):
        if hasattr(ranker, "best_estimator_"):
            ranker = ranker.best_estimator_
        elif hasattr(ranker, "steps"):
            leading = [step for _, step in ranker.steps[:-1]]
            steps += [step for step in leading if not (step is None or isinstance(step, str))]
            ranker = ranker.steps[-1][1]
        else:
            raise TypeError(
                f"{type(estimator).__name__} does not lead to a predict_topk; pass an estimator of "
                "skxmc, or a pipeline or a fitted search around one."
            )
    return steps, ranker


def training_labels(ranker: Any) -> sp.csr_array:
    """Return the labels of the training documents of a fitted estimator, those without left out."""
    fitted = getattr(ranker, "ranker_", None)
    if fitted is None:
        raise TypeError(
            f"{type(ranker).__name__} does not know the labels of its training documents, which "
            "propensities and frequencies come from; choose other metrics."
        )
    return fitted.Y_


def _check_needs_no_pictures(model: Any, X: Any) -> None:
    featurizer = getattr(model, "featurizer_", None)
    if getattr(featurizer, "whitener", None) is None:  # it was fitted without pictures
        return
    if model.image_column not in getattr(X, "columns", ()):
        raise ValueError(
            "the estimator was fitted with pictures, but the scorer gets none. Let a search pass "
            "them on: sklearn.set_config(enable_metadata_routing=True), then "
            "set_fit_request(images=True) on the estimator and set_score_request(images=True) on "
            "the scorer; or keep them in a column of X. To score without pictures on purpose: "
            "set_score_request(images=False)."
        )


def _check_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    full = tuple(_SHORT.get(name, name) for name in metrics)
    unknown = [name for name in full if name not in _METRICS]
    if unknown:
        raise ValueError(f"metrics holds {unknown[0]!r}; choose from {list(_METRICS)}.")
    if not full:
        raise ValueError(f"metrics is empty; choose from {list(_METRICS)}.")
    return full


def _check_propensity(propensity: Any) -> str | tuple[float, float]:
    if isinstance(propensity, str):
        if propensity not in _PRESETS:
            raise ValueError(
                f"propensity is {propensity!r}; pass one of {sorted(_PRESETS)}, or (a, b)."
            )
        return propensity
    constants = np.asarray(propensity, dtype=np.float64)
    if constants.shape != (2,) or not (constants > 0).all():
        raise ValueError(f"propensity must be a name or two positive numbers, got {propensity!r}.")
    return tuple(constants.tolist())


def _routing_enabled() -> bool:
    from sklearn import get_config

    return get_config()["enable_metadata_routing"]
