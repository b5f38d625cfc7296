"""What is known of labels: ids, texts, pictures and parents, in all forms that users have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from ._names import class_array, plain_name
from ._tables import (
    as_mapping,
    check_not_lazy,
    column_names,
    find_column,
    is_table,
    table_column,
)
from ._texts import join_texts
from ._values import is_blank, is_missing, listed, plain_text, sequence_to_list

__all__ = [
    "Labels",
    "flatten_texts",
    "joined_texts",
    "plain_labels",
    "plain_mapping",
    "read_ids",
    "read_labels",
]

ID, TEXT, TEXTS, IMAGE, PARENT = "id", "text", "texts", "image", "parent"
_FORMS = (
    "pass one text for each label in a list, a mapping of id to text (dict, Series), or a table "
    "with the columns id and text"
)


@dataclass(frozen=True, eq=False)
class Labels:
    """What is known of labels, in the order of the targets' columns.

    Attributes
    ----------
    ids : ndarray of shape (n_labels,), or None
        Distinct names, str (as objects) or int; None where a sequence of texts does not say any:
        then the first text of a label is its name.
    texts : list of list of str, or None
        One or more texts of each label, the first of which is how it is called.
    images : sequence of length n_labels, or None
        Pictures as the user gave them.
    parents : list of list of int, or None
        Positions of the parents of each label.
    """

    ids: np.ndarray | None
    texts: list[list[str]] | None
    images: Any = None
    parents: list[list[int]] | None = None

    @property
    def names(self) -> np.ndarray | None:
        """The ids; without them the first text of each label."""
        if self.ids is not None or self.texts is None:
            return self.ids
        return class_array([texts[0] for texts in self.texts], "label_text")

    def with_ids(self, ids: np.ndarray) -> Labels:
        """The same labels under these ids; ids that are words are texts where there are none."""
        texts = self.texts
        if texts is None and all(isinstance(name, str) for name in ids):
            texts = [[name] for name in ids]
        return replace(self, ids=ids, texts=texts)

    def with_images(self, label_images: Any, argument: str = "label_images") -> Labels:
        """The labels with pictures in any form, among them a mapping of id to pictures.

        Raises
        ------
        ValueError
            If there are pictures already, or a mapping has an id that no label has.
        """
        if label_images is None:
            return self
        if self.images is not None:
            raise ValueError(
                f"{argument} is given although label_text has a column {IMAGE!r}; drop one of them."
            )
        pairs = as_mapping(label_images)
        if pairs is None:
            return replace(self, images=label_images)
        keys = [plain_name(key) for key in pairs[0]]
        known = dict.fromkeys(self.ids.tolist())
        unknown = [key for key, name in zip(pairs[0], keys, strict=True) if name not in known]
        if unknown:
            raise ValueError(
                f"{argument} has the key {unknown[0]!r}, which is no label"
                f"{listed(unknown, 'keys')}; its keys are ids such as {self.ids[0]!r}."
            )
        picture_of = dict(zip(keys, pairs[1], strict=True))
        return replace(self, images=[picture_of.get(name) for name in known])


def flatten_texts(texts: Sequence[Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """All texts of all labels one after another, and the label of each, int64."""
    owner = np.repeat(np.arange(len(texts)), [len(group) for group in texts])
    return list(chain.from_iterable(texts)), owner


def joined_texts(texts: Sequence[Sequence[str]] | None) -> list[str] | None:
    """All texts of each label as one."""
    return None if texts is None else [join_texts(group) for group in texts]


def read_labels(label_text: Any, argument: str = "label_text") -> Labels:
    """Bring all forms in which a user may say what labels are called into one.

    Parameters
    ----------
    label_text : Labels, sequence, mapping, Series, table or None
        A text, or a list of texts, for each label; a mapping of id to these, also as a Series
        with an index of its own; or a table, as DataFrame or list of dicts, with the columns
        ``id``, ``text`` or ``texts``, and perhaps ``image`` and ``parent``.
    argument : str, default="label_text"
        How messages call `label_text`.

    Returns
    -------
    labels : Labels

    Raises
    ------
    TypeError
        If it is a single text or in no order, or holds something else than texts.
    ValueError
        If an id is missing or stands twice, a label has no text, or a parent is no label.
    """
    if isinstance(label_text, Labels):
        return label_text
    if label_text is None:
        return Labels(None, None)
    if isinstance(label_text, (str, bytes)):
        kind = type(label_text).__name__
        raise TypeError(f"{argument} is a single {kind}; pass one text for each label.")
    check_not_lazy(label_text, argument)
    if is_table(label_text):
        return _read_table(label_text, argument)
    pairs = as_mapping(label_text)
    if pairs is not None:
        ids = read_ids(pairs[0], argument)
        return Labels(ids, _read_texts(pairs[1], ids.tolist(), argument))
    if isinstance(label_text, Set) or not hasattr(label_text, "__len__"):
        kind = type(label_text).__name__
        order = "whose entries are in no order" if isinstance(label_text, Set) else "not a sequence"
        raise TypeError(f"{argument} is a {kind}, {order}; {_FORMS}.")
    entries = sequence_to_list(label_text)
    if entries and all(isinstance(entry, Mapping) for entry in entries):
        names = dict.fromkeys(chain.from_iterable(entries))
        columns = {name: [entry.get(name) for entry in entries] for name in names}
        return _read_table(columns, argument)
    return Labels(None, _read_texts(entries, range(len(entries)), argument))


def read_ids(ids: Sequence[Any], argument: str) -> np.ndarray:
    """Distinct ids, all str or all int, as an array.

    Raises
    ------
    TypeError
        If an id is neither, or some are str and some are int.
    ValueError
        If an id is missing, blank, or stands twice, or there is none.
    """
    ids = list(ids)
    if not ids:
        raise ValueError(f"{argument} is empty; pass at least one label.")
    plain = [plain_name(name) for name in ids]
    absent = [n for n, name in enumerate(ids) if is_missing(name) or is_blank(plain[n])]
    if absent:
        raise ValueError(
            f"{argument} has the id {ids[absent[0]]!r} at position {absent[0]}"
            f"{listed(absent)}; give every label an id."
        )
    for name, given in zip(plain, ids, strict=True):
        if name is None:
            raise TypeError(
                f"{argument} has the id {given!r} of type {type(given).__name__}; ids are str or "
                "int."
            )
        if type(name) is not type(plain[0]):
            raise TypeError(
                f"{argument} has the ids {plain[0]!r} and {name!r}; use only str, or only int."
            )
    if len(set(plain)) < len(plain):
        seen: set = set()
        twice = [name for name in plain if name in seen or seen.add(name)]
        raise ValueError(
            f"{argument} has the id {twice[0]!r} more than once{listed(twice, 'ids')}; ids must "
            "be distinct: put all texts of a label into one list."
        )
    return class_array(plain, argument)


def _read_texts(entries: list, places: Sequence[Any], argument: str) -> list[list[str]]:
    """The texts of each label; `places` are what messages call the labels by."""
    texts, empty, wrong = [], [], []
    for place, entry in zip(places, entries, strict=True):
        found = _texts_of(entry)
        if found is None:
            wrong.append((place, entry))
        elif not found:
            empty.append(place)
        texts.append(found)
    if wrong:
        place, entry = wrong[0]
        raise TypeError(
            f"{argument}[{place!r}] is {entry!r} of type {type(entry).__name__}, not str or a list "
            f"of str{listed([place for place, _ in wrong], 'labels')}; {_FORMS}."
        )
    if empty:
        raise ValueError(
            f"{argument}[{empty[0]!r}] holds no text{listed(empty, 'labels')}; give every label a "
            "text, such as its name."
        )
    return texts


def _texts_of(entry: Any) -> list[str] | None:
    """The texts of a label, each once; None if it is something else than texts."""
    if isinstance(entry, str):
        return [plain_text(entry)]
    if isinstance(entry, (bytes, Set, Mapping)) or not hasattr(entry, "__len__"):
        return None
    texts = [text for text in sequence_to_list(entry) if not is_missing(text)]
    if not all(isinstance(text, str) for text in texts):
        return None
    return list(dict.fromkeys(plain_text(text) for text in texts if text.strip()))


def _read_table(table: Any, argument: str) -> Labels:
    names = column_names(table)
    if ID not in names and getattr(getattr(table, "index", None), "name", None) == ID:
        cells = table.index.to_list()
    else:
        cells = find_column(table, ID, argument, f"its columns must be {ID} and {TEXT} or {TEXTS}")
    ids = read_ids(cells, argument)
    n_labels = len(ids)
    if TEXT not in names and TEXTS not in names:
        raise ValueError(
            f"{argument} has neither a column {TEXT!r} nor a column {TEXTS!r} (its columns are "
            f"{names}); rename the one that holds the labels' texts."
        )
    groups: list[list] = [[] for _ in range(n_labels)]
    for name in (TEXT, TEXTS):
        if name in names:
            for group, cell in zip(groups, table_column(table, name), strict=True):
                is_group = hasattr(cell, "__len__") and not isinstance(cell, (str, bytes, Mapping))
                if isinstance(cell, Set):
                    raise TypeError(
                        f"{argument} has a set of texts, which is in no order; pass lists."
                    )
                group.extend(sequence_to_list(cell) if is_group else [cell])
    texts = _read_texts(groups, ids.tolist(), argument)
    images = None
    if IMAGE in names:
        cells = table_column(table, IMAGE)
        images = [None if is_missing(cell) else cell for cell in cells]
    parents = None
    if PARENT in names:
        parents = _read_parents(table_column(table, PARENT), ids, argument)
    return Labels(ids, texts, images, parents)


def _read_parents(cells: list, ids: np.ndarray, argument: str) -> list[list[int]]:
    """Positions of the parents of each label; a cell holds an id, several, or nothing."""
    position_of = {name: position for position, name in enumerate(ids.tolist())}
    parents = []
    for label, cell in enumerate(cells):
        several = hasattr(cell, "__len__") and not isinstance(cell, (str, bytes))
        found = sequence_to_list(cell) if several else [cell]
        found = [plain_name(name) for name in found if not is_missing(name) and name != ""]
        for name in found:
            if position_of.get(name, label) == label:
                problem = "itself" if name in position_of else "which is no label"
                raise ValueError(
                    f"the label {ids[label]!r} of {argument} has the parent {name!r}, {problem}; "
                    "add it, or leave the parent out."
                )
        parents.append([position_of[name] for name in dict.fromkeys(found)])
    return parents


def plain_labels(label_text: Any) -> Any:
    """A mapping or table of labels as a dict or a list of dicts whose keys are str.

    `read_labels` makes the same of it. What is neither is returned as it is.
    """
    if is_table(label_text):
        names = [n for n in column_names(label_text) if n in (ID, TEXT, TEXTS, IMAGE, PARENT)]
        columns = [table_column(label_text, name) for name in names]
        if ID not in names:
            names, columns = [ID, *names], [label_text.index.to_list(), *columns]
        return [
            {name: _plain_cell(cell) for name, cell in zip(names, cells, strict=True)}
            for cells in zip(*columns, strict=True)
        ]
    plain = plain_mapping(label_text)
    if not isinstance(plain, dict) or all(isinstance(name, str) for name in plain):
        return plain
    return [{ID: name, TEXTS: cell} for name, cell in plain.items()]


def plain_mapping(values: Any) -> Any:
    """A mapping, or a Series with an index of its own, as a dict; else what it is."""
    pairs = as_mapping(values)
    if pairs is None:
        return values
    return dict(zip(map(plain_name, pairs[0]), map(_plain_cell, pairs[1]), strict=True))


def _plain_cell(cell: Any) -> Any:
    """A cell as None, a single value or a list; an array that is a picture stays one."""
    if isinstance(cell, np.ndarray):
        return cell.tolist() if cell.dtype.kind in "OU" and cell.ndim == 1 else cell
    if hasattr(cell, "to_list"):
        return cell.to_list()
    if isinstance(cell, str):
        return plain_text(cell)
    return None if is_missing(cell) else cell
