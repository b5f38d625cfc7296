"""Forms of predictions, and the labels that a fitted model is to learn of."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._inputs._label_set import Labels, read_ids, read_labels
from .._inputs._tables import as_mapping, is_table
from .._inputs._texts import sequence_to_list
from .._runtime._optional import import_optional


def pad_candidates(
    indices: np.ndarray, scores: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of shape (n, k): label -1 with score -inf where there are fewer."""
    lacking = k - indices.shape[1]
    if lacking <= 0:
        return indices, scores
    columns = ((0, 0), (0, lacking))
    return (
        np.pad(indices, columns, constant_values=-1),
        np.pad(scores, columns, constant_values=-np.inf),
    )


def candidates_frame(
    indices: np.ndarray, scores: np.ndarray, ids: np.ndarray, texts: list[list[str]] | None
) -> Any:
    """Candidates as a pandas DataFrame, a row for each.

    Returns
    -------
    frame : DataFrame
        Columns document, rank (from 1), label (id), text (None where labels have none), score.
    """
    pandas = import_optional("pandas", "demo")
    documents, ranks = np.nonzero(indices >= 0)
    found = indices[documents, ranks]
    names = None if texts is None else [texts[label][0] for label in found]
    return pandas.DataFrame(
        {
            "document": documents,
            "rank": ranks + 1,
            "label": ids[found],
            "text": names if names is not None else np.full(len(found), None),
            "score": scores[documents, ranks],
        }
    )


def read_new_labels(labels: Any, label_text: Any, known: np.ndarray) -> Labels:
    """Labels that are added to `known`: ids of its type that it does not hold, and their texts.

    Raises
    ------
    TypeError, ValueError
        If they are not; the messages name the argument and the label.
    """
    if isinstance(labels, str):
        labels = [labels]
    if is_table(labels) or as_mapping(labels) is not None or _are_records(labels):
        if label_text is not None:
            raise ValueError("label_text is given although labels holds texts; drop one of them.")
        new = read_labels(labels, "labels")
    elif not len(labels):
        return Labels(known[:0], [])
    else:
        ids = read_ids(sequence_to_list(labels), "labels")
        new = Labels(ids, _texts_of_ids(ids, label_text))
    is_text = isinstance(known[0], str)
    taken = set(known.tolist())
    for position, name in enumerate(new.ids.tolist()):
        if isinstance(name, str) != is_text:
            raise TypeError(
                f"labels[{position}] is {name!r} of type {type(name).__name__}, but the ids of the "
                f"model's labels are {'str' if is_text else 'int'}; name new labels alike, and "
                "give their texts as label_text."
            )
        if name in taken:
            raise ValueError(f"labels[{position}] is known already: {name!r}; leave it out.")
    return new


def _are_records(labels: Any) -> bool:
    return isinstance(labels, list) and bool(labels) and all(isinstance(x, dict) for x in labels)


def _texts_of_ids(ids: np.ndarray, label_text: Any) -> list[list[str]]:
    if label_text is None:
        return [[str(name)] for name in ids.tolist()]
    given = read_labels(label_text)
    if given.ids is None:
        if len(given.texts) != len(ids):
            raise ValueError(f"label_text has {len(given.texts)} entries for {len(ids)} labels.")
        return given.texts
    texts_of = dict(zip(given.ids.tolist(), given.texts, strict=True))
    if texts_of.keys() != set(ids.tolist()):
        odd = sorted(texts_of.keys() ^ set(ids.tolist()), key=str)
        raise ValueError(
            f"label_text and labels do not hold the same ids, such as {odd[0]!r}; pass a text for "
            "each new label."
        )
    return [texts_of[name] for name in ids.tolist()]
