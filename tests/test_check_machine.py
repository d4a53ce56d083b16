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


def test_make_stops_before_anything_is_downloaded(tmp_path):
    fake = tmp_path / "python"
    fake.write_text(
        f"#!/bin/sh\n{sys.executable} - \"$@\" <<'EOF'\n"
        "import platform, runpy, sys\nplatform.system = lambda: 'Darwin'\n"
        "runpy.run_path(sys.argv[1], run_name='__main__')\nEOF\n"
    )
    fake.chmod(0o755)
    venv = tmp_path / "venv"
    done = subprocess.run(
        ["make", "book", f"PYTHON={fake}", f"VENV={venv}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0 and not venv.exists()
    assert "Linux on x86-64 only" in done.stderr and "Colab" in done.stderr
    assert "Traceback" not in done.stderr
