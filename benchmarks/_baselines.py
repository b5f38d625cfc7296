"""What every figure should be compared with: what people would use instead of skxmc."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from joblib import parallel_config
from sklearn import config_context
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import NearestNeighbors

from ._report import n_threads

# Distances are computed in blocks of this size.
BLOCK_MEGABYTES = 128
# Documents whose scores of all labels are made at a time.
BLOCK = 256
# Labels that a document gets: five count, and some are dropped as filter pairs.
TOP = 20

Ranked = tuple[np.ndarray, np.ndarray]


def words() -> TfidfVectorizer:
    """TF-IDF of words: those with one letter tell a lot in names of icons and packages."""
    return TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True)


class Baseline:
    """A method with parameters as keywords, of which each has a default.

    `fit` takes texts, csr targets and the labels' texts; `predict` gives csr scores, of which those
    not stored are not predicted, or arrays of labels and scores, -1 where there is no label.
    """

    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def missing(cls) -> list[str]:
        """Packages that are not installed."""
        return [name for name in cls.needs if find_spec(name) is None]


class TfidfNeighbours(Baseline):
    """Labels of the nearest training documents by cosine of TF-IDF words, weighted by it."""

    title = "TF-IDF, {n_neighbors} neighbours"

    def __init__(self, n_neighbors: int = 20) -> None:
        self.n_neighbors = n_neighbors

    def fit(self, X: Sequence[str], Y: sp.csr_array, label_text: Any = None) -> "TfidfNeighbours":
        """Store the training documents."""
        self.vectorizer_ = words()
        self.neighbours_ = NearestNeighbors(
            n_neighbors=min(self.n_neighbors, len(X)), metric="cosine"
        ).fit(self.vectorizer_.fit_transform(X))
        self.Y_ = sp.csr_array(Y)
        return self

    def predict(self, X: Sequence[str]) -> sp.csr_array:
        """Sum of the cosines of the neighbours that have a label."""
        X = self.vectorizer_.transform(X)
        with config_context(working_memory=BLOCK_MEGABYTES):
            nearest = self.neighbours_.kneighbors_graph(X, mode="distance")
        nearest.data = np.maximum(1.0 - nearest.data, 0.0)
        nearest.eliminate_zeros()
        return sp.csr_array(nearest) @ self.Y_


class TfidfLabels(Baseline):
    """Labels whose own texts are nearest by cosine of TF-IDF words; documents teach it nothing."""

    title = "TF-IDF, labels' texts"

    def fit(self, X: Sequence[str], Y: sp.csr_array, label_text: Sequence[str]) -> "TfidfLabels":
        """Store the labels' texts."""
        self.vectorizer_ = words().fit([*X, *label_text])
        self.labels_ = sp.csr_array(self.vectorizer_.transform(label_text).T)
        return self

    def predict(self, X: Sequence[str]) -> sp.csr_array:
        """Cosines."""
        return sp.csr_array(self.vectorizer_.transform(X)) @ self.labels_


class _PrunedLogistic(LogisticRegression):
    """Forgets small weights: with them, one dense vector a label would not fit into memory."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.coef_[np.abs(self.coef_) < 0.01] = 0
        return self.sparsify()


class LinearOneVsRest(Baseline):
    """Logistic regression on TF-IDF words, label by label, by scikit-learn.

    The settings are those usual for linear models of XMC: loose tolerance, small weights dropped.
    """

    title = "TF-IDF, one-vs-rest (scikit-learn), C={C}"

    def __init__(self, C: float = 10.0, tol: float = 0.1) -> None:
        self.C, self.tol = C, tol

    def fit(self, X: Sequence[str], Y: sp.csr_array, label_text: Any = None) -> "LinearOneVsRest":
        """Train one model for each label that has documents."""
        self.vectorizer_ = words()
        X = self.vectorizer_.fit_transform(X)
        X.sum_duplicates()  # SciPy does it when it is first needed, which threads would do at once
        counts = Y.sum(axis=0)
        self.used_ = np.flatnonzero((counts > 0) & (counts < X.shape[0]))
        model = _PrunedLogistic(C=self.C, tol=self.tol, solver="liblinear", dual=True)
        model.set_params(random_state=0)
        with parallel_config("threading", n_jobs=n_threads()):  # liblinear does without the lock
            models = OneVsRestClassifier(model).fit(X, Y[:, self.used_])
        self.weights_ = sp.vstack([one.coef_ for one in models.estimators_], format="csr").T.tocsr()
        self.intercepts_ = np.array([one.intercept_[0] for one in models.estimators_])
        return self

    def predict(self, X: Sequence[str]) -> Ranked:
        """Labels with the greatest logits."""
        X = self.vectorizer_.transform(X)
        k = min(TOP, len(self.used_))
        labels = np.empty((X.shape[0], k), dtype=np.int64)
        scores = np.empty((X.shape[0], k), dtype=np.float32)
        for start in range(0, X.shape[0], BLOCK):
            rows = slice(start, start + BLOCK)
            logits = (X[rows] @ self.weights_).toarray() + self.intercepts_
            best = np.argpartition(-logits, k - 1, axis=1)[:, :k]
            labels[rows], scores[rows] = self.used_[best], np.take_along_axis(logits, best, axis=1)
        return labels, scores


class Omikuji(Baseline):
    """Parabel as omikuji has it: three trees, one-vs-all models in their nodes."""

    title = "omikuji (Parabel), {n_trees} trees"
    needs = ("omikuji",)

    def __init__(self, n_trees: int = 3, beam_size: int = 10) -> None:
        self.n_trees, self.beam_size = n_trees, beam_size

    def fit(self, X: Sequence[str], Y: sp.csr_array, label_text: Any = None) -> "Omikuji":
        """Write the features to a file, which is all that it reads, and train."""
        import omikuji

        self.vectorizer_ = words()
        X = sp.csr_array(self.vectorizer_.fit_transform(X))
        keep = np.flatnonzero((np.diff(X.indptr) > 0) & (np.diff(Y.indptr) > 0))
        X, Y = X[keep], Y[keep]
        X.sort_indices()
        settings = omikuji.Model.default_hyper_param()
        settings.n_trees = self.n_trees
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "train.txt"
            with path.open("w", encoding="ascii") as file:
                print(*X.shape, Y.shape[1], file=file)
                for row in range(len(keep)):
                    labels = ",".join(map(str, Y.indices[Y.indptr[row] : Y.indptr[row + 1]]))
                    print(labels, *(f"{i}:{v:.6g}" for i, v in _pairs(X, row)), file=file)
            with _silence():
                self.model_ = omikuji.Model.train_on_data(str(path), settings, n_threads())
        self.model_.init_prediction_thread_pool(n_threads())
        return self

    def predict(self, X: Sequence[str]) -> Ranked:
        """Labels by beam search, one document at a time, as it offers."""
        X = sp.csr_array(self.vectorizer_.transform(X))
        found = [self.model_.predict(_pairs(X, r), self.beam_size, TOP) for r in range(X.shape[0])]
        return _ranked(found)


class NapkinXC(Baseline):
    """A probabilistic label tree with napkinXC's defaults."""

    title = "napkinXC (PLT)"
    needs = ("napkinxc",)

    def __init__(self, **parameters: Any) -> None:
        self.parameters = parameters

    def fit(self, X: Sequence[str], Y: sp.csr_array, label_text: Any = None) -> "NapkinXC":
        """Train; the model is kept in a folder, as it wants one."""
        from napkinxc.models import PLT

        self.vectorizer_ = words()
        self._folder = tempfile.TemporaryDirectory()
        settings = {"seed": 0, "threads": n_threads(), **self.parameters}
        self.model_ = PLT(self._folder.name, **settings)
        targets = [row.tolist() for row in np.split(Y.indices, Y.indptr[1:-1])]
        self.model_.fit(sp.csr_matrix(self.vectorizer_.fit_transform(X)), targets)
        return self

    def predict(self, X: Sequence[str]) -> Ranked:
        """Labels by an exact search of the tree."""
        X = sp.csr_matrix(self.vectorizer_.transform(X))
        return _ranked(self.model_.predict_proba(X, top_k=TOP))


class TunedSentenceTransformer(Baseline):
    """An encoder tuned by sentence-transformers' own trainer on (document, label) pairs.

    The loss is MultipleNegativesRankingLoss; labels are ranked by cosine.
    """

    title = "sentence-transformers, {epochs} epochs"
    needs = ("datasets", "accelerate")

    def __init__(
        self,
        encoder: str = "sentence-transformers/all-MiniLM-L6-v2",
        epochs: float = 1,
        max_steps: int = -1,
        batch_size: int = 64,
        learning_rate: float = 5e-5,
        bf16: bool = False,
    ) -> None:
        self.encoder = encoder
        self.epochs, self.max_steps, self.bf16 = epochs, max_steps, bf16
        self.batch_size, self.learning_rate = batch_size, learning_rate

    def fit(self, X: Sequence[str], Y: sp.csr_array, label_text: Sequence[str]) -> Any:
        """Train on all pairs, so many times."""
        from datasets import Dataset
        from sentence_transformers import (
            SentenceTransformer,
            SentenceTransformerTrainer,
            SentenceTransformerTrainingArguments,
        )
        from sentence_transformers.losses import MultipleNegativesRankingLoss

        from skxmc._backbones._sources import find_model

        self.model_ = SentenceTransformer(str(find_model(self.encoder).path))
        rows, columns = Y.nonzero()
        pairs = {
            "anchor": [X[row] for row in rows],
            "positive": [label_text[column] for column in columns],
        }
        with tempfile.TemporaryDirectory() as folder:
            SentenceTransformerTrainer(
                self.model_,
                SentenceTransformerTrainingArguments(
                    folder,
                    num_train_epochs=self.epochs,
                    max_steps=self.max_steps,
                    per_device_train_batch_size=self.batch_size,
                    learning_rate=self.learning_rate,
                    bf16=self.bf16,
                    warmup_steps=0.1,
                    # Two pairs of one label would be each other's negatives.
                    batch_sampler="no_duplicates",
                    save_strategy="no",
                    logging_strategy="no",
                    report_to="none",
                    disable_tqdm=True,
                    seed=0,
                ),
                Dataset.from_dict(pairs),
                loss=MultipleNegativesRankingLoss(self.model_),
            ).train()
        self.labels_ = self.model_.encode(list(label_text), show_progress_bar=False)
        return self

    def predict(self, X: Sequence[str]) -> Ranked:
        """The nearest labels."""
        from sentence_transformers.util import semantic_search

        queries = self.model_.encode(list(X), show_progress_bar=False)
        found = semantic_search(queries, self.labels_, top_k=TOP)
        return _ranked([[(hit["corpus_id"], hit["score"]) for hit in hits] for hits in found])


BASELINES: dict[str, type[Baseline]] = {
    "tfidf-neighbours": TfidfNeighbours,
    "tfidf-labels": TfidfLabels,
    "linear": LinearOneVsRest,
    "omikuji": Omikuji,
    "napkinxc": NapkinXC,
    "sentence-transformers": TunedSentenceTransformer,
}


def title_of(name: str, parameters: dict[str, Any]) -> str:
    """How a baseline with some parameters is called in the tables."""
    baseline = BASELINES[name](**parameters)
    return baseline.title.format(**vars(baseline))


@contextmanager
def _silence() -> Iterator[None]:
    """Drop what a library in another language writes: a line for each document."""
    before = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nothing)


def _pairs(X: sp.csr_array, row: int) -> list[tuple[int, float]]:
    part = slice(X.indptr[row], X.indptr[row + 1])
    return list(zip(X.indices[part].tolist(), X.data[part].tolist(), strict=True))


def _ranked(found: list[list[tuple[int, float]]]) -> Ranked:
    labels = np.full((len(found), TOP), -1, dtype=np.int64)
    scores = np.full((len(found), TOP), -np.inf, dtype=np.float32)
    for row, hits in enumerate(found):
        for column, (label, score) in enumerate(hits[:TOP]):
            labels[row, column], scores[row, column] = label, score
    return labels, scores
