"""Training documents made from the texts of labels, where no document has been labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from .._inputs._label_set import flatten_texts, read_labels
from .._inputs._texts import join_texts

# Most similar labels that partners are drawn from: as many as JobSkape takes.
_PARTNERS = 20

# Vectors that are compared with all labels at a time.
_ROWS = 1024


def documents_from_labels(
    label_text: Any,
    *,
    join: str | None = "random",
    n_joined: int = 1,
    generate: Callable[[list[str]], Iterable[str]] | None = None,
    round_trip: int | None = 5,
    unlabelled: Sequence[str] = (),
    embed: Callable[[list[str]], Any] | None = None,
    random_state: Any = None,
) -> tuple[list[str], list[list]]:
    """Make training documents of definitions and other names of labels.

    Each text of a label is a document with that one label. Real documents often mention several
    labels, so that pairs of such documents are joined as well: one text stands before or behind
    the other, half and half, and the pair has the labels of both.

    In the batches of :mod:`skxmc.objectives` all documents of a label are right for it, so one
    label may come twice in a batch without being its own negative.

    Parameters
    ----------
    label_text : mapping of id to texts, sequence of texts, or table
        Texts of the labels, in the forms that the parameter `label_text` of the
        estimators takes: the name first, then other names and a definition.
    join : {"random", "similar"} or None, default="random"
        Whom a text is joined with: a text of any other label, or of one of the 20 labels most
        like its own, by `embed`. None joins nothing.
    n_joined : int, default=1
        Joined documents that each text begins.
    generate : callable, default=None
        Gets the list of a label's texts and gives any number of sentences, of which each becomes
        a document of the label: whatever language model there is, with a prompt of your own.
    round_trip : int or None, default=5
        A generated sentence is kept only if its label is among so many labels that are nearest to
        it, by `embed`; None keeps all.
    unlabelled : sequence of str, default=()
        Texts of the same kind that no label fits. They become documents without labels, which
        teach a model to say nothing.
    embed : callable, default=None
        Maps a list of str to an array of shape (n, d), where texts are compared: for similar
        partners and for the round trip. :meth:`skxmc.encoders.TextEncoder.encode` is one.
    random_state : int, RandomState or None, default=None
        Of all draws.

    Returns
    -------
    X : list of str
        Documents: texts of labels and generated sentences, then joined ones, then those without
        labels.
    y : list of list
        Ids of the labels of each. Without ids they are the first texts of labels.

    Raises
    ------
    TypeError
        If `generate` gives something else than sentences, or `unlabelled` is a single text.
    ValueError
        If an argument is out of range, or texts have to be compared and `embed` is None.

    References
    ----------
    Decorte et al., "Extreme Multi-Label Skill Extraction Training using Large Language Models",
    2023 (arXiv 2307.10778): joined sentences. "JobSkape", 2024 (arXiv 2402.03242): partners among
    similar labels, and the round trip.

    Examples
    --------
    >>> from skxmc.datasets import documents_from_labels
    >>> label_text = {"s1": ["wool", "fleece of sheep"], "t1": "acorn"}
    >>> X, y = documents_from_labels(label_text, unlabelled=["we are hiring"], random_state=0)
    >>> X[:3]
    ['wool', 'fleece of sheep', 'acorn']
    >>> y
    [['s1'], ['s1'], ['t1'], ['s1', 't1'], ['s1', 't1'], ['t1', 's1'], []]
    """
    _check(join, n_joined, round_trip, unlabelled)
    if embed is None and (join == "similar" or (generate is not None and round_trip is not None)):
        raise ValueError(
            "join='similar' and round_trip compare texts; pass embed=, such as "
            "TextEncoder().encode of skxmc.encoders, or join='random' and round_trip=None."
        )
    labels = read_labels(label_text)
    if labels.texts is None or labels.names is None:
        raise ValueError("label_text is None; pass the texts of the labels.")
    rng = check_random_state(random_state)
    centres = _Centres(labels.texts, embed)
    texts, owner = flatten_texts(labels.texts)
    names = labels.names.tolist()
    if generate is not None:
        sentences, of = flatten_texts(_generated(generate, names, labels.texts))
        if round_trip is not None and sentences:
            kept = centres.come_back(sentences, of, round_trip)
            sentences = [sentences[row] for row in np.flatnonzero(kept)]
            of = of[kept]
        texts, owner = texts + sentences, np.concatenate([owner, of])
    X = list(texts)
    y = [[names[label]] for label in owner]
    if join is not None and len(names) > 1:
        for _ in range(n_joined):
            partners = _draw_partners(owner, centres if join == "similar" else None, rng)
            for first, second in enumerate(partners):
                pair = [texts[first].rstrip(" ."), texts[second].rstrip(" .")]
                X.append(join_texts(pair if rng.randint(2) else pair[::-1]))
                y.append([names[owner[first]], names[owner[second]]])
    X += list(unlabelled)
    y += [[] for _ in unlabelled]
    return X, y


class _Centres:
    """One vector for each label, made on demand: the mean of its texts."""

    def __init__(self, texts: list[list[str]], embed: Callable[[list[str]], Any] | None) -> None:
        self._texts, self._embed = texts, embed
        self._vectors: np.ndarray | None = None

    @property
    def vectors(self) -> np.ndarray:
        """Of unit norm, (n_labels, d) float32."""
        if self._vectors is None:
            flat, owner = flatten_texts(self._texts)
            vectors = self.embed(flat)
            sums = np.zeros((int(owner[-1]) + 1, vectors.shape[1]), dtype=np.float32)
            np.add.at(sums, owner, vectors)
            self._vectors = _unit(sums)
        return self._vectors

    def embed(self, texts: list[str]) -> np.ndarray:
        """Vectors of unit norm, (n, d) float32."""
        assert self._embed is not None  # documents_from_labels has asked for it
        vectors = np.asarray(self._embed(texts), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise ValueError(
                f"embed gave an array of shape {vectors.shape} for {len(texts)} texts; it must "
                "give one vector for each."
            )
        return _unit(vectors)

    def come_back(self, sentences: list[str], owner: np.ndarray, k: int) -> np.ndarray:
        """Which sentences have their label among the k nearest ones, (n,) bool."""
        return (self._nearest(self.embed(sentences), k) == owner[:, None]).any(axis=1)

    def similar(self) -> np.ndarray:
        """The labels most like each label, (n_labels, at most 20), itself left out as -1."""
        near = self._nearest(self.vectors, _PARTNERS + 1)
        return np.where(near == np.arange(len(near))[:, None], -1, near)

    def _nearest(self, vectors: np.ndarray, k: int) -> np.ndarray:
        """The nearest labels of some vectors, (n, at most k) int64, in no order."""
        k = min(k, len(self.vectors))
        found = np.empty((len(vectors), k), dtype=np.int64)
        for start in range(0, len(vectors), _ROWS):
            rows = slice(start, start + _ROWS)
            cosines = vectors[rows] @ self.vectors.T
            found[rows] = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        return found


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to unit norm; rows of zeros stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _draw_partners(
    owner: np.ndarray, centres: _Centres | None, rng: np.random.RandomState
) -> np.ndarray:
    """For each text the number of another one, of another label."""
    n_labels = int(owner.max()) + 1
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(n_labels + 1))
    if centres is None:
        # Of all texts behind the own label's, going round.
        own = np.diff(starts)[owner]
        steps = (rng.random_sample(len(owner)) * (len(owner) - own)).astype(np.int64)
        return order[(starts[owner + 1] + steps) % len(owner)]
    similar = centres.similar()
    partners = np.empty(len(owner), dtype=np.int64)
    for text, label in enumerate(owner):
        candidates = similar[label][similar[label] >= 0]
        chosen = candidates[rng.randint(len(candidates))]
        partners[text] = order[rng.randint(starts[chosen], starts[chosen + 1])]
    return partners


def _generated(
    generate: Callable[[list[str]], Iterable[str]], names: list, label_texts: list[list[str]]
) -> list[list[str]]:
    """The sentences of each label."""
    found = []
    for name, texts in zip(names, label_texts, strict=True):
        sentences = generate(list(texts))
        sentences = [sentences] if isinstance(sentences, str) else list(sentences)
        for sentence in sentences:
            if not isinstance(sentence, str):
                raise TypeError(
                    f"generate gave {sentence!r} of type {type(sentence).__name__} for the label "
                    f"{name!r}; it must give sentences."
                )
        found.append([sentence.strip() for sentence in sentences if sentence.strip()])
    return found


def _check(join: Any, n_joined: Any, round_trip: Any, unlabelled: Any) -> None:
    if join not in ("random", "similar", None):
        raise ValueError(f"join must be 'random', 'similar' or None, got {join!r}.")
    for name, value in (("n_joined", n_joined), ("round_trip", round_trip)):
        if name == "round_trip" and value is None:
            continue
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be an int of at least 1, got {value!r}.")
    if isinstance(unlabelled, str | bytes):
        raise TypeError("unlabelled is a single text; pass a list of texts.")
