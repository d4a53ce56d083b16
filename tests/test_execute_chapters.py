"""The book's chapters, executed side by side: each once, and none that fails."""

import concurrent.futures
import errno
import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from jupyter_cache import get_cache
from nbclient.exceptions import CellExecutionError

PATH = pathlib.Path(__file__).parent.parent / "tools" / "execute_chapters.py"
spec = importlib.util.spec_from_file_location("execute_chapters", PATH)
execute_chapters = importlib.util.module_from_spec(spec)
spec.loader.exec_module(execute_chapters)


def write(path: pathlib.Path, *cells: str) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, path)
    return notebook


def test_each_is_executed_in_its_folder_once_and_again_when_its_code_changes(tmp_path, capsys):
    names = [str(tmp_path / "1.ipynb"), str(tmp_path / "2.ipynb")]
    (tmp_path / "data.txt").write_text("from its folder")
    one = write(names[0], "print(open('data.txt').read())")
    write(names[1], "2 + 2", "_ + 1")
    execute_chapters.main(str(tmp_path / "cache"), *names)
    assert sorted(line.split()[1] for line in capsys.readouterr().out.splitlines()) == names
    _, executed = get_cache(tmp_path / "cache").merge_match_into_notebook(one)
    assert executed.cells[0].outputs[0].text == "from its folder\n"

    write(names[1], "2 + 3", "_ + 1")
    execute_chapters.main(str(tmp_path / "cache"), *names)
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == names[1:]


def test_one_that_fails_ends_it_and_is_not_kept(tmp_path):
    broken = write(tmp_path / "1.ipynb", "1 / 0")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError") as error:
        execute_chapters.main(str(tmp_path / "cache"), str(tmp_path / "1.ipynb"))
    assert error.value.__notes__ == [f"while executing {tmp_path / '1.ipynb'}"]
    with pytest.raises(KeyError):
        get_cache(tmp_path / "cache").match_cache_notebook(broken)


def test_a_damaged_entry_is_thrown_away(tmp_path, capsys):
    names = [str(tmp_path / f"{number}.ipynb") for number in range(4)]
    notebooks = [write(name, f"{number} + 1") for number, name in enumerate(names)]
    execute_chapters.main(str(tmp_path / "cache"), *names)
    entries = {
        tmp_path / "cache" / "executed" / get_cache(tmp_path / "cache").create_hashed_notebook(n)[1]
        for n in notebooks
    }
    assert len(entries) == 4
    # As a disk that is full leaves them: cut off, empty, no file, and no folder.
    cut_off, empty, no_file, no_folder = (entry / "base.ipynb" for entry in sorted(entries))
    cut_off.write_bytes(cut_off.read_bytes()[:100])
    empty.write_bytes(b"")
    no_file.unlink()
    no_folder.unlink()
    no_folder.parent.rmdir()
    capsys.readouterr()
    execute_chapters.main(str(tmp_path / "cache"), *names)
    lines = capsys.readouterr().out.splitlines()
    assert sum("is damaged and is made anew" in line for line in lines) == 4
    assert sum(line.startswith("executed ") for line in lines) == 4
    for number, notebook in enumerate(notebooks):
        _, executed = get_cache(tmp_path / "cache").merge_match_into_notebook(notebook)
        assert executed.cells[0].outputs[0].data["text/plain"] == str(number + 1)


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be read as one"])
def test_a_damaged_index_is_thrown_away(content, tmp_path, capsys):
    name = str(tmp_path / "1.ipynb")
    write(name, "1 + 1")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "global.db").write_bytes(content)
    execute_chapters.main(str(tmp_path / "cache"), name)
    first, second = capsys.readouterr().out.splitlines()
    assert "cache is damaged and is emptied" in first and second.startswith("executed ")


def test_an_entry_is_written_whole_or_not_at_all(tmp_path, capsys, monkeypatch):
    def fill_the_disk(path, text, **settings):
        with path.open("w") as file:
            file.write(text[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    name = str(tmp_path / "1.ipynb")
    write(name, "1 + 1")
    get_cache(tmp_path / "cache").list_cache_records()  # its index is there
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "write_text", fill_the_disk)
        with pytest.raises(OSError, match="No space left") as error:
            execute_chapters.main(str(tmp_path / "cache"), name)
    assert error.value.__notes__ == [f"while writing what {name} printed into {tmp_path / 'cache'}"]
    assert not list(tmp_path.glob("cache/executed/*"))
    execute_chapters.main(str(tmp_path / "cache"), name)
    assert "executed" in capsys.readouterr().out


def test_a_chapter_that_writes_to_stderr_is_not_kept(tmp_path):
    # Otherwise a warning of one day would stand on the page on every later one.
    name = tmp_path / "1.ipynb"
    notebook = write(name, "import sys\nprint('a warning', file=sys.stderr)")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="may not write to stderr.*\na warning") as error:
            execute_chapters.main(str(tmp_path / "cache"), str(name))
        assert error.value.__notes__ == [f"while executing {name}"]
    with pytest.raises(KeyError):
        get_cache(tmp_path / "cache").match_cache_notebook(notebook)


# In the background of a script, or under nohup, a program inherits ignored signals.
WITH_DEFAULT_SIGNALS = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def start(folder: pathlib.Path, *names: str) -> subprocess.Popen:
    return subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", "-c", WITH_DEFAULT_SIGNALS),
            *(sys.executable, PATH, folder / "cache", *(folder / name for name in names)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(file: pathlib.Path) -> bool:
    """Whether the process that wrote its number into `file` is there."""
    return psutil.pid_exists(int(file.read_text()))


# A chapter with a worker, for 60 s.
SLOW = (
    "import os, pathlib, subprocess\n"
    "worker = subprocess.Popen(['sleep', '60'])\n"
    "pathlib.Path('worker').write_text(str(worker.pid))\n"
    "pathlib.Path('kernel').write_text(str(os.getpid()))\n"
    "worker.wait()"
)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="One core executes one chapter at a time.")
def test_a_failure_ends_the_neighbours_at_once(tmp_path):
    write(tmp_path / "1.ipynb", SLOW)
    wait = "import pathlib, time\nwhile not pathlib.Path('kernel').exists(): time.sleep(0.1)"
    write(tmp_path / "2.ipynb", wait, "1 / 0")
    process = start(tmp_path, "1.ipynb", "2.ipynb", "3.ipynb")
    write(tmp_path / "3.ipynb", "1 + 1")
    wait_for((tmp_path / "kernel").exists)
    begin = time.monotonic()
    _, errors = process.communicate(timeout=50)
    assert time.monotonic() - begin < 30
    assert process.returncode == 1
    assert "ZeroDivisionError" in errors and f"while executing {tmp_path / '2.ipynb'}" in errors
    wait_for(lambda: not is_running(tmp_path / "kernel"), 2)
    wait_for(lambda: not is_running(tmp_path / "worker"), 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_at_once_and_what_is_finished_is_kept(number, tmp_path):
    write(tmp_path / "1.ipynb", "1 + 1")
    write(tmp_path / "2.ipynb", SLOW)
    process = start(tmp_path, "1.ipynb", "2.ipynb")
    line = process.stdout.readline()
    assert line.startswith(f"executed {tmp_path / '1.ipynb'}")
    wait_for((tmp_path / "kernel").exists)
    begin = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=50)
    assert time.monotonic() - begin < 20
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert errors.endswith("Chapters that were finished are kept for the next make book.\n")
    wait_for(lambda: not is_running(tmp_path / "kernel"), 2)
    wait_for(lambda: not is_running(tmp_path / "worker"), 2)

    write(tmp_path / "2.ipynb", "2 + 2")
    output, _ = start(tmp_path, "1.ipynb", "2.ipynb").communicate(timeout=50)
    assert [line.split()[1] for line in output.splitlines()] == [str(tmp_path / "2.ipynb")]


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="One core executes one chapter at a time.")
def test_a_neighbour_that_is_finished_is_kept_when_another_fails(tmp_path, monkeypatch):
    # Both are finished before the first is looked at.
    write(tmp_path / "1.ipynb", "1 / 0")
    neighbour = write(tmp_path / "2.ipynb", "1 + 1")
    real = concurrent.futures.as_completed

    def when_both_are_finished(running):
        concurrent.futures.wait(running)
        return sorted(real(running), key=lambda future: running[future])

    monkeypatch.setattr(concurrent.futures, "as_completed", when_both_are_finished)
    names = [str(tmp_path / "1.ipynb"), str(tmp_path / "2.ipynb")]
    with pytest.raises(CellExecutionError):
        execute_chapters.main(str(tmp_path / "cache"), *names)
    assert get_cache(tmp_path / "cache").match_cache_notebook(neighbour)
