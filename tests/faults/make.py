"""What goes wrong with `make book`, tried with Jupyter Book itself on a book of two pages.

Ends by itself, within a minute on an idle machine. The tests of the Makefile have stubs in
place of the programs.

python tests/faults/make.py (in the book's own virtual environment)
"""

import atexit
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import nbformat
import psutil

ROOT = pathlib.Path(__file__).parent.parent.parent
CONFIG = """
title: Two pages
only_build_toc_files: true
execute: {execute_notebooks: cache, timeout: 600, stderr_output: warn, run_in_temp: false}
sphinx: {config: {nb_execution_raise_on_error: true}}
"""
SLOW = "import os\nopen('kernel', 'w').write(str(os.getpid()))\nimport time\ntime.sleep(60)"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        shutil.copy(ROOT / "requirements.txt", folder)
        # No Python but false: nothing can be installed from here.
        makefile = (ROOT / "Makefile").read_text()
        (folder / "Makefile").write_text(makefile.replace("?= python3\n", "?= false\n"))
        shutil.copytree(ROOT / "tools", folder / "tools")
        for part in ["fedbook", "benchmarks/results", "notebooks"]:
            (folder / part).mkdir(parents=True)
        # A virtual environment of its own, whose programs call those of the real one: whatever
        # make may do to it, the real one stays as it is.
        (folder / ".venv/bin").mkdir(parents=True)
        for program in ["python", "jupyter-book"]:
            script = folder / ".venv/bin" / program
            script.write_text(f"#!/bin/sh\nexec '{sys.prefix}/bin/{program}' \"$@\"\n")
            script.chmod(0o755)
        (folder / ".venv/pyvenv.cfg").touch()
        (folder / ".venv/installed").touch()
        (folder / "_config.yml").write_text(CONFIG)
        (folder / "_toc.yml").write_text(
            "format: jb-book\nroot: index\nchapters: [{file: notebooks/1}, {file: notebooks/2}]\n"
        )
        try_all(folder)


def try_all(folder: pathlib.Path) -> None:
    write(folder / "notebooks/1.ipynb", "1 + 1")
    write(folder / "notebooks/2.ipynb", SLOW)
    (folder / "index.md").write_text("# Two pages\n\n[This page](missing.md) is not there.\n")

    begin = time.monotonic()
    process = start(folder)
    lines = iter(process.stdout.readline, "")
    output = "".join(take_until(lines, "executed notebooks/1.ipynb"))
    kernel = folder / "notebooks/kernel"
    wait_for(kernel.exists)
    begin_of_end = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does for Ctrl-C
    output += process.communicate(timeout=30)[0]
    seconds = time.monotonic() - begin_of_end
    check("Ctrl-C ends make book within 10 s", process.returncode != 0 and seconds < 10, output)
    wait_for(lambda: not psutil.pid_exists(int(kernel.read_text())))
    check("it says what is kept", "are kept for the next make book" in output, output)

    # matplotlib, IPython and Jupyter warn on stderr, which no page may show.
    write(folder / "notebooks/2.ipynb", "import matplotlib.pyplot as plt\nplt.plot([1]);")
    for attempt in ["first", "second"]:
        code, output = make(folder, HOME="/proc/nobody")
        kept = "executed notebooks/1.ipynb" not in output
        check(f"a broken link fails the {attempt} build", code == 2 and "missing" in output, output)
        check("what was finished is kept", kept, output)
    check("the warning is the only one", output.count("WARNING") == 1, output)

    (folder / "index.md").write_text("# Two pages\n\n[This page](notebooks/1) is there.\n")
    code, output = make(folder, HOME="/proc/nobody")
    check("once it is mended the build succeeds", code == 0, output)
    print(f"all as it should be, after {time.monotonic() - begin:.0f} s")


def write(path: pathlib.Path, code: str) -> None:
    title = nbformat.v4.new_markdown_cell("# A chapter")
    notebook = nbformat.v4.new_notebook(cells=[title, nbformat.v4.new_code_cell(code)])
    # With the IDs that nbformat draws each writing would be another notebook.
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    nbformat.write(notebook, path)


def default_signals() -> None:
    """In the background of a script, or under nohup, a program inherits ignored signals."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(folder: pathlib.Path, **environment: str) -> subprocess.Popen:
    mine = ("PYTHON", "VENV", "FEDBOOK_SCALE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    clean = {name: value for name, value in os.environ.items() if name not in mine}
    process = subprocess.Popen(
        ["make", "book"],
        cwd=folder,
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=default_signals,
    )
    atexit.register(end, process)
    return process


def make(folder: pathlib.Path, **environment: str) -> tuple[int, str]:
    process = start(folder, **environment)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def end(process: subprocess.Popen) -> None:
    """Ends a make that a failed check has left behind; its kernels end with it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def take_until(lines, wanted: str):
    for line in lines:
        yield line
        if wanted in line:
            return
    raise RuntimeError(f"make book ended before it said {wanted!r}.")


def wait_for(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("This did not come to pass within 20 s.")
        time.sleep(0.05)


def check(what: str, holds: bool, output: str) -> None:
    if not holds:
        sys.exit(f"NOT SO: {what}. What make printed:\n{output}")
    print(f"{what}: yes", flush=True)


if __name__ == "__main__":
    main()
