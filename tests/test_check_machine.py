"""What `make` says on a machine where fedbook cannot be installed."""

import ast
import importlib.util
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PATH = ROOT / "tools" / "check_machine.py"
spec = importlib.util.spec_from_file_location("check_machine", PATH)
check_machine = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_machine)

GOOD = ("Linux", "x86_64", (3, 12), ("glibc", "2.36"))


def problem(**changes):
    names = ("system", "machine", "version", "libc")
    return check_machine.problem(**(dict(zip(names, GOOD)) | changes))


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_supported(version):
    assert problem(version=version) is None


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"version": (3, 10)}, ["3.11, 3.12 and 3.13", "Python 3.10", "make PYTHON="]),
        ({"version": (3, 14)}, ["3.11, 3.12 and 3.13", "Python 3.14"]),
        ({"system": "Windows", "machine": "AMD64"}, ["Windows", "WSL2"]),
        ({"system": "Darwin", "machine": "arm64"}, ["Darwin", "arm64", "x86-64"]),
        ({"machine": "aarch64"}, ["aarch64", "x86-64"]),
        ({"libc": ("glibc", "2.28")}, ["glibc 2.31", "glibc 2.28"]),
        ({"libc": ("", "")}, ["glibc 2.31", "another C library"]),
    ],
)
def test_unsupported_says_what_is_and_what_to_use(changes, words):
    message = problem(**changes)
    assert all(word in message for word in words), message


def test_no_venv_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert "python3.12-venv" in problem()


def test_an_old_python_can_read_it():
    # ast knows the grammar back to 3.7; what Python 2.7 cannot read is looked for by name.
    tree = ast.parse(PATH.read_text(), feature_version=(3, 7))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef)
    assert not [node for node in ast.walk(tree) if isinstance(node, newer)]


@pytest.fixture
def disks(monkeypatch):
    """Sets the disk of each folder, by how its path begins, and the MB that are free there."""

    def set_disks(**free):
        def disk_of(folder):
            return next(name for name in free if str(folder).startswith(f"/{name}"))

        monkeypatch.setattr(check_machine, "disk_of", disk_of)
        monkeypatch.setattr(check_machine, "free_mb", lambda folder: free[disk_of(folder)])

    return set_disks


def missing_room(clone="/one/clone", temporary="/two/tmp"):
    return check_machine.missing_room([("the book", clone, 3500), (TEMPORARY, temporary, 1100)])


TEMPORARY = check_machine.TEMPORARY


def test_room_on_two_disks(disks):
    disks(one=3500, two=1100)
    assert missing_room() is None
    disks(one=3499, two=10**6)
    assert missing_room() == (
        "The installation needs 3.5 GB on the disk of the book (/one/clone), and 3.4 GB are free "
        "there. Make room."
    )
    disks(one=10**6, two=0)
    assert missing_room() == (
        "The installation needs 1.1 GB on the disk of the temporary folder (/two/tmp), and 0.0 GB "
        "are free there. Make room, or set TMPDIR to a folder on another disk."
    )


def test_what_lies_on_one_disk_is_added_up(disks):
    disks(one=4600)
    assert missing_room(temporary="/one/tmp") is None
    disks(one=4500)
    message = missing_room(temporary="/one/tmp")
    assert "4.6 GB on the disk of the book (/one/clone) and the temporary folder (/one/" in message
    assert "4.5 GB are free" in message


def test_places(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(check_machine.tempfile, "tempdir", None)  # what it found before
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no cache"))
    venv = tmp_path / "not there yet" / ".venv"
    assert check_machine.places_for(str(venv)) == [
        ("the book", str(tmp_path), check_machine.INSTALLED_MB),
        (TEMPORARY, str(tmp_path / "temporary"), check_machine.DOWNLOADED_MB),
    ]
    # An old one makes room for the new one, and pip keeps what it downloads.
    venv.mkdir(parents=True)
    (venv / "library").write_bytes(bytes(2 * 10**6))
    (tmp_path / "no cache").mkdir()
    assert check_machine.places_for(str(venv)) == [
        ("the book", str(venv.parent), check_machine.INSTALLED_MB - 2),
        (TEMPORARY, str(tmp_path / "temporary"), check_machine.DOWNLOADED_MB),
        ("pip's cache", str(tmp_path / "no cache"), check_machine.DOWNLOADED_MB),
    ]


def test_a_temporary_folder_without_any_room_is_named(monkeypatch, tmp_path):
    def full():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(check_machine.tempfile, "gettempdir", full)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert check_machine.places_for(str(tmp_path / ".venv"))[1][1] == str(tmp_path)


def test_without_room_make_ends_before_anything_is_removed_or_downloaded(tmp_path):
    fake = tmp_path / "python"
    fake.write_text(
        f"#!/bin/sh\n{sys.executable} - \"$@\" <<'EOF'\n"
        "import os, runpy, sys, types\ndel sys.argv[0]\n"
        "os.statvfs = lambda folder: types.SimpleNamespace(f_bavail=10**6, f_frsize=1)\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\nEOF\n"
    )
    fake.chmod(0o755)
    venv = tmp_path / "venv"
    done = subprocess.run(
        ["make", "book", f"PYTHON={fake}", f"VENV={venv}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0 and not venv.exists()
    assert "GB on the disk of" in done.stderr and "0.0 GB are free there" in done.stderr
    assert "Traceback" not in done.stderr and "Colab" in done.stderr


def test_make_stops_before_anything_is_downloaded(tmp_path):
    fake = tmp_path / "python"
    fake.write_text(
        f"#!/bin/sh\n{sys.executable} - \"$@\" <<'EOF'\n"
        "import platform, runpy, sys\nplatform.system = lambda: 'Darwin'\ndel sys.argv[0]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\nEOF\n"
    )
    fake.chmod(0o755)
    venv = tmp_path / "venv"
    done = subprocess.run(
        ["make", "book", f"PYTHON={fake}", f"VENV={venv}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0 and not venv.exists()
    assert "Linux on x86-64 only" in done.stderr and "Colab" in done.stderr
    assert "Traceback" not in done.stderr
