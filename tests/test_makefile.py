"""What the Makefile decides: in a copy of it, with stubs for all that it calls."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import psutil
import pytest

ROOT = pathlib.Path(__file__).parent.parent

# In place of every Python: it notes what it is asked for and makes what looks like a virtual
# environment. Of two installations at once one would find the other's folder, or lose its own.
PYTHON = r"""#!/bin/sh
case "$*" in
"-c "*) echo "Python $(cat "$0.version")" ;;
"tools/check_machine.py "*) sleep 0.2 ;;
"-m venv "*)
  mkdir "$3" "$3/bin" || exit 1
  touch installing
  while test -e hold; do sleep 0.05; done
  echo "command = $0 -m venv $(pwd -P)/$3" >"$3/pyvenv.cfg"
  cp "$0" "$3/bin/python" && cp "$0.version" "$3/bin/python.version" || exit 1
  cp jupyter-book "$3/bin" || exit 1
  ;;
"-m pip "*"-r requirements.txt") echo "installed with Python $(cat "$0.version")" >>log ;;
esac
"""

# Like Sphinx it finds a fault only in a page that it reads, not in one that it remembers.
JUPYTER_BOOK = r"""#!/bin/sh
env >environment
test -e _build/.doctrees && exit
mkdir -p _build/.doctrees _build/html
echo read >>log
test ! -e broken
"""


@pytest.fixture
def book(tmp_path) -> pathlib.Path:
    folder = tmp_path / "with a space"
    folder.mkdir()
    for name in ["Makefile", "requirements.txt"]:
        shutil.copy(ROOT / name, folder)
    for name in ["fedbook", "benchmarks/results", "evidence", "notebooks"]:
        (folder / name).mkdir(parents=True)
    for version in ["3.11", "3.12"]:
        write_program(folder / f"python{version}", PYTHON)
        (folder / f"python{version}.version").write_text(version)
    write_program(folder / "jupyter-book", JUPYTER_BOOK)
    shutil.copy(folder / "python3.11", folder / "python3")
    (folder / "python3.version").write_text("3.11")
    return folder


def write_program(path: pathlib.Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def start(folder: pathlib.Path, *arguments: str, **environment: str) -> subprocess.Popen:
    # The suite may itself have been started by make.
    mine = ("PYTHON", "VENV", "FEDBOOK_SCALE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MPLCONFIGDIR")
    clean = {name: value for name, value in os.environ.items() if name not in mine}
    return subprocess.Popen(
        ["make", *arguments],
        cwd=folder,
        env=clean | {"PATH": f"{folder}:{os.environ['PATH']}"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def make(folder: pathlib.Path, *arguments: str, **environment: str) -> tuple[int, str]:
    process = start(folder, *arguments, **environment)
    output, _ = process.communicate(timeout=30)
    return process.returncode, output


def log(folder: pathlib.Path) -> list[str]:
    return (folder / "log").read_text().splitlines() if (folder / "log").exists() else []


def wait_for(path: pathlib.Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was not made."
        time.sleep(0.05)


def test_a_failed_build_fails_until_it_is_mended(book):
    (book / "broken").touch()
    for _ in range(2):
        assert make(book, "book")[0] == 2
    (book / "broken").unlink()
    assert make(book, "book")[0] == 0
    assert log(book).count("read") == 3
    assert make(book, "book")[0] == 0
    assert log(book).count("read") == 3  # a page that was right is remembered


@pytest.mark.parametrize("scale", ["garbage", "", "quick full", "QUICK"])
def test_an_unknown_scale_removes_nothing(scale, book):
    assert make(book, "book")[0] == 0
    (book / "_build/html/index.html").touch()
    code, output = make(book, "book", FEDBOOK_SCALE=scale)
    assert code == 2
    assert f"FEDBOOK_SCALE is '{scale}'; it must be one of quick, full" in output
    assert (book / "_build/html/index.html").exists()


def test_an_unknown_scale_installs_nothing(book):
    assert make(book, "book", FEDBOOK_SCALE="garbage")[0] == 2
    assert not log(book)


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_a_scale(scale, book):
    assert make(book, "book", FEDBOOK_SCALE=scale)[0] == 0
    assert f"FEDBOOK_SCALE={scale}" in (book / "environment").read_text().splitlines()


NAMES = ["MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"]
NAMES += ["JUPYTER_RUNTIME_DIR"]


def folders_of(book: pathlib.Path) -> dict[str, str]:
    lines = (book / "environment").read_text().splitlines()
    every = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: every[name] for name in NAMES if name in every}


def test_caches_lie_under_build_where_home_cannot_be_written(book):
    assert make(book, "book", HOME="/proc/nobody")[0] == 0
    found = folders_of(book)
    assert sorted(found) == sorted(NAMES)
    assert len(set(found.values())) == len(NAMES)
    assert all(path.startswith(f"{book}/_build/home/") for path in found.values())
    assert (book / "_build/home").is_dir()  # IPython makes its folder, but not the one above


def test_caches_lie_where_the_reader_says_or_in_home(book, tmp_path):
    (tmp_path / "home").mkdir()
    assert make(book, "book", HOME=str(tmp_path / "home"))[0] == 0
    assert "MPLCONFIGDIR" not in folders_of(book) and not (book / "_build/home").exists()
    assert make(book, "book", HOME="/proc/nobody", MPLCONFIGDIR="/somewhere")[0] == 0
    assert folders_of(book)["MPLCONFIGDIR"] == "/somewhere"


NO_FLOCK = shutil.which("flock") is None


@pytest.mark.skipif(NO_FLOCK, reason="There is no flock on this machine.")
@pytest.mark.parametrize("second", ["book", ".venv/installed"])
def test_of_two_at_once_one_waits_and_finds_it_done(second, book):
    (book / "hold").touch()
    first = start(book, "book")
    wait_for(book / "installing")
    other = start(book, second)
    # It says so while the first is at work; were it not to wait, it would end and say no more.
    assert "Waiting for another make in this folder.\n" in iter(other.stdout.readline, "")
    (book / "hold").unlink()
    outputs = [process.communicate(timeout=30)[0] for process in (first, other)]
    assert [first.returncode, other.returncode] == [0, 0], outputs
    assert log(book) == ["installed with Python 3.11", "read"]


def test_without_flock_it_is_done_too(book):
    assert make(book, "book", "FLOCK=")[0] == 0
    assert log(book) == ["installed with Python 3.11", "read"]


def begin_to_sleep(book: pathlib.Path) -> tuple[subprocess.Popen, int]:
    """Returns a make whose jupyter-book sleeps, and the number of the process that does."""
    make(book, "book")
    program = "#!/bin/sh\necho $$ >part && mv part sleeper\nexec sleep 30\n"
    write_program(book / ".venv/bin/jupyter-book", program)
    process = start(book, "book")
    wait_for(book / "sleeper")
    return process, int((book / "sleeper").read_text())


def test_a_build_that_was_killed_remembers_nothing(book):
    process, _ = begin_to_sleep(book)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    write_program(book / ".venv/bin/jupyter-book", JUPYTER_BOOK)
    assert make(book, "book")[0] == 0
    assert log(book).count("read") == 2


def test_a_signal_to_make_ends_all(book):
    process, sleeper = begin_to_sleep(book)
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode != 0 and not psutil.pid_exists(sleeper)


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_in_a_folder_that_was_moved_or_copied_it_is_made_anew(how, book):
    assert make(book, "book")[0] == 0
    other = book.parent / "other"
    how(str(book), str(other))
    (other / "log").unlink()
    code, output = make(other, "book")
    assert code == 0
    assert ".venv was made in another folder. It is made anew." in output
    assert "installed with Python 3.11" in log(other)
    assert "made anew" not in make(other, "book")[1]


def test_through_a_link_to_its_folder_it_stays(book):
    assert make(book, "book")[0] == 0
    (book.parent / "link").symlink_to(book)
    assert "made anew" not in make(book.parent / "link", "book")[1]
    assert "made anew" not in make(book, "book", "VENV=./.venv")[1]


def test_of_another_python_that_is_named_it_is_made_anew(book):
    assert make(book, "book", "PYTHON=python3.11")[0] == 0
    code, output = make(book, "book", "PYTHON=python3.12")
    assert code == 0
    assert ".venv has Python 3.11, and PYTHON is Python 3.12. It is made anew." in output
    # Without a name, or with the same one, it stays as it is.
    for arguments in [(), ("PYTHON=python3.12",)]:
        assert "made anew" not in make(book, "book", *arguments)[1]
    assert "is Python 3.11. It is made anew." in make(book, "book", PYTHON="python3.11")[1]


def test_a_python_that_is_not_there_removes_nothing(book):
    assert make(book, "book")[0] == 0
    code, output = make(book, "book", "PYTHON=python3.99")
    assert code == 2 and "python3.99" in output
    assert (book / ".venv/installed").exists()
    assert make(book, "book")[0] == 0
    assert [line for line in log(book) if line != "read"] == ["installed with Python 3.11"]


def test_when_its_python_is_gone_it_is_made_anew(book):
    assert make(book, "book")[0] == 0
    (book / ".venv/bin/python").unlink()
    code, output = make(book, "book")
    assert code == 0
    assert "The Python that .venv was made with is gone. It is made anew." in output
