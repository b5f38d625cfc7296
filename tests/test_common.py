"""What every estimator has to do: scikit-learn's checks, and the same for texts and pictures."""

import copy
import pickle
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
import torch
from conftest import parameters_of
from PIL import Image
from rounding import assert_alike
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version
from tiny_models import save_encoder, save_language_model

from skxmc import DecoderXMCClassifier, ViXMLClassifier
from skxmc.encoders import LoRA
from skxmc.evidence import LabelVectors, Neighbours, Prototypes

ADJECTIVES = "red blue big small new old".split()
NOUNS = "cat dog cow car bus tram axe saw".split()


@cache
def tiny_encoder(folder: Path) -> str:
    return save_encoder(folder, words=(*ADJECTIVES, *NOUNS))


@cache
def tiny_decoder(folder: Path) -> str:
    return save_language_model(folder / "decoder")


def mean_colour(images):
    """An image encoder: mean colour of a picture, and of its upper half."""
    pixels = [np.asarray(image, dtype=np.float32) / 255 for image in images]
    return np.stack([np.concatenate([p.mean((0, 1)), p[:2].mean((0, 1))]) for p in pixels])


FAST = {"image_encoder": mean_colour, "batch_size": 16, "random_state": 0}

# Estimators of texts, with or without pictures, from a folder that tiny models are written to.
ESTIMATORS = {
    # Enough documents are held out for the mixture of evidence to be chosen.
    "frozen": lambda folder: ViXMLClassifier(
        tiny_encoder(folder), train_encoder="frozen", validation=0.45, **FAST
    ),
    "full": lambda folder: ViXMLClassifier(tiny_encoder(folder), epochs=2, **FAST),
    "lora": lambda folder: ViXMLClassifier(
        tiny_encoder(folder), train_encoder="lora", adapter=LoRA(rank=4), epochs=1, **FAST
    ),
    "decoder": lambda folder: DecoderXMCClassifier(
        tiny_decoder(folder), adapter=LoRA(rank=4), epochs=2, **FAST
    ),
}

# Estimators of ready embeddings, which scikit-learn's own checks can feed.
PRECOMPUTED = [
    ViXMLClassifier(encoder="precomputed", random_state=0),
    DecoderXMCClassifier(encoder="precomputed", random_state=0),
]


# --- scikit-learn's checks ---

_ONE_DIMENSIONAL = "y of one dimension is refused: a document can have several labels"
_NOT_BINARY = "its y is a column of 1 and 2, and an indicator holds 0 and 1"
_SPARSE = "predict returns a sparse indicator, also of a single column"
_SPARSE_PROBABILITIES = "predict_proba returns a sparse array: labels may be millions"

EXPECTED_FAILURES = {
    "check_classifiers_classes": _ONE_DIMENSIONAL,
    "check_transformer_data_not_an_array": _ONE_DIMENSIONAL,
    "check_transformer_general": _ONE_DIMENSIONAL,
    "check_transformer_preserve_dtypes": _ONE_DIMENSIONAL,
    "check_classifier_not_supporting_multiclass": (
        f"{_ONE_DIMENSIONAL}; the check wants to read that only binary targets are supported"
    ),
    "check_estimators_dtypes": _NOT_BINARY,
    "check_fit2d_1feature": _NOT_BINARY,
    "check_classifier_data_not_an_array": f"{_NOT_BINARY}; {_SPARSE}",
    "check_classifier_multioutput": _SPARSE,
    "check_classifiers_multilabel_output_format_predict": _SPARSE,
    "check_classifiers_multilabel_output_format_predict_proba": _SPARSE_PROBABILITIES,
    "check_decision_proba_consistency": _SPARSE_PROBABILITIES,
    "check_classifiers_train": _SPARSE,
    "check_classifiers_multilabel_representation_invariance": (
        "nested lists are label names, never an indicator"
    ),
}


@parametrize_with_checks(PRECOMPUTED, expected_failed_checks=lambda estimator: EXPECTED_FAILURES)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


class OneClassEach(ViXMLClassifier):
    """Takes y as scikit-learn's checks have it: one class a document."""

    def fit(self, X, y, **given):
        names = [[name] for name in np.asarray(y).ravel().tolist()]
        return super().fit(X, names, **given)


@pytest.mark.parametrize(
    "check",
    [
        "check_estimators_dtypes",
        "check_fit2d_1feature",
        "check_transformer_data_not_an_array",
        "check_transformer_general",
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
        "check_transformer_preserve_dtypes",
    ],
)
def test_checks_that_fail_for_the_form_of_y_alone(check):
    estimator = OneClassEach(encoder="precomputed", random_state=0)
    getattr(estimator_checks, check)("OneClassEach", estimator)


@pytest.mark.parametrize(
    "check",
    [
        "check_dataframe_column_names_consistency",
        "check_get_feature_names_out_error",
        "check_global_output_transform_pandas",
        "check_global_set_output_transform_polars",
        "check_inplace_ensure_writeable",
        "check_param_validation",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
    ],
)
@pytest.mark.parametrize("estimator", PRECOMPUTED, ids=lambda estimator: type(estimator).__name__)
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names")
def test_checks_that_scikit_learn_keeps_for_itself(estimator, check):
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


# --- texts and pictures ---


@dataclass(frozen=True)
class Documents:
    """Aligned documents; `images` is None, ready embeddings or pictures."""

    texts: list[str]
    names: list[list[str]]
    Y: sp.csr_array
    images: Any

    def take(self, rows) -> "Documents":
        images = self.images
        if images is not None:
            images = images[rows] if hasattr(images, "dtype") else [images[row] for row in rows]
        texts, names = ([column[row] for row in rows] for column in (self.texts, self.names))
        return Documents(texts, names, self.Y[rows], images)


def make_documents(kind: str) -> Documents:
    """All pairs of adjective and noun, which are the labels; every eighth has no picture."""
    rng = np.random.RandomState(0)
    names = [[adjective, noun] for adjective in ADJECTIVES for noun in NOUNS]
    order = rng.permutation(len(names))
    names = [names[number] for number in order]
    images = None
    if kind == "embeddings":
        images = (rng.normal(size=(len(NOUNS), 6)))[order % len(NOUNS)]
        images = (images + 0.1 * rng.normal(size=images.shape)).astype(np.float32)
        images[::8] = np.nan
    elif kind == "pictures":
        pixels = rng.randint(256, size=(len(NOUNS), 4, 4, 3)).astype(np.uint8)
        images = [Image.fromarray(pixels[number]) for number in order % len(NOUNS)]
        images[::8] = [None] * len(images[::8])
    Y = MultiLabelBinarizer(sparse_output=True).fit_transform(names)
    return Documents([" ".join(pair) for pair in names], names, sp.csr_array(Y), images)


LABELS = sorted(ADJECTIVES + NOUNS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name == "lora" else [])
        for name in ESTIMATORS
    ],
)
def estimator(request, folder):
    """One of all estimators, not fitted: tests clone it."""
    return ESTIMATORS[request.param](folder)


@pytest.fixture(scope="module", params=["embeddings", "pictures"])
def documents(request):
    """Texts with ready image embeddings, and with pictures."""
    return make_documents(request.param)


@pytest.fixture(scope="module")
def fitted(estimator, documents):
    """A fitted estimator, which tests leave as it is."""
    return clone(estimator).fit(documents.texts, documents.names, images=documents.images)


@pytest.fixture(scope="module")
def text_model(estimator):
    """An estimator fitted on texts alone, which tests leave as it is."""
    documents = make_documents("texts")
    return clone(estimator).fit(documents.texts, documents.names)


def outputs(model, X, images=None) -> dict[str, np.ndarray]:
    """What all methods make of the documents, as dense arrays."""
    labels, scores = model.predict_topk(X, k=4, images=images)
    return {
        "predict": model.predict(X, images=images).toarray(),
        "decision_function": model.decision_function(X, images=images),
        "transform": model.transform(X, images=images),
        "labels": labels,
        "scores": scores,
    }


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Equal to the bit, dtypes too."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Equal but for rounding, which may decide between labels of all but equal scores."""
    for name in ("decision_function", "transform", "scores"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)
    clear = np.abs(expected["decision_function"]) > 1e-4
    np.testing.assert_array_equal(found["predict"][clear], expected["predict"][clear])
    rows = np.arange(len(found["labels"]))[:, np.newaxis]
    by_label = expected["decision_function"][rows, found["labels"]]
    np.testing.assert_allclose(
        by_label, expected["decision_function"][rows, expected["labels"]], atol=1e-4
    )


# --- conventions ---


def test_fit_sets_attributes_that_end_in_an_underscore(estimator, fitted):
    new = set(vars(fitted)) - set(vars(estimator))
    assert {"classes_", "history_", "threshold_"} <= new
    assert all(name.endswith("_") and not name.startswith("_") for name in new)
    assert parameters_of(fitted) == parameters_of(estimator)
    assert fitted.classes_.tolist() == LABELS
    assert not hasattr(fitted, "n_features_in_")


def test_methods_return_what_their_docstrings_say(fitted, documents):
    n, n_labels = len(documents.texts), len(LABELS)
    given = {"X": documents.texts, "images": documents.images}
    predicted = fitted.predict(**given)
    assert isinstance(predicted, sp.csr_array)
    assert predicted.shape == (n, n_labels)
    assert predicted.dtype == np.float32
    assert set(predicted.data) == {1}
    decision = fitted.decision_function(**given)
    assert decision.shape == (n, n_labels)
    assert decision.dtype == np.float32
    np.testing.assert_array_equal(decision > 0, predicted.toarray() > 0)
    labels, scores = fitted.predict_topk(k=np.int64(3), **given)
    assert labels.shape == scores.shape == (n, 3)
    assert labels.dtype == np.int64
    assert scores.dtype == np.float32
    assert (np.diff(scores, axis=1) <= 0).all()
    np.testing.assert_allclose(
        scores, np.take_along_axis(decision, labels, axis=1) + fitted.threshold_, atol=1e-6
    )
    embeddings = fitted.transform(**given)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-4)
    score = fitted.score(documents.texts, y=documents.Y, images=documents.images)
    assert type(score) is float
    assert 0.5 < score <= 1
    assert score == fitted.score(documents.texts, documents.names, images=documents.images)


def test_fit_transform_is_fit_and_transform(estimator, documents, fitted):
    found = clone(estimator).fit_transform(
        documents.texts, y=documents.names, images=documents.images
    )
    np.testing.assert_array_equal(found, fitted.transform(documents.texts, images=documents.images))


def test_embeddings_have_names(fitted, documents):
    names = fitted.get_feature_names_out()
    embeddings = fitted.transform(documents.texts, images=documents.images)
    prefix = type(fitted).__name__.lower()
    assert names.tolist() == [f"{prefix}{column}" for column in range(embeddings.shape[1])]
    series = pd.Series(documents.texts, index=np.arange(len(documents.texts)) * 2)
    with sklearn.config_context(transform_output="pandas"):
        frame = fitted.transform(series, images=documents.images)
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == names.tolist()
    if parse_version(sklearn.__version__) >= parse_version("1.9"):  # before, of frames alone
        assert frame.index.equals(series.index)
    np.testing.assert_array_equal(frame.to_numpy(), embeddings)
    with sklearn.config_context(transform_output="polars"):
        frame = fitted.transform(documents.texts, images=documents.images)
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == names.tolist()


def test_what_is_not_fitted_says_so(estimator, tmp_path):
    calls = {
        "predict": (["a"],),
        "predict_topk": (["a"],),
        "decision_function": (["a"],),
        "transform": (["a"],),
        "score": (["a"], [["b"]]),
        "add_labels": (["a"],),
        "inverse_transform": (np.eye(2),),
        "get_feature_names_out": (),
        "save": (tmp_path / "model",),
    }
    for method, arguments in calls.items():
        with pytest.raises(NotFittedError):
            getattr(clone(estimator), method)(*arguments)


def test_tags(estimator):
    tags = get_tags(estimator)
    assert sklearn.base.is_classifier(estimator)
    assert tags.classifier_tags.multi_label
    assert not tags.classifier_tags.multi_class
    assert tags.target_tags.required
    assert not tags.target_tags.single_output
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert get_tags(PRECOMPUTED[0]).input_tags.two_d_array


def test_fit_and_predictions_leave_global_random_numbers_alone(estimator):
    documents = make_documents("embeddings")
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    model = clone(estimator).fit(documents.texts, documents.names, images=documents.images)
    outputs(model, documents.texts, documents.images)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_html_and_text_of_an_estimator_stay_short(estimator):
    model = clone(estimator).set_params(label_text=[f"label {n}" for n in range(20_000)])
    assert len(repr(model)) < 2000
    assert len(model._repr_html_()) < 200_000


# --- the same again ---


def test_clones_fit_alike_again_and_again(fitted, documents):
    model = clone(fitted)
    assert not hasattr(model, "classes_")
    assert parameters_of(model) == parameters_of(fitted)
    for _ in range(2):
        before = model.get_params()
        assert model.fit(documents.texts, documents.names, images=documents.images) is model
        assert all(value is before[name] for name, value in model.get_params().items())
    assert_equal(
        outputs(model, documents.texts, documents.images),
        outputs(fitted, documents.texts, documents.images),
    )


def test_second_fit_forgets_the_first(estimator, text_model):
    first = make_documents("embeddings")
    model = clone(estimator).fit(first.texts, [["other"]] * len(first.texts), images=first.images)
    texts = make_documents("texts")
    model.fit(texts.texts, texts.names)
    assert set(vars(model)) == set(vars(text_model))
    assert_equal(outputs(model, texts.texts), outputs(text_model, texts.texts))


@pytest.mark.parametrize(
    "through", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy]
)
def test_pickles_and_copies(estimator, fitted, documents, through):
    assert_equal(
        outputs(through(fitted), documents.texts, documents.images),
        outputs(fitted, documents.texts, documents.images),
    )
    assert parameters_of(through(estimator)) == parameters_of(estimator)


@pytest.mark.filterwarnings("ignore:image_encoder is not saved")
def test_folders(fitted, documents, tmp_path):
    fitted.save(tmp_path / "model")
    given = {"image_encoder": mean_colour}
    if isinstance(fitted, DecoderXMCClassifier):  # its language model came from a folder
        given["base"] = fitted.encoder
    loaded = type(fitted).load(tmp_path / "model", **given)
    assert loaded.classes_.tolist() == fitted.classes_.tolist()
    assert loaded.get_feature_names_out().tolist() == fitted.get_feature_names_out().tolist()
    found = outputs(loaded, documents.texts, documents.images)
    assert_alike(found.values(), outputs(fitted, documents.texts, documents.images).values())
    again = type(fitted).load(tmp_path / "model", **given)
    assert_equal(outputs(again, documents.texts, documents.images), found)


@pytest.mark.parametrize("size", [1, 7])
def test_parts_and_order_of_documents_do_not_matter(fitted, documents, size):
    expected = outputs(fitted, documents.texts, documents.images)
    order = np.random.RandomState(1).permutation(len(documents.texts))[: 6 * size]
    parts = []
    for start in range(0, len(order), size):
        part = documents.take(order[start : start + size])
        parts.append(outputs(fitted, part.texts, part.images))
    found = {name: np.concatenate([part[name] for part in parts]) for name in expected}
    assert_close(found, {name: array[order] for name, array in expected.items()})


def test_inputs_stay_as_they_are(estimator, documents):
    rng = np.random.RandomState(0)
    given = {
        "texts": np.array(documents.texts, dtype=object),
        "Y": documents.Y.copy(),
        "images": documents.images,
        "exclude": sp.coo_array(rng.uniform(size=documents.Y.shape) < 0.05),
        "label_text": list(LABELS),
    }
    before = copy.deepcopy(given)
    model = clone(estimator).set_params(label_text=given["label_text"])
    model.fit(given["texts"], given["Y"], images=given["images"], exclude=given["exclude"])
    model.predict_topk(given["texts"], images=given["images"], exclude=given["exclude"])
    model.score(given["texts"], given["Y"], images=given["images"], exclude=given["exclude"])
    outputs(model, given["texts"], given["images"])
    np.testing.assert_array_equal(given["texts"], before["texts"])
    assert given["label_text"] == before["label_text"]
    for name in ("Y", "exclude"):
        assert given[name].format == before[name].format
        assert given[name].nnz == before[name].nnz
        np.testing.assert_array_equal(given[name].toarray(), before[name].toarray())
    if isinstance(documents.images, np.ndarray):
        np.testing.assert_array_equal(given["images"], before["images"])
    elif documents.images is not None:
        for picture, kept in zip(given["images"], before["images"], strict=True):
            assert (picture is None) == (kept is None)
            assert picture is None or picture.tobytes() == kept.tobytes()


# --- forms of input ---

TEXT_FORMS = {
    "tuple": tuple,
    "fixed-width array": np.array,
    "object array": lambda texts: np.array(texts, dtype=object),
    "list of numpy's str": lambda texts: [np.str_(text) for text in texts],
    "pandas series": lambda texts: pd.Series(texts, index=range(len(texts), 0, -1)),
    "pandas frame": lambda texts: pd.DataFrame({"n": 1, "text": texts}, index=[0] * len(texts)),
    "polars series": pl.Series,
    "polars frame": lambda texts: pl.DataFrame({"text": texts, "n": range(len(texts))}),
}


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_forms_of_texts(estimator, text_model, form):
    documents = make_documents("texts")
    expected = outputs(text_model, documents.texts)
    X = TEXT_FORMS[form](documents.texts)
    assert_equal(outputs(text_model, X), expected)
    if estimator.train_encoder == "frozen":  # once: what becomes of X does not depend on it
        assert_equal(outputs(clone(estimator).fit(X, documents.names), X), expected)


TARGET_FORMS = {
    "csr matrix": sp.csr_matrix,
    "csc": sp.csc_array,
    "coo": sp.coo_array,
    "int array": lambda Y: Y.toarray(),
    "bool array": lambda Y: Y.toarray().astype(bool),
    "float array": lambda Y: Y.toarray().astype(np.float64, order="F"),
    "pandas frame": lambda Y: pd.DataFrame(Y.toarray(), columns=LABELS),
    "polars frame": lambda Y: pl.DataFrame(Y.toarray()),
    "sparse pandas frame": lambda Y: _sparse_frame(Y),
    "tuples of names": lambda Y: [tuple(LABELS[c] for c in row.indices) for row in _rows(Y)],
    "sets of names": lambda Y: [{LABELS[c] for c in row.indices} for row in _rows(Y)],
    "pandas series of names": lambda Y: pd.Series(
        [[LABELS[c] for c in r.indices] for r in _rows(Y)]
    ),
    "polars series of names": lambda Y: pl.Series(
        [[LABELS[c] for c in r.indices] for r in _rows(Y)]
    ),
}


def _sparse_frame(Y):
    frame = pd.DataFrame.sparse.from_spmatrix(Y)
    try:
        frame.sparse.to_coo()
    except ImportError as error:  # pandas wants a newer SciPy for it than skxmc does
        pytest.skip(str(error))
    return frame


def _rows(Y):
    return [Y[[row]] for row in range(Y.shape[0])]


@pytest.mark.parametrize("form", TARGET_FORMS)
def test_forms_of_targets(estimator, text_model, form):
    documents = make_documents("texts")
    y = TARGET_FORMS[form](documents.Y)
    expected = text_model.score(documents.texts, documents.names)
    assert text_model.score(documents.texts, y) == expected
    if estimator.train_encoder == "frozen":
        model = clone(estimator).set_params(label_text=LABELS).fit(documents.texts, y)
        assert model.classes_.tolist() == LABELS
        assert_equal(outputs(model, documents.texts), outputs(text_model, documents.texts))


IMAGE_FORMS = {
    "float64": ("embeddings", lambda images: images.astype(np.float64)),
    "fortran": ("embeddings", np.asfortranarray),
    "three dimensions": ("embeddings", lambda images: images[:, np.newaxis]),
    "lists": ("pictures", lambda images: [[] if i is None else [i, None] for i in images]),
    "arrays": ("pictures", lambda images: [None if i is None else np.array(i) for i in images]),
    "object array": ("pictures", lambda images: pd.Series(images).to_numpy()),
    "pandas series": ("pictures", pd.Series),
}


@pytest.mark.parametrize("form", IMAGE_FORMS)
def test_forms_of_images(folder, form):
    kind, change = IMAGE_FORMS[form]
    documents = make_documents(kind)
    images = change(documents.images)
    model = ESTIMATORS["frozen"](folder)
    model.fit(documents.texts, documents.names, images=documents.images)
    expected = outputs(model, documents.texts, documents.images)
    assert_equal(outputs(model, documents.texts, images), expected)
    model.fit(documents.texts, documents.names, images=images)
    assert_equal(outputs(model, documents.texts, documents.images), expected)


@pytest.mark.parametrize("package", [pd, pl], ids=["pandas", "polars"])
def test_pictures_in_a_column(folder, package):
    documents = make_documents("pictures")
    pictures = documents.images
    if package is pl:
        pictures = pl.Series(pictures, dtype=pl.Object)
    frame = package.DataFrame({"body": documents.texts, "icon": pictures})
    model = ESTIMATORS["frozen"](folder).set_params(text_column="body", image_column="icon")
    expected = clone(model).fit(documents.texts, documents.names, images=documents.images)
    assert_equal(
        outputs(model.fit(frame, documents.names), frame),
        outputs(expected, documents.texts, documents.images),
    )


def test_read_only_memory_maps(estimator, tmp_path):
    documents = make_documents("embeddings")
    expected = clone(estimator).fit(documents.texts, documents.names, images=documents.images)
    exclude = sp.csr_array(np.eye(*documents.Y.shape, dtype=bool))
    given = {
        "X": np.array(documents.texts),
        "Y": documents.Y,
        "dense": documents.Y.toarray(),
        "images": documents.images,
        "exclude": exclude,
    }
    joblib.dump(given, tmp_path / "given.joblib")
    mapped = joblib.load(tmp_path / "given.joblib", mmap_mode="r")
    assert not mapped["Y"].data.flags.writeable
    assert isinstance(mapped["images"], np.memmap)
    for y in (mapped["Y"], mapped["dense"]):
        model = clone(estimator).set_params(label_text=LABELS)
        model.fit(mapped["X"], y, images=mapped["images"])
        assert_equal(
            outputs(model, mapped["X"], mapped["images"]),
            outputs(expected, documents.texts, documents.images),
        )
    found = model.predict_topk(mapped["X"], images=mapped["images"], exclude=mapped["exclude"])
    wanted = expected.predict_topk(documents.texts, images=documents.images, exclude=exclude)
    np.testing.assert_array_equal(found[0], wanted[0])


@pytest.mark.parametrize("argument", ["X", "y", "images", "exclude"])
def test_generators_are_refused(estimator, text_model, argument):
    given = {"X": ["a", "b"], "y": [["c"], ["d"]], "images": [None, None], "exclude": None}
    given[argument] = (entry for entry in ["a", "b"])
    with pytest.raises(TypeError, match=f"^{argument} "):
        clone(estimator).fit(**given)
    if argument != "y":
        del given["y"]
        for method in ("predict", "predict_topk", "decision_function"):
            with pytest.raises(TypeError, match=f"^{argument} "):
                getattr(text_model, method)(**given)


@pytest.mark.parametrize("argument", ["label_text", "label_images"])
def test_generators_are_refused_as_parameters(estimator, argument):
    model = clone(estimator).set_params(**{argument: (entry for entry in ["a", "b"])})
    with pytest.raises(TypeError, match=f"^{argument} "):
        model.fit(["a", "b"], [["c"], ["d"]])


def test_generators_of_ready_embeddings_are_refused():
    model = clone(PRECOMPUTED[0])
    with pytest.raises(TypeError, match="images must be a sequence"):
        model.fit(np.eye(2), [["c"], ["d"]], images=(entry for entry in [None, None]))


# --- odd documents ---


def check_predictions(model, X, images=None) -> None:
    """Whatever was learned: probabilities, of labels that exist."""
    n_labels = len(model.classes_)
    labels, scores = model.predict_topk(X, k=n_labels, images=images)
    found = labels >= 0
    assert found[:, 0].all()
    assert (labels < n_labels).all()
    assert ((scores[found] >= 0) & (scores[found] <= 1 + 1e-5)).all()
    assert np.isneginf(scores[~found]).all()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in labels)
    assert np.isfinite(model.transform(X, images=images)).all()
    assert np.isfinite(model.decision_function(X, images=images)).all()


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        pytest.param(["cat"], [["pet"]], id="one document and one label"),
        pytest.param(["cat"], [["pet", "animal"]], id="one document"),
        pytest.param(["cat", "dog", "car"], [["a"], ["a"], ["a"]], id="one label"),
        pytest.param(["cat", "dog", "car"], [["a"], [], []], id="documents without labels"),
        pytest.param(["cat"] * 30, [["a"], ["b"]] * 15, id="one text for all"),
        pytest.param([""] * 3, [["a"], ["b"], ["a"]], id="empty texts"),
        pytest.param(["cat", "", " \n\t"], [["a"], ["b"], ["a"]], id="some empty texts"),
        pytest.param(["cat " * 10_000, "dog"], [["a"], ["b"]], id="10,000 words"),
        pytest.param(["cat", "c" * 10_000], [["a"], ["b"]], id="one word of 10,000 letters"),
        pytest.param(["猫", "🐈‍⬛", "\x00 cat"], [["ネコ"], ["🐈"], ["chat, noir"]], id="scripts"),
        pytest.param(["cat", "dog"], [["?"], ["-"]], id="labels without a letter"),
    ],
)
def test_odd_documents(estimator, texts, names):
    model = clone(estimator).fit(texts, names)
    check_predictions(model, texts)
    check_predictions(model, ["", "cat", "dog dog"])
    if model.train_encoder == "frozen":
        images = np.arange(2.0 * len(texts)).reshape(-1, 2)
        check_predictions(model.fit(texts, names, images=images), texts, images)


def test_equal_documents_get_equal_predictions(estimator, documents):
    twice = documents.take(np.arange(len(documents.texts)).repeat(2))
    model = clone(estimator).fit(twice.texts, twice.names, images=twice.images)
    found = outputs(model, twice.texts, twice.images)
    assert_close(
        {name: array[::2] for name, array in found.items()},
        {name: array[1::2] for name, array in found.items()},
    )
    assert model.score(twice.texts, twice.names, images=twice.images) > 0.5


def test_labels_without_documents(estimator):
    documents = make_documents("texts")
    model = clone(estimator).set_params(label_text=[*LABELS, "tree", "house", "water"])
    Y = sp.hstack([documents.Y, sp.csr_array((len(documents.texts), 3))], format="csr")
    model.fit(documents.texts, Y)
    check_predictions(model, documents.texts)
    assert model.score(documents.texts, Y) > 0.5
    assert model.predict(documents.texts).shape == Y.shape
    by_names = clone(model).fit(documents.texts, documents.names)
    assert_equal(outputs(by_names, documents.texts), outputs(model, documents.texts))


@pytest.mark.parametrize("form", ["list", "embeddings", "lists", "column"])
def test_no_picture_at_all_is_as_good_as_none(estimator, text_model, form):
    documents = make_documents("texts")
    n = len(documents.texts)
    X, images = {
        "list": (documents.texts, [None] * n),
        "embeddings": (documents.texts, np.full((n, 5), np.nan)),
        "lists": (documents.texts, [[], [None]] * (n // 2)),
        "column": (pd.DataFrame({"text": documents.texts, "image": [None] * n}), None),
    }[form]
    expected = outputs(text_model, documents.texts)
    assert_equal(outputs(text_model, X, images), expected)
    if form in ("list", "embeddings"):
        model = clone(estimator).fit(X, documents.names, images=images)
        assert model.image_encoder_ is None
        assert_equal(outputs(model, documents.texts), expected)
        with pytest.raises(ValueError, match="fitted without pictures"):
            model.predict(documents.texts, images=np.eye(n))


@pytest.mark.parametrize("kind", ["embeddings", "pictures"])
def test_missing_pictures_are_no_error_and_no_warning(estimator, kind):
    documents = make_documents(kind)
    model = clone(estimator).fit(documents.texts, documents.names, images=documents.images)
    n = len(documents.texts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = outputs(model, documents.texts, [None] * n)
        assert_equal(outputs(model, documents.texts, np.full((n, 6), np.nan)), found)
    with pytest.warns(UserWarning, match="fitted with pictures and gets none now"):
        assert_equal(outputs(model, documents.texts), found)
    rows = np.arange(0, n, 8)  # which never had a picture
    alone = documents.take(rows)
    given = outputs(model, documents.texts, documents.images)
    assert_close(
        {name: array[rows] for name, array in found.items()},
        {name: array[rows] for name, array in given.items()},
    )
    assert_close(
        outputs(model, alone.texts, alone.images),
        {name: array[rows] for name, array in given.items()},
    )


@pytest.mark.parametrize("n_pictures", [1, 48])
def test_pictures_that_do_not_differ(estimator, n_pictures):
    documents = make_documents("texts")
    images = np.full((len(documents.texts), 6), np.nan)
    images[:n_pictures] = [3.0, 0, 0, -1, 0, 0]
    model = clone(estimator).fit(documents.texts, documents.names, images=images)
    check_predictions(model, documents.texts, images)
    check_predictions(model, ["cat"], np.eye(1, 6))
    assert model.score(documents.texts, documents.names, images=images) > 0.5


def test_length_of_ready_embeddings_does_not_matter(rng):
    topic = rng.randint(5, size=100)
    X = rng.normal(size=(5, 8))[topic] + 0.5 * rng.normal(size=(100, 8))
    model = clone(PRECOMPUTED[0])
    expected = outputs(model.fit(X, [[name] for name in topic.tolist()]), X)
    for factor in (1e-3, 64, rng.uniform(0.5, 20, size=(100, 1))):
        assert_close(outputs(model.fit(X * factor, [[n] for n in topic.tolist()]), X), expected)
    X[3] = 0
    check_predictions(model.fit(X, [[name] for name in topic.tolist()]), X)


def test_no_evidence_is_an_error():
    nothing = Prototypes(centroids=False)  # ready embeddings come without texts of labels
    for evidence in ([Prototypes()], [nothing, Neighbours()], [nothing, LabelVectors()]):
        model = clone(PRECOMPUTED[0]).set_params(evidence=evidence)
        check_predictions(model.fit(np.eye(3), [["a"], ["b"], ["a"]]), np.eye(3))
    with pytest.raises(ValueError, match="leaves nothing to rank labels by"):
        clone(PRECOMPUTED[0]).set_params(evidence=[nothing]).fit(np.eye(3), [["a"], ["b"], ["a"]])
    text_features = clone(PRECOMPUTED[0]).set_params(
        text_features="tfidf", evidence=[nothing, LabelVectors()]
    )
    assert text_features.fit(np.eye(3), np.eye(3)).score(np.eye(3), np.eye(3)) == 1


# --- names of labels ---


def test_names_come_back(estimator, fitted, documents):
    names, _ = fitted.predict_topk(
        documents.texts, k=2, images=documents.images, return_labels=True
    )
    numbers, _ = fitted.predict_topk(documents.texts, k=2, images=documents.images)
    assert names.dtype == object
    assert names.tolist() == [[LABELS[number] for number in row] for row in numbers]
    exclude = np.ones((1, len(LABELS)), dtype=bool)
    exclude[0, LABELS.index("cat")] = False
    names, _ = fitted.predict_topk(
        ["red cat"], k=2, images=[None], exclude=exclude, return_labels=True
    )
    assert names.tolist() == [["cat", None]]


def test_numbers_as_names(folder):
    documents = make_documents("texts")
    numbers = [[10 * (LABELS.index(name) - 3) for name in row] for row in documents.names]
    model = ESTIMATORS["frozen"](folder).fit(documents.texts, numbers)
    assert model.classes_.dtype == np.int64
    assert model.classes_.tolist() == [10 * (number - 3) for number in range(len(LABELS))]
    names, _ = model.predict_topk(documents.texts, k=1, return_labels=True)
    found = [name in row for name, row in zip(names[:, 0].tolist(), numbers, strict=True)]
    assert model.score(documents.texts, numbers) == np.mean(found)
    columns = ESTIMATORS["frozen"](folder).fit(documents.texts, documents.Y)
    assert columns.classes_.tolist() == list(range(len(LABELS)))
    np.testing.assert_array_equal(
        columns.decision_function(documents.texts), model.decision_function(documents.texts)
    )
    with pytest.raises(ValueError, match="y has only column numbers; pass label_text"):
        ESTIMATORS["full"](folder).fit(documents.texts, numbers)


def test_multi_label_binarizer(estimator):
    documents = make_documents("texts")
    binarizer = MultiLabelBinarizer(sparse_output=True)
    Y = binarizer.fit_transform(documents.names)
    model = clone(estimator).set_params(label_text=binarizer.classes_).fit(documents.texts, Y)
    assert model.classes_.tolist() == binarizer.classes_.tolist()
    predicted = model.predict(documents.texts)
    names = model.inverse_transform(predicted)
    assert names == binarizer.inverse_transform(predicted)
    assert names == model.inverse_transform(predicted.toarray())
    assert (binarizer.transform(names) != predicted).nnz == 0
    assert model.score(documents.texts, Y) == model.score(documents.texts, documents.names)
    assert model.inverse_transform(Y) == [tuple(sorted(row)) for row in documents.names]
    assert model.inverse_transform(sp.csc_array(Y.shape)) == [()] * Y.shape[0]


def test_inverse_transform_takes_indicators_only(text_model):
    with pytest.raises(ValueError, match="y has 2 columns but the model was fitted on 14"):
        text_model.inverse_transform(np.eye(2))
    found = text_model.inverse_transform(np.eye(len(LABELS), dtype=int).tolist())
    assert found == [(name,) for name in LABELS]
    labels, _ = text_model.predict_topk(["cat"], k=len(LABELS))
    with pytest.raises(ValueError, match="an indicator holds only 0 and 1"):
        text_model.inverse_transform(labels)


@pytest.mark.parametrize("as_names", [False, True])
def test_one_column_stays_multi_label(estimator, as_names):
    documents = make_documents("texts")
    column = documents.Y[:, [LABELS.index("cat")]]
    y = [["cat"] if row else [] for row in column.toarray()[:, 0]] if as_names else column
    model = clone(estimator).set_params(label_text=["cat"]).fit(documents.texts, y)
    assert model.classes_.tolist() == ["cat"]
    assert model.predict(documents.texts).shape == (len(documents.texts), 1)
    assert model.decision_function(documents.texts).shape == (len(documents.texts), 1)
    labels, _ = model.predict_topk(["cat", "dog"], k=1, return_labels=True)
    assert labels.tolist() == [["cat"], ["cat"]]
    assert model.score(documents.texts, y) == 1
    assert set(model.inverse_transform(model.predict(documents.texts))) <= {(), ("cat",)}


def test_new_labels_are_named_like_the_old_ones(folder):
    by_name = ESTIMATORS["frozen"](folder).fit(["cat", "dog"], [["a"], ["b"]])
    assert by_name.add_labels(np.array(["c", "d"])).classes_.tolist() == list("abcd")
    assert by_name.add_labels([]).classes_.tolist() == list("abcd")
    assert all(type(name) is str for name in by_name.classes_)
    for wrong, message in (
        (5, "'e' and 5; use only str"),
        (None, "id None at position 1"),
        (b"f", "bytes"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            by_name.add_labels(["e", wrong])
    with pytest.raises(TypeError, match=r"labels\[0\] is 5 of type int, .* are str"):
        by_name.add_labels([5])
    with pytest.raises(ValueError, match="labels has the id 'e' more than once"):
        by_name.add_labels(["e", "e"])
    with pytest.raises(TypeError, match="label_text is a single str"):
        by_name.add_labels(["e", "f"], label_text="ab")
    with pytest.raises(TypeError, match=r"label_text\[0\] is None"):
        by_name.add_labels(["e"], label_text=[None])
    with pytest.raises(ValueError, match="fitted without pictures"):
        by_name.add_labels(["e"], label_images=[np.zeros((4, 4, 3), dtype=np.uint8)])
    assert by_name.predict(["cat"]).shape == (1, 4)

    by_number = ESTIMATORS["frozen"](folder).fit(["cat", "dog"], np.eye(2))
    with pytest.raises(TypeError, match=r"labels\[0\] is 'tram' .* are int.*label_text"):
        by_number.add_labels(["tram"])
    by_number.add_labels([np.int32(7)], label_text=["tram"])
    assert by_number.classes_.tolist() == [0, 1, 7]
    assert by_number.classes_.dtype == np.int64
    assert by_number.predict_topk(["tram"], k=1, return_labels=True)[0].tolist() == [[7]]


# --- metadata routing ---


def lower_case(texts):
    return [text.lower() for text in texts]


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def request_images(model):
    """A clone of the model, asking for `images` wherever it can."""
    return (
        clone(model)
        .set_fit_request(images=True, exclude=True)
        .set_predict_request(images=True, exclude=True)
        .set_decision_function_request(images=True)
        .set_transform_request(images=True)
        .set_score_request(images=True, exclude=True, sample_weight=True)
    )


@pytest.mark.usefixtures("routing")
def test_pipeline_routes_images_and_pairs(estimator):
    documents = make_documents("embeddings")
    shouted = [text.upper() for text in documents.texts]
    exclude = sp.csr_array(np.eye(*documents.Y.shape, dtype=bool))
    weight = np.arange(1.0, len(shouted) + 1)
    pictures = {"images": documents.images}
    both = {**pictures, "exclude": exclude}

    alone = clone(estimator).fit(documents.texts, documents.names, **both)
    pipeline = make_pipeline(FunctionTransformer(lower_case), request_images(estimator))
    pipeline.fit(shouted, documents.names, **both)

    found, expected = (
        m.predict(X, **both) for m, X in ((pipeline, shouted), (alone, documents.texts))
    )
    assert (found != expected).nnz == 0
    np.testing.assert_array_equal(
        pipeline.decision_function(shouted, **pictures),
        alone.decision_function(documents.texts, **pictures),
    )
    np.testing.assert_array_equal(
        pipeline.transform(shouted, **pictures), alone.transform(documents.texts, **pictures)
    )
    assert pipeline.score(shouted, documents.names, sample_weight=weight, **both) == alone.score(
        documents.texts, documents.names, sample_weight=weight, **both
    )


@pytest.mark.usefixtures("routing")
def test_forgotten_requests_are_an_error(estimator):
    documents = make_documents("embeddings")
    pipeline = make_pipeline(FunctionTransformer(lower_case), clone(estimator))
    with pytest.raises(UnsetMetadataPassedError, match="images"):
        pipeline.fit(documents.texts, documents.names, images=documents.images)
    pipeline[-1].set_fit_request(images=True)
    pipeline.fit(documents.texts, documents.names, images=documents.images)
    with pytest.raises(UnsetMetadataPassedError, match="images"):
        pipeline.predict(documents.texts, images=documents.images)


@pytest.mark.usefixtures("routing")
def test_predict_topk_has_no_request(estimator):
    assert not hasattr(estimator, "set_predict_topk_request")
    with pytest.raises(TypeError, match="exclude_pairs"):
        clone(estimator).set_fit_request(exclude_pairs=True)


@pytest.mark.usefixtures("routing")
def test_requests_survive_clone_and_pickle(estimator):
    asking = request_images(estimator)
    for copied in (clone(asking), pickle.loads(pickle.dumps(asking)), copy.deepcopy(asking)):
        requests = copied.get_metadata_routing()
        assert requests.fit.requests == {"images": True, "exclude": True, "document_ids": None}
        assert requests.predict.requests == {
            "images": True,
            "exclude": True,
            "only": None,
            "exclude_labels": None,
            "max_labels": None,
        }
        assert requests.transform.requests == {"images": True}
        assert requests.score.requests["images"] is True


@pytest.mark.usefixtures("routing")
def test_embeddings_as_features_of_another_estimator(estimator):
    documents = make_documents("embeddings")
    first = request_images(estimator)
    second = clone(PRECOMPUTED[0]).set_fit_request(images=False).set_predict_request(images=False)
    pipeline = make_pipeline(FunctionTransformer(lower_case), first, second)
    pipeline.fit(documents.texts, documents.names, images=documents.images)
    predicted = pipeline.predict(documents.texts, images=documents.images)
    embeddings = clone(first).fit_transform(
        documents.texts, documents.names, images=documents.images
    )
    expected = clone(second).fit(embeddings, documents.names).predict(embeddings)
    assert (predicted != expected).nnz == 0


@pytest.mark.usefixtures("routing")
def test_search_slices_images_along_with_the_texts(folder):
    documents = make_documents("embeddings")
    pipeline = make_pipeline(
        FunctionTransformer(lower_case), request_images(ESTIMATORS["frozen"](folder))
    )
    grid = {"vixmlclassifier__text_features": ["embedding", "both"]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise")
    search.fit(documents.texts, documents.Y, images=documents.images)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0.3
    expected = search.best_estimator_.score(documents.texts, documents.Y, images=documents.images)
    if parse_version(sklearn.__version__) >= parse_version("1.9"):  # before, it passes nothing on
        score = search.score(documents.texts, documents.Y, images=documents.images)
        assert score == expected


# --- scikit-learn's own tools ---


def test_cross_validation(folder):
    documents = make_documents("texts")
    model = ESTIMATORS["frozen"](folder)
    dense = documents.Y.toarray()
    for y in (documents.names, dense):
        found = cross_validate(model, documents.texts, y, cv=3, error_score="raise")
        assert found["test_score"].mean() > 0.5
    scores = cross_val_predict(model, documents.texts, dense, cv=3, method="decision_function")
    assert scores.shape == dense.shape
    f1 = cross_val_score(model, documents.texts, dense, cv=3, scoring="f1_micro")
    assert (f1 > 0.3).all()


def test_embeddings_beside_other_features(folder):
    documents = make_documents("texts")
    frame = pd.DataFrame({"title": documents.texts, "price": np.arange(len(documents.texts))})
    model = ESTIMATORS["frozen"](folder)
    columns = make_column_transformer((model, "title"), ("passthrough", ["price"]))
    found = columns.set_output(transform="pandas").fit_transform(frame, documents.names)
    embeddings = clone(model).fit_transform(documents.texts, documents.names)
    assert found.columns[0] == "vixmlclassifier__vixmlclassifier0"
    np.testing.assert_array_equal(found.iloc[:, :-1].to_numpy(), embeddings)
    np.testing.assert_array_equal(found.iloc[:, -1], frame["price"])
