"""A pipeline of scikit-learn with the methods that rank labels."""

from __future__ import annotations

from typing import Any

from sklearn import pipeline
from sklearn.utils.metaestimators import available_if


def _last_step_has(name: str):
    return available_if(lambda self: hasattr(self._final_estimator, name))


class XMCPipeline(pipeline.Pipeline):
    """A pipeline of scikit-learn that passes on what ranks labels and explains them.

    Beside what every pipeline has it has the methods ``predict_topk``, ``explain`` and ``nearest``
    of its last step. The steps before it prepare documents, such as a
    :class:`~sklearn.preprocessing.FunctionTransformer` that strips markup.

    Parameters
    ----------
    steps : list of (str, estimator)
        Names and steps, the last of which ranks labels.
    transform_input : list of str, default=None
        As in :class:`sklearn.pipeline.Pipeline`.
    memory : str or joblib.Memory, default=None
        Where fitted leading steps are kept.
    verbose : bool, default=False
        Whether the time of each step is printed.

    See Also
    --------
    make_pipeline : Makes one without names for the steps.

    Examples
    --------
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.pipeline import make_pipeline
    >>> lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    >>> clf = make_pipeline(lower, ViXMLClassifier(train_encoder="frozen", random_state=0))
    >>> texts = ["Red APPLE", "green apple", "RED car", "fast Car", "green tree"]
    >>> tags = [["fruit", "red"], ["fruit"], ["vehicle", "red"], ["vehicle"], ["plant"]]
    >>> labels, scores = clf.fit(texts, tags).predict_topk(["A RED FRUIT"], k=2)
    >>> labels.shape
    (1, 2)
    """

    @_last_step_has("predict_topk")
    def predict_topk(self, X: Any, k: int = 5, **params: Any) -> Any:
        """The k best labels, as the last step's ``predict_topk`` gives them.

        Parameters
        ----------
        X
            Documents, as in ``fit``.
        k : int, default=5
            Number of labels.
        **params
            What else the last step's method takes.
        """
        return self._final_estimator.predict_topk(self._prepare(X), k, **params)

    @_last_step_has("explain")
    def explain(self, X: Any, *args: Any, **params: Any) -> Any:
        """Why labels were given, as the last step's ``explain`` says it.

        Parameters
        ----------
        X
            Documents, as in ``fit``.
        *args, **params
            What else the last step's method takes.
        """
        return self._final_estimator.explain(self._prepare(X), *args, **params)

    @_last_step_has("nearest")
    def nearest(self, X: Any, *args: Any, **params: Any) -> Any:
        """The nearest training documents, as the last step's ``nearest`` finds them.

        Parameters
        ----------
        X
            Documents, as in ``fit``.
        *args, **params
            What else the last step's method takes.
        """
        return self._final_estimator.nearest(self._prepare(X), *args, **params)

    def _prepare(self, X: Any) -> Any:
        for _, step in self.steps[:-1]:
            if step is not None and step != "passthrough":
                X = step.transform(X)
        return X


def make_pipeline(
    *steps: Any, memory: Any = None, transform_input: Any = None, verbose: bool = False
) -> XMCPipeline:
    """A pipeline that ranks labels, of steps without names.

    Parameters
    ----------
    *steps, memory, transform_input, verbose
        As in :func:`sklearn.pipeline.make_pipeline`.

    Returns
    -------
    pipeline : XMCPipeline

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.pipeline import make_pipeline
    >>> make_pipeline("passthrough", ViXMLClassifier()).steps[1][0]
    'vixmlclassifier'
    """
    return XMCPipeline(
        pipeline._name_estimators(steps),
        memory=memory,
        transform_input=transform_input,
        verbose=verbose,
    )
