"""The package as a whole: a light import, layers, docstrings, messages of optional packages."""

import ast
import inspect
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import is_dataclass
from pathlib import Path

import pytest
from numpydoc.validate import validate

import skxmc
from skxmc._runtime._optional import import_optional

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "skxmc"
HEAVY = ("torch", "faiss", "transformers")

# Rooms from the top: a module imports from its own row and from rows below, never from above.
# docs/design.rst explains.
ROWS = (
    ("skxmc",),
    ("skxmc.__main__", "skxmc.datasets.images"),
    ("skxmc._cli", "skxmc.bulk", "skxmc.mlflow"),
    ("skxmc.serving",),
    ("skxmc._vixml", "skxmc._decoder"),
    ("skxmc._estimator",),
    ("skxmc._folders",),
    ("skxmc._ranking",),
    ("skxmc.evidence",),
    ("skxmc.objectives",),
    ("skxmc._training", "skxmc.encoders"),
    ("skxmc._towers",),
    ("skxmc._pictures",),
    ("skxmc._backbones",),
    ("skxmc.testing", "skxmc.inspection", "skxmc.distributed"),
    ("skxmc.indexes",),
    ("skxmc._features",),
    ("skxmc.model_selection", "skxmc.metrics", "skxmc.datasets", "skxmc.pipeline"),
    ("skxmc._inputs",),
    ("skxmc._runtime",),
)
MAY_IMPORT_TORCH = (
    "skxmc.evidence._label_scores",
    "skxmc.evidence._label_shards",
    "skxmc.evidence._linear_model",
    "skxmc.evidence._one_vs_all",
    "skxmc.objectives._",
    "skxmc._training",
    "skxmc._towers",
    "skxmc._pictures",
    "skxmc._backbones",
    "skxmc._runtime._device",
)
PUBLIC_ROOMS = (
    "bulk",
    "datasets",
    "distributed",
    "encoders",
    "evidence",
    "indexes",
    "inspection",
    "metrics",
    "mlflow",
    "model_selection",
    "objectives",
    "pipeline",
    "serving",
    "testing",
)
LONGEST_FILE = 500
MOST_PARAMETERS = 25


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def row_of(module: str) -> int | None:
    """Number of the row a module stands in, from the top; None where it has none."""
    if module == "skxmc":
        return 0
    for number, rooms in enumerate(ROWS[1:], start=1):
        if any(module == room or module.startswith(f"{room}.") for room in rooms):
            return number
    return None


def imports_of(module: str, body: list[ast.stmt] | None = None) -> set[str]:
    """Absolute names of all that a module imports, at its top or inside its functions.

    ``from package import name`` counts as the submodule where there is one of that name. With
    ``body`` only these statements are read, without the functions in them.
    """
    path = MODULES[module]
    if body is None:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    else:
        nodes = list(at_import_time(body))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(parents + ([base] if base else []))
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full in MODULES else base)
    return found


def at_import_time(body: list[ast.stmt]):
    """Statements that run when a module is imported: not in functions, not for type checkers."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            continue
        yield statement
        for field in ("body", "orelse", "finalbody"):
            yield from at_import_time(getattr(statement, field, []))
        for handler in getattr(statement, "handlers", []):
            yield from at_import_time(handler.body)


def run_python(code: str, *options: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )


def loaded_after(code: str) -> list[str]:
    """Which of the heavy packages are loaded after running code in a new interpreter."""
    report = f"import sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    return ast.literal_eval(run_python(f"{code}\n{report}").stdout.splitlines()[-1])


# --- a light import ---


def test_import_loads_no_heavy_package():
    assert loaded_after("import skxmc") == []
    # the check itself works
    assert loaded_after("import sys; sys.modules['torch'] = sys") == ["torch"]


def test_light_rooms_and_the_names_of_estimators_load_no_heavy_package():
    code = """
import skxmc
import skxmc._inputs._images, skxmc._inputs._targets, skxmc._runtime._optional, skxmc._inputs._texts
import skxmc.objectives, skxmc.indexes
skxmc.objectives.Training()
for name in skxmc.__all__:
    getattr(skxmc, name)
"""
    assert loaded_after(code) == []


def test_the_command_line_shows_its_help_without_a_heavy_package():
    code = """
import contextlib, io
from skxmc._cli._main import main
for arguments in (["--help"], ["fit", "--help"], ["fit"]):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main(arguments)
"""
    assert loaded_after(code) == []


def test_the_import_loads_nothing_but_itself_and_the_standard_library():
    code = """
import sys
before = set(sys.modules)
import skxmc
found = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(found - sys.stdlib_module_names - {"skxmc"}))
"""
    assert run_python(code).stdout.strip() == "[]"


def test_public_names_resolve():
    assert skxmc.__all__ == sorted(skxmc.__all__)
    for home in (skxmc, skxmc.objectives):
        assert set(home.__all__) <= set(dir(home))
        for name in home.__all__:
            assert getattr(home, name) is not None
        with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
            _ = home.no_such_name


# --- layers ---


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module):
    row = row_of(module)
    assert row is not None, (
        f"{module} stands in no row of ROWS; add it there and in docs/design.rst"
    )
    for imported in imports_of(module):
        if imported == "skxmc" and module != "skxmc":
            pytest.fail(f"{module} imports the package's top; import the module that it needs")
        if imported.startswith("skxmc."):
            target = row_of(imported)
            assert target is not None, f"{module} imports {imported}, which stands in no row"
            assert target >= row, f"{module} (row {row}) imports upwards: {imported} (row {target})"


@pytest.mark.parametrize(
    "module", [name for name in MODULES if not name.startswith(MAY_IMPORT_TORCH)]
)
def test_light_modules_import_nothing_heavy_at_their_top(module):
    body = ast.parse(MODULES[module].read_text(encoding="utf-8")).body
    top = {name.partition(".")[0] for name in imports_of(module, body)}
    assert not top & {*HEAVY, "sentence_transformers", "peft", "open_clip"}


def test_import_reader_sees_all_forms(monkeypatch, tmp_path):
    path = tmp_path / "_example.py"
    path.write_text(
        "import torch.nn as nn\nfrom . import _labels\nfrom .._base import X\n"
        "def f():\n    from skxmc.metrics import precision\n",
        encoding="utf-8",
    )
    monkeypatch.setitem(MODULES, "skxmc._training._example", path)
    monkeypatch.setitem(MODULES, "skxmc._training._labels", path)
    everything = imports_of("skxmc._training._example")
    assert everything == {"torch.nn", "skxmc._training._labels", "skxmc._base", "skxmc.metrics"}
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert imports_of("skxmc._training._example", body) == everything - {"skxmc.metrics"}


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_there_are_no_circles():
    graph = {module: imports_of(module) & MODULES.keys() - {module} for module in MODULES}
    for module in graph:  # a package's __init__ imports what is in it
        if MODULES[module].name == "__init__.py":
            graph[module] = {name for name in graph[module] if not name.startswith(f"{module}.")}
    while True:
        free = [module for module, imported in graph.items() if not imported & graph.keys()]
        if not free:
            break
        for module in free:
            del graph[module]
    assert not graph, f"these modules import each other in circles: {sorted(graph)}"


@pytest.mark.parametrize("module", MODULES)
def test_private_names_stay_in_their_room(module):
    """An underscore means: you may change it. No other room may count on it."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
        parents = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*parents, *(node.module or "").split(".")]).rstrip(".")
        if room_of(base) == room_of(module):
            continue
        names = [alias.name for alias in node.names if alias.name.startswith("_")]
        assert not names, f"{module} imports {names} of {base}; make it public there"


@pytest.mark.parametrize("path", MODULES.values(), ids=list(MODULES))
def test_files_are_short(path):
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= LONGEST_FILE, f"{path.name} has {n_lines} lines; look for a seam"


@pytest.mark.parametrize("module", MODULES)
def test_imports_within_the_package_are_relative(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").partition(".")[0] != "skxmc", f"{module}, {node.lineno}"


# --- what is public ---


def public_classes() -> dict[str, type]:
    found = {}
    for home in (skxmc, *(getattr(skxmc, room) for room in PUBLIC_ROOMS)):
        for name in home.__all__:
            if inspect.isclass(getattr(home, name)):
                found[f"{home.__name__}.{name}"] = getattr(home, name)
    return found


@pytest.mark.parametrize("name", public_classes())
def test_public_classes_have_an_example_and_few_parameters(name):
    value = public_classes()[name]
    if not is_dataclass(value):  # what users are given and do not make
        assert ">>>" in (value.__doc__ or ""), f"{name} has no example, which pytest would run"
    own = inspect.signature(value.__init__).parameters.keys() - {"self"}
    assert len(own) <= MOST_PARAMETERS, f"{name} has {len(own)} parameters; nest some of them"


# --- docstrings ---

# numpydoc's checks of content; its checks of taste (capitals, full stops, "See Also") are left out.
CHECKS = {
    "GL03",  # two blank lines
    "GL06",  # unknown section
    "GL07",  # order of sections
    "GL08",  # no docstring
    "PR01",  # parameter not documented
    "PR02",  # unknown parameter documented
    "PR03",  # order of parameters
    "PR04",  # no type
    "PR07",  # no description
    "PR10",  # no space before the colon
    "RT01",  # no Returns section
    "SS01",  # no summary
    "YD01",  # no Yields section
}


def public_objects() -> dict[str, object]:
    """Full name -> object, for all public functions, classes and methods of ours.

    What overrides a method of a public contract has its parameters documented there.
    """
    contracts = (
        skxmc.evidence.Evidence,
        skxmc.indexes.Index,
        skxmc.objectives.HeadLoss,
        skxmc.objectives.Objective,
    )
    found = {}
    for home in (skxmc, *(getattr(skxmc, room) for room in PUBLIC_ROOMS)):
        for name in home.__all__:
            value = getattr(home, name)
            if not callable(value):
                continue
            found[f"{home.__name__}.{name}"] = value
            for attribute in dir(value) if inspect.isclass(value) else ():
                method = inspect.getattr_static(value, attribute)
                method = getattr(method, "__func__", getattr(method, "fget", method))
                own = str(getattr(method, "__module__", "")).startswith("skxmc")
                overrides = any(
                    contract in value.__mro__[1:] and hasattr(contract, attribute)
                    for contract in contracts
                )
                public = own and inspect.isfunction(method) and not attribute.startswith("_")
                if public and not overrides:
                    found[f"{home.__name__}.{name}.{attribute}"] = method
    return found


PUBLIC = public_objects()


@pytest.mark.parametrize("name", PUBLIC)
def test_public_docstrings_are_complete(name):
    # A family may refer to the first of its functions for the parameters that they share.
    refers = re.search("As (for|in) :(func|meth):`", PUBLIC[name].__doc__ or "")
    checks = CHECKS - {"PR03", "PR04"} if refers else CHECKS
    errors = [f"{code} {text}" for code, text in validate(name)["errors"] if code in checks]
    assert not errors, f"{name}:\n" + "\n".join(errors)


# --- optional packages ---


def optional_imports() -> set[tuple[str, str | None]]:
    """All pairs (module, extra) that the package passes to import_optional as literals."""
    found = set()
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_optional"):
                values = [*node.args, *(keyword.value for keyword in node.keywords)]
                literals = [value.value for value in values if isinstance(value, ast.Constant)]
                if literals:
                    module, extra = (*literals, None)[:2]
                    found.add((module, extra))
    return found


@pytest.mark.parametrize(("module", "extra"), sorted(optional_imports(), key=str))
def test_missing_optional_package_says_what_to_install(module, extra, monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extra is None or extra in project["optional-dependencies"]
    # None in sys.modules is how Python itself marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=re.escape(module.partition(".")[0])) as caught:
        import_optional(module, extra)
    assert "install" in str(caught.value)
    assert extra is None or extra in str(caught.value)


def test_extras_and_core_dependencies_are_as_promised():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]}
    assert core == {
        "faiss-cpu",
        "joblib",
        "numpy",
        "peft",
        "pillow",
        "safetensors",
        "scikit-learn",
        "scipy",
        "sentence-transformers",
        "tokenizers",
        "torch",
        "tqdm",
        "transformers",
    }
    extras = {"annif", "bench", "demo", "dev", "docs", "gpu", "offline", "open_clip", "openvino"}
    assert set(project["optional-dependencies"]) == extras | {
        "completion",
        "images",
        "mlflow",
        "parquet",
        "pgvector",
        "qdrant",
        "ray",
        "river",
        "serve",
        "spark",
        "test",
    }
