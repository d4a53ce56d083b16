"""Every chapter in the likeness of a Colab runtime; `make test-colab` runs this.

COLAB_PYTHON is the interpreter of an environment that holds a runtime's packages in
its versions, and COLAB_LIST the file that names them. The tests run in order: they
start from the runtime as it is delivered, run the setup cell and the chapters in
kernels of it, and end by comparing versions. What was installed before and after, and
the seconds, go to _build/colab/NAME.json.

The chapters are those of a copy of the repository for which a publisher ran
``make repository URL=...`` and which holds the tag of the release; git is told that the
address leads to that copy.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
SITE = pathlib.Path(__file__).parent / "site"
PYTHON = os.environ["COLAB_PYTHON"]
LIST = pathlib.Path(os.environ["COLAB_LIST"])
CHAPTERS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
SETUP_SECONDS = 60
RECORD = ROOT / "_build" / "colab" / f"{LIST.stem}.json"

sys.path.insert(0, str(ROOT / "tools"))
import hosted_setup  # noqa: E402
import set_repository  # noqa: E402

URL = "https://github.com/some-one/fedbook"
VERSION = set_repository.version((ROOT / "fedbook" / "__init__.py").read_text())


def versions() -> dict[str, str]:
    """What is installed in the runtime."""
    code = (
        "import importlib.metadata as m, json, re;"
        "print(json.dumps({re.sub('[-_.]+', '-', d.name).lower(): d.version "
        "for d in m.distributions()}))"
    )
    return json.loads(
        subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> pathlib.Path:
    """A clone of this checkout as a publisher makes it: with an address, and a tag."""
    clone = tmp_path_factory.mktemp("published") / "repository"
    git = ["git", "-C", str(clone), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    subprocess.run([sys.executable, str(clone / "tools" / "set_repository.py"), URL], check=True)
    subprocess.run([*git, "commit", "--quiet", "--all", "--message", "Release"], check=True)
    subprocess.run([*git, "tag", "--force", f"v{VERSION}"], check=True)
    # What comes after the release is not what a chapter clones.
    subprocess.run([*git, "rm", "-r", "--quiet", "tools"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "After it"], check=True)
    return clone


@pytest.fixture(scope="module", autouse=True)
def kernel(tmp_path_factory, published):
    """A kernel called "colab" that runs in the runtime, with Colab's environment."""
    folder = tmp_path_factory.mktemp("jupyter")
    (folder / "kernels" / "colab").mkdir(parents=True)
    (folder / "kernels" / "colab" / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": "Colab",
                "language": "python",
                "env": {
                    "COLAB_RELEASE_TAG": "release-colab-test",
                    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
                    "PYTHONPATH": str(SITE),
                    "PATH": f"{pathlib.Path(PYTHON).parent}:{os.environ['PATH']}",
                    "TMPDIR": str(folder),
                    # The repository's address leads to the copy.
                    "GIT_CONFIG_COUNT": "1",
                    "GIT_CONFIG_KEY_0": f"url.{published.as_uri()}.insteadOf",
                    "GIT_CONFIG_VALUE_0": URL,
                },
            }
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        for name in os.environ:
            if name.startswith(("TF_", "FEDBOOK_", "TQDM_")):
                patch.delenv(name)
        yield
    # %tensorboard leaves its server running, and a file about it where TMPDIR says.
    for about in folder.glob(".tensorboard-info/*.info"):
        os.kill(json.loads(about.read_text())["pid"], signal.SIGTERM)


@pytest.fixture(scope="module")
def record():
    """What the tests note, written to RECORD at the end."""
    notes = {"list": str(LIST), "before": dict(DELIVERED), "seconds": {}}
    yield notes
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(notes | {"after": versions()}, indent=1, sort_keys=True) + "\n")


def execute(cells, folder: pathlib.Path) -> list:
    """Runs cells in a new kernel of the runtime, started in `folder`, and returns them."""
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(
        notebook, kernel_name="colab", timeout=600, resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook.cells


def code(source: str):
    return nbformat.v4.new_code_cell(source)


def text(cell, stream: str = "stdout") -> str:
    return "".join(output.text for output in cell.outputs if output.get("name") == stream)


def setup_cell(repository: pathlib.Path):
    notebook = nbformat.read(repository / "notebooks" / CHAPTERS[0], as_version=4)
    return code(next(cell.source for cell in notebook.cells if cell.cell_type == "code"))


DELIVERED = versions()


@pytest.fixture
def clone(tmp_path):
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tmp_path / "repository")], check=True)
    return tmp_path / "repository"


def test_the_runtime_is_as_delivered():
    extra = DELIVERED.keys() - {"pip"} - dict(listed()).keys()
    if extra:
        subprocess.run([PYTHON, "-m", "pip", "uninstall", "--quiet", "--yes", *extra], check=True)
        DELIVERED.clear()
        DELIVERED.update(versions())
    assert {name: DELIVERED[name] for name, _ in listed()} == dict(listed())
    assert not set(hosted_setup.NEEDED) <= DELIVERED.keys()


def listed() -> list[tuple[str, str]]:
    return re.findall(r"^([\w-]+)==(\S+)$", LIST.read_text(), re.M)


def test_the_setup_cell_in_a_notebook_that_was_opened_alone(tmp_path, published, record):
    start = time.monotonic()
    google, cell, after = execute(
        [code("import google.colab"), setup_cell(published), code("import fedbook")], tmp_path
    )
    seconds = time.monotonic() - start
    record["seconds"]["setup cell, kernel start and first import"] = seconds
    missing = [name for name in hosted_setup.NEEDED if name not in DELIVERED]
    assert text(cell) == f"fedbook is ready; installed {', '.join(missing)}.\n"
    assert [c.outputs for c in (google, after)] == [[], []] and text(cell, "stderr") == ""
    assert seconds < SETUP_SECONDS
    print(f"setup cell, kernel start and first import: {seconds:.0f} s")


def test_the_setup_cell_of_a_book_without_an_address_says_what_to_do(tmp_path):
    slug = f"{set_repository.PLACEHOLDER}/fedbook"
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="run `make repository URL="):
        execute([code(set_repository.setup_cell(slug, VERSION))], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_setup_cell_a_second_time_and_from_a_clone(clone):
    where = code("import fedbook; print(fedbook.__file__)")
    cell, again, after = execute([setup_cell(clone), setup_cell(clone), where], clone / "notebooks")
    assert text(cell) == text(again) == "fedbook is ready; installed nothing, all was there.\n"
    assert pathlib.Path(text(after).strip()) == clone / "fedbook" / "__init__.py"


@pytest.mark.parametrize("first", ["import tensorflow as tf; tf.keras.Model", "import keras"])
def test_tensorflow_or_keras_before_the_setup_cell_says_restart(clone, first):
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="Restart session"):
        execute([code(first), setup_cell(clone)], clone / "notebooks")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter(chapter, tmp_path, published, record):
    start = time.monotonic()
    notebook = nbformat.read(published / "notebooks" / chapter, as_version=4)
    cells = [cell for cell in execute(notebook.cells, tmp_path) if cell.cell_type == "code"]
    record["seconds"][pathlib.Path(chapter).stem] = time.monotonic() - start
    assert {cell.id: said for cell in cells if (said := text(cell, "stderr"))} == {}


def test_no_package_of_the_runtime_was_changed():
    now = versions()
    assert {name: now.get(name) for name in DELIVERED} == DELIVERED
    assert now.keys() - DELIVERED.keys() <= set(hosted_setup.NEEDED)
