"""Sparse text features: TF-IDF of words and character n-grams, and their projection."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.utils import check_random_state

from .._runtime import limits

# Anything between blanks is a word: names such as "c++" and "libfoo-dev" tell most.
_WORD = r"(?u)\w\w+|[^\s\w]+|\w"

# Marks around a word that don't belong to its name.
_MARKS = ".,;:!?\"'()[]{}"

# Most texts that vocabularies are learned from, evenly spaced: counting the n-grams of millions
# takes many gigabytes.
_FIT_TEXTS = 500_000


class SparseTextFeatures:
    """TF-IDF of words beside TF-IDF of character n-grams, each row of unit norm.

    Both parts are of equal weight; a text without known words has only its n-grams, and one
    with neither is a row of zeros.

    Parameters
    ----------
    characters : bool, default=True
        Whether there are character n-grams, taken within words.
    ngram_range : tuple of int, default=(3, 5)
        Shortest and longest character n-gram.
    min_df : int, default=2
        Documents that a character n-gram must be in; words are kept from the first document on.
    max_words, max_ngrams : int, default=200_000 and 100_000
        Largest vocabularies; the most frequent terms are kept.

    Attributes
    ----------
    n_features : int
        Size of both vocabularies together.
    """

    def __init__(
        self,
        *,
        characters: bool = True,
        ngram_range: tuple[int, int] = (3, 5),
        min_df: int = 2,
        max_words: int = 200_000,
        max_ngrams: int = 100_000,
    ) -> None:
        self.characters = characters
        self.ngram_range = ngram_range
        self.min_df = min_df
        self.max_words = max_words
        self.max_ngrams = max_ngrams

    def fit(self, texts: list[str]) -> SparseTextFeatures:
        """Learn vocabularies and document frequencies.

        Raises
        ------
        ValueError
            If no text has any word.
        """
        self._vectorizers = []
        texts = texts[:: -(-len(texts) // _FIT_TEXTS) or 1]
        for vectorizer in self._unfitted():
            try:
                vectorizer.fit(texts)
            except ValueError as error:
                # So few texts that no n-gram is frequent enough: words alone will do.
                if self._vectorizers:
                    continue
                raise ValueError(
                    f"texts have no word to make features of ({error}); pass texts with words, "
                    "or use features that are not sparse."
                ) from error
            self._vectorizers.append(vectorizer)
        return self

    def transform(self, texts: list[str]) -> sp.csr_array:
        """Features of shape (n_texts, n_features), float32."""
        self._check_fitted()
        starts = range(0, max(1, len(texts)), limits.ROWS)
        parts = [self._transform(texts[start : start + limits.ROWS]) for start in starts]
        return parts[0] if len(parts) == 1 else sp.vstack(parts, format="csr")

    def _transform(self, texts: list[str]) -> sp.csr_array:
        parts = [_tf_idf(vectorizer, texts) for vectorizer in self._vectorizers]
        there = sum((np.diff(part.indptr) > 0).astype(np.float32) for part in parts)
        features = sp.csr_array(sp.hstack(parts, format="csr", dtype=np.float32))
        features.data /= np.repeat(np.sqrt(there), np.diff(features.indptr))
        return features

    def words_of(self, text: str) -> tuple[list[str], sp.csr_array]:
        """The words of a text, and which features come from which word.

        No term spans a blank, so what is between blanks is a word, with all of its n-grams. Marks
        around it are left away.

        Returns
        -------
        words : list of str
            Each word once, in lower case, in the order of the text.
        origins : csr_array of shape (n_words, n_features), float32
            Share of the occurrences of a term in the text that are in the word; columns of terms
            that are in the text sum to 1.
        """
        self._check_fitted()
        pieces = text.lower().split()
        if not pieces:
            return [], sp.csr_array((0, self.n_features), dtype=np.float32)
        names = [piece.strip(_MARKS) or piece for piece in pieces]
        words, rows = list(dict.fromkeys(names)), np.arange(len(names))
        place = {word: number for number, word in enumerate(words)}
        parts = [CountVectorizer.transform(one, pieces) for one in self._vectorizers]
        counts = sp.csr_array(sp.hstack(parts, format="csr", dtype=np.float32))
        pairs = ([place[name] for name in names], rows)
        merge = sp.csr_array((np.ones(len(rows), dtype=np.float32), pairs))
        origins = sp.csr_array(merge @ counts)
        origins.data /= origins.sum(axis=0)[origins.indices]
        return words, origins

    @property
    def n_features(self) -> int:
        self._check_fitted()
        return sum(len(vectorizer.vocabulary_) for vectorizer in self._vectorizers)

    def state_dict(self) -> dict[str, Any]:
        """Parameters as JSON text under "parameters", the rest as arrays."""
        self._check_fitted()
        parameters = {
            "characters": self.characters,
            "ngram_range": list(self.ngram_range),
            "min_df": self.min_df,
            "max_words": self.max_words,
            "max_ngrams": self.max_ngrams,
        }
        state: dict[str, Any] = {"parameters": json.dumps(parameters)}
        for number, vectorizer in enumerate(self._vectorizers):
            terms = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
            # One JSON list as bytes: terms hold blanks, so no separator is safe.
            text = json.dumps(terms, ensure_ascii=False).encode()
            state[f"terms_{number}"] = np.frombuffer(text, dtype=np.uint8)
            state[f"idf_{number}"] = vectorizer.idf_
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> SparseTextFeatures:
        """Rebuild from :meth:`state_dict`."""
        parameters = json.loads(str(state["parameters"]))
        parameters["ngram_range"] = tuple(parameters["ngram_range"])
        features = cls(**parameters)
        features._vectorizers = []
        for number, vectorizer in enumerate(features._unfitted()):
            if f"terms_{number}" not in state:
                break
            terms = json.loads(bytes(state[f"terms_{number}"]).decode())
            vectorizer.vocabulary_ = {term: column for column, term in enumerate(terms)}
            vectorizer.fixed_vocabulary_ = False
            # The setter of idf_ compares with a given vocabulary; there is none.
            vectorizer.idf_ = np.asarray(state[f"idf_{number}"])
            features._vectorizers.append(vectorizer)
        return features

    def _unfitted(self) -> list[TfidfVectorizer]:
        common = {"sublinear_tf": True, "dtype": np.float32}
        words = TfidfVectorizer(token_pattern=_WORD, max_features=self.max_words, **common)
        if not self.characters:
            return [words]
        ngrams = TfidfVectorizer(
            analyzer="char_wb",
            ngram_range=tuple(self.ngram_range),
            min_df=self.min_df,
            max_features=self.max_ngrams,
            **common,
        )
        return [words, ngrams]

    def _check_fitted(self) -> None:
        if not hasattr(self, "_vectorizers"):
            raise NotFittedError("SparseTextFeatures is not fitted yet; call fit first.")


def words_of_spans(text: str, spans: np.ndarray) -> tuple[list[str], sp.csr_array]:
    """The words of a text, and which of its tokens are in which word.

    Words are those of :meth:`SparseTextFeatures.words_of`.

    Parameters
    ----------
    text : str
    spans : ndarray of shape (n_tokens, 2), int64
        First character of each token, and the one behind its last.

    Returns
    -------
    words : list of str
        Each word once, in lower case, in the order of the text.
    origins : csr_array of shape (n_words, n_tokens), float32
        1 where a token is in a word.
    """
    pieces = list(re.finditer(r"\S+", text))
    names = [piece.group().lower() for piece in pieces]
    names = [name.strip(_MARKS) or name for name in names]
    words = list(dict.fromkeys(names))
    place = {word: number for number, word in enumerate(words)}
    ends = np.array([piece.end() for piece in pieces], dtype=np.int64)
    # A token that starts with the blank before its word ends within it.
    own = np.searchsorted(ends, spans[:, 1], side="left")
    tokens = np.flatnonzero((own < len(pieces)) & (spans[:, 1] > spans[:, 0]))
    rows = np.array([place[names[piece]] for piece in own[tokens]], dtype=np.int64)
    ones = np.ones(len(tokens), dtype=np.float32)
    return words, sp.csr_array((ones, (rows, tokens)), shape=(len(words), len(spans)))


def _tf_idf(vectorizer: TfidfVectorizer, texts: list[str]) -> sp.csr_array:
    """What its own `transform` gives, in a third of the time for a text: it checks much."""
    counts = sp.csr_array(CountVectorizer.transform(vectorizer, texts))
    values = (np.log(counts.data) + 1) * vectorizer.idf_[counts.indices].astype(np.float32)
    n_terms = np.diff(counts.indptr)
    rows = np.repeat(np.arange(len(texts)), n_terms)
    squares = np.bincount(rows, weights=values.astype(np.float64) ** 2, minlength=len(texts))
    counts.data = values / np.repeat(np.sqrt(squares), n_terms).astype(np.float32)
    return counts


class SparseProjection:
    """A random projection of sparse features that keeps inner products nearly as they are.

    Every feature goes to `n_nonzero` random coordinates with random signs, the sparse
    Johnson-Lindenstrauss transform of Kane and Nelson ("Sparser Johnson-Lindenstrauss
    Transforms", 2014, section 1.1, with coordinates drawn with replacement). It is drawn again
    from its seed wherever it is needed and never stored.

    Parameters
    ----------
    n_features : int
    dimension : int
        Error of an inner product of unit vectors: about 1 / sqrt(dimension).
    seed : int
    n_nonzero : int, default=8
    """

    def __init__(self, n_features: int, dimension: int, seed: int, n_nonzero: int = 8) -> None:
        self.n_features, self.dimension = n_features, dimension
        self.seed, self.n_nonzero = seed, n_nonzero
        random = check_random_state(seed)
        columns = random.randint(dimension, size=n_features * n_nonzero)
        signs = random.randint(2, size=n_features * n_nonzero).astype(np.float32) * 2 - 1
        starts = np.arange(0, n_features * n_nonzero + 1, n_nonzero)
        self._matrix = sp.csr_array(
            (signs / np.float32(np.sqrt(n_nonzero)), columns, starts),
            shape=(n_features, dimension),
        )

    def parts(self, features: sp.csr_array, vectors: np.ndarray) -> list[np.ndarray]:
        """What each sparse feature adds to inner products of projected rows with vectors.

        Parameters
        ----------
        features : csr_array of shape (n, n_features)
        vectors : ndarray of shape (n, m, dimension), float32

        Returns
        -------
        parts : list of ndarray of shape (m, n_stored), float32
            For each row those of its stored entries.
        """
        found = []
        for row, own in enumerate(vectors):
            stored = slice(*features.indptr[row : row + 2])
            columns, values = features.indices[stored], features.data[stored]
            found.append((self._matrix[columns] @ own.T).T * values)
        return found

    def transform(self, features: sp.csr_array) -> np.ndarray:
        """Dense features of shape (n, dimension), float32."""
        return (sp.csr_array(features) @ self._matrix).toarray()
