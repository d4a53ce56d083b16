"""The private directories of the workers' sockets: where they are, and that they go away."""

import os
import pathlib
import stat
import tempfile

import pytest

from fedbook.runtime import socket_directory
from fedbook.runtime.socket_directory import SocketDirectory


@pytest.fixture
def make(monkeypatch):
    """Makes directories for given settings, and removes them after the test."""
    made = []

    def make(temporary: os.PathLike | str, runtime: os.PathLike | str = "") -> SocketDirectory:
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        made.append(SocketDirectory())
        return made[-1]

    yield make
    for directory in made:
        directory.remove()


@pytest.fixture
def short():
    """A folder with a shorter path than pytest's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield pathlib.Path(folder)


def test_only_the_owner_can_enter(make, short):
    directory = make(short)
    assert directory.path.parent == short
    assert directory.socket.parent == directory.path
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700


def test_the_runtime_directory_comes_first(make, short):
    (short / "run").mkdir(mode=0o700)
    assert make(short, short / "run").path.parent == short / "run"


@pytest.mark.parametrize("runtime", ["missing", "open to others"])
def test_a_runtime_directory_that_is_not_ours_alone_is_not_used(make, short, runtime):
    if runtime != "missing":
        (short / runtime).mkdir()
        (short / runtime).chmod(0o777)
    assert make(short, short / runtime).path.parent == short


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_the_path_of_a_socket_has_107_bytes_at_most(make, short, letter):
    rest = len(str(short / "fedbook-worker-12345678" / "1")) + 1
    just = short / (letter * ((107 - rest) // len(letter.encode())))
    long = short / (letter * ((107 - rest) // len(letter.encode()) + 1))
    just.mkdir()
    long.mkdir()
    assert make(just).path.parent == just
    assert make(long).path.parent == pathlib.Path("/tmp")


def test_a_relative_folder_is_made_absolute(make, short, monkeypatch):
    monkeypatch.chdir(short)
    assert make(".").path.parent == short


def test_a_folder_that_cannot_be_written_to_is_passed_over(make, short):
    (short / "file").touch()
    assert make(short / "file").path.parent == pathlib.Path("/tmp")


def test_no_place_at_all_is_an_error_that_names_the_folders(make, short, monkeypatch):
    monkeypatch.setattr(socket_directory, "_MAX_PATH_BYTES", 20)
    with pytest.raises(RuntimeError, match=f"{short}: too long.*/tmp: too long.*Set TMPDIR"):
        make(short)


def test_a_directory_whose_owner_was_killed_is_removed(make, short):
    left, new, other = (short / f"fedbook-worker-{name}" for name in ("left", "new", "other"))
    for path in (left, new):
        path.mkdir()
    other.symlink_to(short)
    in_use = make(short)
    for path in (left, in_use.path):
        os.utime(path, (0, 0))
    make(short)
    assert not left.exists()
    assert new.exists() and in_use.path.exists() and other.exists()


def test_a_directory_ends_with_its_object(short, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    path = SocketDirectory().path
    assert not path.exists()
