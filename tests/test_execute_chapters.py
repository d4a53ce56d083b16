"""The book's chapters, executed side by side: each once, and none that fails."""

import importlib.util
import pathlib

import nbformat
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
