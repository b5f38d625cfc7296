"""Annotations of the public interface, as a type checker of a user's program sees them."""

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "skxmc",
    "skxmc.bulk",
    "skxmc.datasets",
    "skxmc.encoders",
    "skxmc.evidence",
    "skxmc.indexes",
    "skxmc.inspection",
    "skxmc.metrics",
    "skxmc.model_selection",
    "skxmc.objectives",
    "skxmc.pipeline",
    "skxmc.serving",
    "skxmc.testing",
)
PROGRAM = """
from skxmc import DecoderXMCClassifier, ViXMLClassifier
from skxmc.datasets import load_table
from skxmc.evidence import Neighbours, Prototypes
from skxmc.inspection import Explanation, FrequencyBinDisplay
from skxmc.metrics import precision_at_k, xmc_report
from skxmc.model_selection import Precision

texts: list[str] = ["red car", "green apple"]
clf = ViXMLClassifier(
    train_encoder="frozen",
    evidence=[Prototypes(), "neighbours", Neighbours(weight=0.3)],
    threshold=Precision(0.9),
    random_state=0,
)
fitted: ViXMLClassifier = clf.fit(texts, [["vehicle"], ["fruit"]])
labels, scores = fitted.predict_topk(texts, k=2)
rows: int = labels.shape[0]
quality: float = fitted.score(texts, [["vehicle"], ["fruit"]])
reasons: list[list[Explanation]] = fitted.explain(texts)
again: ViXMLClassifier = ViXMLClassifier.load("folder").partial_fit(texts, [["fruit"], []])
"""
WRONG = {
    "fitted.predict_topk(texts, k='five')": "arg-type",
    "ViXMLClassifier(epochs='many')": "arg-type",
    "DecoderXMCClassifier(labels=3)": "call-arg",
    "number: int = fitted.transform(texts)": "assignment",
}


def methods_of(kind):
    for base in kind.__mro__:
        if base.__module__.startswith("skxmc"):
            for name, member in vars(base).items():
                function = getattr(member, "__func__", getattr(member, "fget", member))
                if inspect.isfunction(function) and (name == "__init__" or name[0] != "_"):
                    yield function


def public_functions():
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            member = getattr(module, name)
            if inspect.isclass(member):
                yield from methods_of(member)
            elif inspect.isfunction(member):
                yield member


def test_everything_public_is_annotated():
    bare = set()
    for function in public_functions():
        if not function.__module__.startswith("skxmc"):
            continue  # scikit-learn makes the methods of metadata routing
        signature = inspect.signature(function)
        annotations = [
            parameter.annotation
            for name, parameter in signature.parameters.items()
            if name not in ("self", "cls")
        ]
        if inspect.Signature.empty in (*annotations, signature.return_annotation):
            bare.add(f"{function.__module__}.{function.__qualname__}")
    assert not bare


@pytest.mark.slow
def test_type_checker_understands_a_program(tmp_path):
    pytest.importorskip("mypy")
    lines = [*PROGRAM.splitlines(), *WRONG]
    (tmp_path / "program.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports"]
    command += ["--cache-dir", str(tmp_path / "cache"), "--no-error-summary", "program.py"]
    found = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    messages = [line for line in found.stdout.splitlines() if ": error:" in line]
    assert len(messages) == len(WRONG), found.stdout + found.stderr
    first = len(PROGRAM.splitlines()) + 1
    for number, (message, code) in enumerate(zip(messages, WRONG.values(), strict=True), first):
        assert message.startswith(f"program.py:{number}: error")
        assert message.endswith(f"[{code}]")


# Rooms whose own code the type checker finds nothing in.
CLEAN = (
    "_cli",
    "_folders",
    "_runtime",
    "bulk",
    "datasets",
    "metrics",
    "model_selection",
    "pipeline",
    "serving",
    "testing",
)


@pytest.mark.slow
def test_clean_rooms_stay_clean(tmp_path):
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports"]
    command += ["--cache-dir", str(tmp_path / "cache"), *(f"skxmc/{room}" for room in CLEAN)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
