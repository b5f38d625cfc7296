"""The door to river, the package for learning from streams."""

from __future__ import annotations

from typing import Any

from .._runtime._optional import import_optional


def as_river(
    estimator: Any,
    *,
    text: str = "text",
    image: str | None = None,
    block_size: int = 50,
    k: int = 5,
) -> Any:
    """Give an estimator the conventions of river: ``learn_one`` and ``predict_one``.

    A document is a dict, and its labels are a dict of label to bool, or a set of labels. Documents
    gather until there is a block of them, which ``partial_fit`` learns from.

    Parameters
    ----------
    estimator : ViXMLClassifier or DecoderXMCClassifier
        Fitted or not; an unfitted one is fitted on the first block. It is not changed.
    text : str, default="text"
        Key of a document's text.
    image : str, default=None
        Key of its pictures; None if there are none.
    block_size : int, default=50
        Documents that are learned from at a time.
    k : int, default=5
        Labels that a prediction holds, at most.

    Returns
    -------
    model : river.base.MultiLabelClassifier
        Its `model_` is the estimator that learns.

    Raises
    ------
    ImportError
        If the extra ``river`` is not installed.

    Examples
    --------
    >>> from skxmc import ViXMLClassifier
    >>> from skxmc.model_selection import as_river
    >>> model = as_river(ViXMLClassifier(train_encoder="frozen"))  # doctest: +SKIP
    >>> model.learn_one({"text": "a red apple"}, {"fruit", "red"})  # doctest: +SKIP
    """
    import_optional("river", "river")
    from ._river import RiverClassifier

    return RiverClassifier(estimator, text, image, block_size, k)
