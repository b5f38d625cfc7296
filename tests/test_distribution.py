"""Wheel and source distribution: what is in them, and that the wheel installs."""

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from docutils.core import publish_doctree

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "skxmc"

pytestmark = pytest.mark.slow


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with wheel and source distribution."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (found,) = built.glob("*.whl")
    return found


def test_wheel_holds_the_whole_package(wheel):
    with zipfile.ZipFile(wheel) as file:
        packed = {name for name in file.namelist() if name.startswith("skxmc/")}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert packed == wanted
    assert {"skxmc/py.typed", "skxmc/serving/page.html"} <= packed


def test_description_is_valid(wheel):
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith("/METADATA"))
        metadata = message_from_bytes(file.read(name))
    assert metadata["Description-Content-Type"] == "text/x-rst"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    settings = {"halt_level": 2, "report_level": 2, "raw_enabled": False}
    publish_doctree(metadata.get_payload(decode=True).decode(), settings_overrides=settings)


def test_source_distribution_can_be_tested(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"README.rst", "LICENSE", "pyproject.toml", "Makefile", "tests/conftest.py"} <= names
    assert {"docs/conf.py", "docs/_static/icons.png", "examples/plot_fontawesome.py"} <= names
    assert not [name for name in names if name.startswith((".venv", "docs/_build"))]


def test_index_would_accept_both(built):
    if shutil.which("twine") is None:
        pytest.skip("twine is not installed")
    run("twine", "check", "--strict", *map(str, built.iterdir()))


def test_wheel_works_in_a_clean_environment(wheel, tmp_path):
    venv.create(tmp_path / "clean", with_pip=True)
    (binaries,) = (
        path for path in (tmp_path / "clean").iterdir() if path.name in ("bin", "Scripts")
    )
    python = str(binaries / "python")
    run(python, "-m", "pip", "install", "--no-index", "--no-deps", str(wheel), cwd=tmp_path)
    code = "import skxmc; print(skxmc.__version__, skxmc.__file__)"
    version, file = run(python, "-I", "-c", code, cwd=tmp_path).split()
    assert version == wheel.name.split("-")[1]
    assert str(tmp_path) in file
