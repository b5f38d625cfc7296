"""Models from anybody: what is in their folders is checked, and nothing outside is opened."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from saved_folders import change_array, rewrite
from tiny_models import save_encoder

from skxmc import ViXMLClassifier
from skxmc._estimator import _persistence
from skxmc._folders._content import ARRAYS
from skxmc._folders._manifest import METADATA
from skxmc.evidence import Neighbours

ROOT = Path(__file__).resolve().parents[1]
WORDS = "red green blue apple car tree house dog cat bird fast slow".split()
RNG = np.random.RandomState(0)
VECTORS = RNG.normal(size=(40, 6)).astype(np.float32)
TEXTS = [" ".join(WORDS[word] for word in row) for row in RNG.randint(len(WORDS), size=(40, 3))]
LABELS = [sorted({*text.split()}) for text in TEXTS]
KINDS = ("vectors", "texts")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two small models in folders, not to be changed, and what they predict."""
    place = tmp_path_factory.mktemp("models")
    encoder = save_encoder(place / "encoder", words=WORDS)
    evidence = ["prototypes", Neighbours(n_neighbors=5), "label_vectors"]
    common = {"evidence": evidence, "random_state": 0, "device": "cpu"}
    found = {}
    for kind, options, X in (
        ("vectors", {"encoder": "precomputed"}, VECTORS),
        ("texts", {"encoder": encoder, "train_encoder": "frozen"}, TEXTS),
    ):
        model = ViXMLClassifier(**options, **common).fit(X, LABELS)
        model.save(place / kind)
        found[kind] = (place / kind, X, model.predict_topk(X, k=3))
    return found


@pytest.fixture
def folder(models, tmp_path):
    """A function that copies a model to where it may be changed."""

    def copied(kind="vectors"):
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        return Path(shutil.copytree(models[kind][0], tmp_path / "model"))

    return copied


def test_damaged_matrix_of_a_model_is_an_error_before_predictions(folder):
    model = folder()
    matrix = ViXMLClassifier.load(model).ranker_.Y_
    indices = matrix.indices.copy()
    indices[0] = 1000
    change_array(model, "ranker.Y.indices", indices)
    with pytest.raises(ValueError, match="damaged"):
        ViXMLClassifier.load(model, verify=False)


LOAD = """
import sys
from skxmc import ViXMLClassifier

opened = []


def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        opened.append(arguments[0])


for folder in sys.argv[1:]:
    ViXMLClassifier.load(folder)  # imports everything
sys.addaudithook(note)
for folder in sys.argv[1:]:
    open(folder + "/BEGIN-HERE", "w").close()
    ViXMLClassifier.load(folder)
    open(folder + "/END-HERE", "w").close()
print(*opened, sep="\\n")
"""

# Names of open files may begin with these, which belong to the machine and to nobody.
MACHINE = ("/proc/", "/sys/", "/etc/localtime", "/dev/shm")


def load_in_process(models, *prefix):
    return subprocess.run(
        [*prefix, sys.executable, "-c", LOAD, *(str(models[kind][0]) for kind in KINDS)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


def check_opened(names, models):
    """Whether what was opened is relative to an opened folder, below it, or code of a library."""
    for kind in KINDS:
        folder = str(models[kind][0])
        begin, end = (names.index(f"{folder}/{name}-HERE") for name in ("BEGIN", "END"))
        part = names[begin : end + 1]
        assert {METADATA, ARRAYS} <= set(part)
        for name in part:
            relative = not name.startswith("/") and ".." not in name.split("/")
            assert relative or name.startswith((folder, *MACHINE, sys.prefix, sys.base_prefix))
        (models[kind][0] / "BEGIN-HERE").unlink()
        (models[kind][0] / "END-HERE").unlink()


@pytest.mark.slow
def test_nothing_is_opened_outside_of_the_folder(models):
    check_opened(load_in_process(models), models)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_system_opens_nothing_outside_of_the_folder(models, tmp_path):
    log = tmp_path / "log"
    trace = ("strace", "-f", "-s", "500", "-e", "trace=open,openat,openat2", "-o", str(log))
    load_in_process(models, *trace)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    check_opened([line.split('"')[1] for line in lines if line.count('"') >= 2], models)


# --- what a folder may set ---


@pytest.mark.parametrize(("name", "value"), [("memory", "/tmp/cache"), ("device", "cuda:7")])
def test_parameters_that_no_folder_may_set(name, value, folder):
    model = folder()
    rewrite(model, lambda tree: tree["parameters"].update({name: value}))
    loaded = ViXMLClassifier.load(model, device="cpu")
    assert getattr(loaded, name) == {"memory": None, "device": "cpu"}[name]
    assert name in _persistence.NEVER_FROM_A_FOLDER


@pytest.mark.parametrize("trust", [False, True])
def test_only_who_loads_may_trust_the_code_of_encoders(trust, folder):
    model = folder("texts")

    def edit(tree):
        said = {"name": tree["parameters"]["encoder"], "trust_remote_code": not trust}
        described = [["$class", "skxmc.encoders:TextEncoder"], ["parameters", said]]
        tree["parameters"]["encoder"] = {"$dict": described}
        tree["parameters"]["trust_remote_code"] = not trust

    rewrite(model, edit)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the model was fitted with trust_remote_code=True")
        loaded = ViXMLClassifier.load(model, device="cpu", trust_remote_code=trust)
    assert loaded.encoder.trust_remote_code is trust
    assert not hasattr(loaded, "trust_remote_code")


@pytest.mark.parametrize("trust", [False, True])
def test_trust_reaches_objects_within_objects(trust, folder):
    def described(kind, **parameters):
        return {"$dict": [["$class", f"skxmc.encoders:{kind}"], ["parameters", parameters]]}

    inner = described("TextEncoder", name="inner", trust_remote_code=not trust)
    middle = described("LanguageModel", name=[{"a": inner}], trust_remote_code=not trust)
    model = folder("texts")
    rewrite(model, lambda tree: tree["parameters"].update({"objective": middle}))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the model was fitted with trust_remote_code=True")
        objective = ViXMLClassifier.load(model, trust_remote_code=trust).objective
    assert objective.trust_remote_code is trust
    assert objective.name[0]["a"].trust_remote_code is trust


@pytest.mark.parametrize("name", ["featurizer_", "ranker_", "predict", "__class__", "_x_", "x"])
def test_attributes_that_no_folder_may_set(name, folder):
    model = folder()
    rewrite(model, lambda tree: tree["fitted"].update({name: "evil"}))
    assert getattr(ViXMLClassifier.load(model), name, None) != "evil"


# --- damage, and mixtures of two saves ---


def outcome(folder, kind, models, **options):
    """ "refused" by an error that names folder and file, or "same" predictions."""
    _, X, expected = models[kind]
    try:
        loaded = ViXMLClassifier.load(folder, device="cpu", **options)
    except (ValueError, FileNotFoundError) as error:
        return "refused" if str(folder) in str(error) else repr(error)
    for one, two in zip(expected, loaded.predict_topk(X, k=3), strict=True):
        np.testing.assert_array_equal(one, two)
    return "same"


@pytest.mark.parametrize("name", [ARRAYS, "prototypes.index", "neighbours.index", METADATA])
@pytest.mark.parametrize("verify", ["auto", False])
def test_files_of_another_save_are_noticed(name, verify, models, folder, tmp_path):
    model = folder()
    ViXMLClassifier.load(model, device="cpu").save(tmp_path / "again")
    sizes = [(place / name).stat().st_size for place in (model, tmp_path / "again")]
    assert sizes[0] == sizes[1]
    shutil.copy(tmp_path / "again" / name, model / name)
    assert outcome(model, "vectors", models, verify=verify) == "refused"
