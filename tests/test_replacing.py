"""The place of a saved model: one whole model at any time, and nobody else's files are touched."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from interrupted_saves import load, save
from saved_folders import rewrite

from skxmc._folders import _disk, _replacing, _temporary
from skxmc._folders._closed_folder import ClosedFolder
from skxmc._folders._manifest import METADATA, OWN, describe
from skxmc._folders._replacing import (
    NEXT,
    check_save,
    finish_interrupted,
    is_interrupted,
    replacing,
)

ROOT = Path(__file__).resolve().parents[1]
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs links and processes of POSIX")
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="exchanges on Linux only")
DEAD = 2**22 + 1  # greater than any process's number on Linux


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "place" / "model", 0)
    return tmp_path / "place" / "model"


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*"))


MODEL = ["arrays.safetensors", "skxmc.json", "tower", "tower/config.json"]


# --- files of other people ---


def test_other_files_stay(folder):
    (folder / "README.md").write_text("notes", encoding="utf-8")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref", encoding="utf-8")
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "data" / "deep" / "train.csv").touch()
    (folder / "more.index").touch()
    before = (folder / "README.md").stat()
    for number in (1, 2, 3):
        save(folder, number)
        assert load(folder) == number
        assert (folder / "README.md").stat() == before
        there = [".git", ".git/HEAD", "README.md", "data", "data/deep", "data/deep/train.csv"]
        even = ["tower/even.txt"] if number == 2 else []
        assert names(folder) == sorted([*there, "more.index", *MODEL, *even])
    assert os.listdir(folder.parent) == ["model"]


def test_model_below_a_model_stays(folder):
    save(folder / "sub", 5)
    save(folder, 1)
    assert (load(folder), load(folder / "sub")) == (1, 5)


@pytest.mark.parametrize("text", ['{"my": "settings"}', "", "[1]", '{"format": 1, "files": {}}'])
def test_file_of_the_same_name_is_no_model(text, tmp_path):
    (tmp_path / METADATA).write_text(text, encoding="utf-8")
    (tmp_path / "thesis.tex").write_text("precious", encoding="utf-8")
    for function in (check_save, lambda place: save(place, 1)):
        with pytest.raises(FileExistsError, match=r"holds no model of skxmc \(it has 'skxmc.json'"):
            function(tmp_path)
    assert names(tmp_path) == ["skxmc.json", "thesis.tex"]
    assert (tmp_path / METADATA).read_text(encoding="utf-8") == text


def test_other_files_in_folders_of_the_model_are_named(folder):
    (folder / "tower" / "notes.txt").touch()
    for function in (check_save, lambda place: save(place, 1)):
        with pytest.raises(FileExistsError, match=r"holds 'tower/notes.txt', which is not part"):
            function(folder)
    assert names(folder) == sorted([*MODEL, "tower/even.txt", "tower/notes.txt"])


def test_other_files_with_names_of_the_new_model_are_named(folder):
    (folder / "prototypes").touch()
    (folder / "new.txt").write_text("precious", encoding="utf-8")

    def write(name):
        with replacing(folder) as place:
            save(place / "whole", 1)
            for file in (place / "whole").iterdir():
                file.rename(place / file.name)
            (place / "whole").rmdir()
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).touch()
            _add_to_manifest(place, name)

    for name, clash in (("new.txt", "new.txt"), ("prototypes/x.txt", "prototypes")):
        with pytest.raises(FileExistsError, match=rf"holds '{clash}', which is not part"):
            write(name)
    assert (folder / "new.txt").read_text(encoding="utf-8") == "precious"
    assert load(folder) == 0
    assert os.listdir(folder.parent) == ["model"]


def _add_to_manifest(place, name):
    rewrite(place, lambda tree: tree["files"].update(describe(place, [name])))


def test_what_programs_leave_behind_is_no_file_of_anybody(folder):
    for name in (".DS_Store", "tower/Thumbs.db"):
        (folder / name).touch()
    check_save(folder)
    save(folder, 1)
    assert load(folder) == 1
    assert names(folder) == MODEL


@POSIX
def test_links_in_the_place_of_the_models_folders_are_not_followed(folder, tmp_path):
    shutil.move(folder / "tower", tmp_path / "elsewhere")
    (folder / "tower").symlink_to(tmp_path / "elsewhere")
    before = names(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match="is a link"):
        save(folder, 1)
    assert names(tmp_path / "elsewhere") == before


# --- places ---


def test_check_save_leaves_nothing(tmp_path):
    check_save(tmp_path / "a" / "b" / "model")
    assert names(tmp_path) == []
    (tmp_path / "empty").mkdir()
    check_save(tmp_path / "empty")
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        check_save(tmp_path / "file")
    assert names(tmp_path) == ["empty", "file"]


@LINUX
def test_models_are_exchanged(folder):
    before = folder.stat().st_ino
    os.chmod(folder, 0o750)
    save(folder, 1)
    assert folder.stat().st_ino != before
    assert folder.stat().st_mode & 0o777 == 0o750
    assert names(folder) == MODEL
    assert os.listdir(folder.parent) == ["model"]


def test_models_are_moved_in_where_nothing_can_be_exchanged(folder, monkeypatch):
    before = folder.stat().st_ino
    monkeypatch.setattr(_replacing.sys, "platform", "somewhere")
    save(folder, 1)
    assert folder.stat().st_ino == before
    assert load(folder) == 1
    assert names(folder) == MODEL
    assert os.listdir(folder.parent) == ["model"]


def test_models_work_without_locks_and_descriptors_of_folders(folder, monkeypatch):
    monkeypatch.setattr(_disk, "fcntl", None)
    monkeypatch.setattr("skxmc._folders._closed_folder._BY_DESCRIPTOR", False)
    save(folder, 1)
    assert load(folder) == 1
    (folder / "tower" / "config.json").unlink()
    (folder / "tower" / "config.json").symlink_to(folder / METADATA)
    with pytest.raises(ValueError, match=r"'tower/config.json' .* is a link"):
        load(folder)


SAVE_TWICE = """
import os, sys
from interrupted_saves import load, save

if len(sys.argv) > 2 and os.geteuid() == 0:  # as a user who need not be able to read the package
    os.setegid(int(sys.argv[2]))
    os.seteuid(int(sys.argv[2]))
save(sys.argv[1], 1)
save(sys.argv[1], 2)
print(load(sys.argv[1]))
if len(sys.argv) > 3:
    save(sys.argv[3], 1)
"""


def run(command):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@POSIX
def test_folder_in_a_parent_that_may_not_be_written_to():
    place = Path(tempfile.mkdtemp())  # others may not enter that of pytest
    try:
        own = place / "own"
        own.mkdir()
        user = 65534 if os.geteuid() == 0 else os.geteuid()
        if os.geteuid() == 0:
            os.chown(own, user, user)
        place.chmod(0o555)
        done = run([sys.executable, "-c", SAVE_TWICE, str(own), str(user), str(place / "new")])
        assert done.stdout == "2\n"
        assert "PermissionError: nothing can be written to" in done.stderr
        assert os.listdir(place) == ["own"]
        assert sorted(os.listdir(own)) == [*MODEL[:3]]
    finally:
        place.chmod(0o755)
        shutil.rmtree(place)


@pytest.mark.slow
@POSIX
def test_folder_that_is_a_mount_point(tmp_path):
    place = tmp_path / "mounted"
    place.mkdir()
    (tmp_path / "save.py").write_text(SAVE_TWICE, encoding="utf-8")
    script = (
        f"mount -t tmpfs none {place} && mkdir {place}/lost+found && "
        f"{sys.executable} {tmp_path}/save.py {place} && ls -A {place}"
    )
    if shutil.which("unshare") is None or run(["unshare", "-m", "true"]).returncode:
        pytest.skip("needs the right to mount")
    done = run(["unshare", "-m", "sh", "-c", script])
    if "mount" in done.stderr and "permission denied" in done.stderr:
        pytest.skip("needs the right to mount")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "arrays.safetensors", "lost+found", "skxmc.json", "tower"]


@POSIX
def test_other_volumes_that_look_alike_are_copied_to(folder, monkeypatch):
    (folder / "notes.txt").touch()
    rename = os.rename

    def rename_inside_only(old, new):
        if Path(old).parent != Path(new).parent:
            raise OSError(errno.EXDEV, "another volume")
        rename(old, new)

    monkeypatch.setattr(_replacing.os, "rename", rename_inside_only)
    save(folder, 1)
    assert load(folder) == 1
    assert names(folder) == [*MODEL[:1], "notes.txt", *MODEL[1:]]
    assert os.listdir(folder.parent) == ["model"]


# --- interruptions ---


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("kept", [[], ["--kept"]], ids=str)
@pytest.mark.parametrize("action", [["stop"], ["kill", "--count=20"], ["together", "--count=30"]])
def test_interrupted_and_simultaneous_saves_leave_one_whole_model(action, kept):
    done = run([sys.executable, str(ROOT / "tests" / "interrupted_saves.py"), *action, *kept])
    assert done.returncode == 0, done.stderr
    assert "one whole model each time" in done.stdout


@POSIX
def test_next_models_of_folders_from_others_move_nothing_out(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    save(tmp_path / "new", 1)
    shutil.move(tmp_path / "new", folder / NEXT)
    shutil.rmtree(folder / "tower")
    (folder / "tower").symlink_to(outside)
    with pytest.raises(ValueError, match="is a link; remove it"):
        load(folder)
    assert names(outside) == []
    (folder / "tower").unlink()
    shutil.move(folder / NEXT, outside / "next")
    (folder / NEXT).symlink_to(outside / "next")
    assert not is_interrupted(folder)
    assert "skxmc.json" in names(outside / "next")


def test_damaged_next_model_is_named(folder, tmp_path):
    (folder / NEXT).mkdir()
    (folder / NEXT / METADATA).write_text("{", encoding="utf-8")
    for function in (load, check_save, finish_interrupted):
        with pytest.raises(ValueError, match=r"was interrupted, and .*skxmc.json' is damaged"):
            function(folder)


def test_foreign_folder_under_our_name_is_not_touched(folder):
    (folder / NEXT).mkdir()
    (folder / NEXT / "precious").touch()
    with pytest.raises(FileExistsError, match="is none of a save"):
        save(folder, 1)
    assert (folder / NEXT / "precious").exists()
    assert load(folder) == 0


@POSIX
def test_leftovers_of_dead_processes_are_removed_and_no_others(folder):
    host = _temporary._HOST
    place = folder.parent
    dead = [
        place / f".model.skxmc.{host}-{DEAD}-01234567.new",
        folder / f"{OWN}{host}-{DEAD}-01234567.new",
    ]
    old = place / f".model.skxmc.{host}-{DEAD}-89abcdef.old"
    kept = [
        place / f".model.skxmc.{host}-{os.getpid()}-01234567.new",
        place / f".model.skxmc.elsewhere-{DEAD}-01234567.new",
        place / f".other.skxmc.{host}-{DEAD}-01234567.new",
        place / f".model.skxmc.{host}-{DEAD}-0123456.new",
        place / ".model.skxmc.new",
        place / "model.old",
        place / f".model.skxmc.{host}-{DEAD}-11111111.old",  # with what is not of a model
    ]
    for path in (*dead, *kept):
        path.mkdir()
        (path / "file.txt").touch()
    save(old, 3)
    link = place / f".model.skxmc.{host}-{DEAD}-22222222.new"
    link.symlink_to(place / "model.old")
    save(folder, 1)
    assert not any(path.exists() for path in (*dead, old))
    assert all((path / "file.txt").exists() for path in kept)
    assert link.is_symlink()


@POSIX
def test_leftover_is_kept_while_a_process_holds_its_lock(folder):
    path = folder.parent / f".model.skxmc.{_temporary._HOST}-{DEAD}-01234567.new"
    path.mkdir()
    with _disk.locked(path):
        save(folder, 1)
        assert path.exists()
    save(folder, 2)
    assert not path.exists()


def test_failed_save_leaves_the_old_model(folder):
    def fail():
        with replacing(folder) as place:
            (place / "half.txt").touch()
            raise KeyboardInterrupt

    for kept in (False, True):
        if kept:
            (folder / "notes.txt").touch()
        with pytest.raises(KeyboardInterrupt):
            fail()
        assert load(folder) == 0
        assert os.listdir(folder.parent) == ["model"]


# --- many at once ---


@POSIX
def test_threads_that_save_to_a_new_place_at_once(tmp_path):
    errors = []

    def work(number):
        try:
            for _ in range(5):
                save(tmp_path / "place" / "model", number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert load(tmp_path / "place" / "model") in range(4)
    assert os.listdir(tmp_path / "place") == ["model"]


@LINUX
def test_reader_that_shares_a_folder_holds_off_a_save(folder):
    import fcntl

    other = os.open(folder, os.O_RDONLY)
    with ClosedFolder(folder) as saved:
        _disk.share(saved.descriptor)
        with pytest.raises(BlockingIOError):  # this is the lock that a save takes
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert load(folder) == 0
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    save(folder, 1)
    assert load(folder) == 1


@POSIX
def test_files_are_on_the_disk_before_names_change(folder, monkeypatch):
    calls = []

    def note(name):
        function = getattr(os, name)

        def call(*arguments, **options):
            if name == "fsync":
                calls.append(("fsync", os.readlink(f"/proc/self/fd/{arguments[0]}")))
            else:
                calls.append((name, str(arguments[0])))
            return function(*arguments, **options)

        monkeypatch.setattr(_replacing.os, name, call)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs Linux to see names of open files")
    (folder / "notes.txt").touch()
    for name in ("fsync", "rename", "replace"):
        note(name)
    save(folder, 1)
    first = next(n for n, (name, _) in enumerate(calls) if name == "rename")
    flushed = {Path(path).name for name, path in calls[:first] if name == "fsync"}
    assert {*(Path(name).name for name in MODEL)} <= flushed
    assert calls[-2][0] == "replace"
    assert calls[-2][1].endswith(METADATA)
    assert calls[-1] == ("fsync", str(folder))
