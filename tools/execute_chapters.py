"""Executes the chapters side by side, for the book that `make book` builds from them.

Jupyter Book takes the outputs of a notebook from the cache that this fills, and by itself
executes one chapter after the other. A chapter whose code has not changed stays as it is.
A chapter that fails or writes to stderr ends the run at once, and is not kept. Neither is one
that is executed when Ctrl-C or a signal ends the run. What was finished before is kept.

python tools/execute_chapters.py CACHE NOTEBOOK [NOTEBOOK ...]
"""

import concurrent.futures
import contextlib
import os
import pathlib
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from nbclient import NotebookClient
from sqlalchemy.exc import SQLAlchemyError

MOST = 4  # each takes a GB of memory or more
TIMEOUT = 600  # seconds a cell, as in _config.yml
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Chapters:
    """Notebooks in execution, each in a thread and a kernel of its own, that end together."""

    def __init__(self):
        self._clients: list[NotebookClient] = []
        self._ended = threading.Event()

    def execute(
        self, path: pathlib.Path, notebook: nbformat.NotebookNode, timeout: int
    ) -> tuple[nbformat.NotebookNode, float]:
        """Returns the notebook at `path` with its outputs, and the seconds it took.

        Raises:
          RuntimeError: if a cell wrote to stderr, which no page of the book may show.
        """
        start = time.perf_counter()
        client = NotebookClient(
            notebook,
            timeout=timeout,
            resources={"metadata": {"path": str(path.parent)}},
            record_timing=False,  # cells with times in them are others, to the cache
        )
        self._clients.append(client)
        try:
            if self._ended.is_set():
                raise concurrent.futures.CancelledError
            client.execute()
            if text := stderr_of(notebook):
                raise RuntimeError(f"A chapter may not write to stderr. This one wrote:\n{text}")
        except Exception as error:
            error.add_note(f"while executing {path}")
            raise
        return notebook, time.perf_counter() - start

    def end(self) -> None:
        """Kills the kernels, and with each kernel what it has started.

        To be called again while a chapter has not ended: its kernel may just have started.
        """
        self._ended.set()
        for client in self._clients:
            process = getattr(getattr(client.km, "provisioner", None), "process", None)
            if process is not None and process.poll() is None:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.killpg(process.pid, signal.SIGKILL)  # jupyter_client gives it a group


def stderr_of(notebook: nbformat.NotebookNode) -> str:
    """What the cells of a notebook wrote to stderr."""
    return "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
    )


def open_cache(folder: str) -> JupyterCacheAbstract:
    """Returns the cache in `folder`, emptied if its index cannot be read."""
    cache = get_cache(folder)
    try:
        cache.list_cache_records()
    except (SQLAlchemyError, RuntimeError) as error:  # RuntimeError: jupyter-cache's own
        if "locked" in str(error.__cause__ or error):  # by another build: whole, but in use
            raise
        print(f"{folder} is damaged and is emptied: {str(error).splitlines()[0]}", flush=True)
        shutil.rmtree(folder)
        cache = get_cache(folder)
    return cache


def is_kept(cache: JupyterCacheAbstract, path: pathlib.Path) -> bool:
    """Whether the cache holds the executed notebook; a damaged entry is thrown away."""
    notebook = nbformat.read(path, as_version=4)
    try:
        cache.match_cache_notebook(notebook)
    except KeyError:  # how jupyter-cache says that it has not got it
        return False
    try:
        _, executed = cache.merge_match_into_notebook(notebook)
    # A file that is cut off is no JSON, or not UTF-8, or has too few cells; or it is gone.
    except (KeyError, IndexError, ValueError, nbformat.ValidationError) as error:
        print(f"what is kept of {path} is damaged and is made anew: {error!r:.200}", flush=True)
    else:
        if not stderr_of(executed):  # an earlier version of this program kept such ones too
            return True
    forget(cache, notebook)
    return False


def keep(
    cache: JupyterCacheAbstract, notebook: nbformat.NotebookNode, path: pathlib.Path, seconds: float
) -> None:
    """Puts an executed notebook into the cache, whole or not at all."""
    bundle = CacheBundleIn(notebook, str(path), data={"execution_seconds": seconds})
    try:
        cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    except BaseException as error:
        forget(cache, notebook)
        error.add_note(f"while writing what {path} printed into {cache.path}")
        raise


def forget(cache: JupyterCacheAbstract, notebook: nbformat.NotebookNode) -> None:
    """Removes what the cache's folder holds of a notebook; its index may still name it."""
    _, key = cache.create_hashed_notebook(notebook)
    shutil.rmtree(cache.path / "executed" / key, ignore_errors=True)


def main(folder: str, *names: str) -> None:
    """Executes the notebooks that the cache in `folder` does not hold yet, into the cache."""
    cache = open_cache(folder)
    paths = [path for path in map(pathlib.Path, names) if not is_kept(cache, path)]

    def save(path: pathlib.Path, notebook: nbformat.NotebookNode, seconds: float) -> None:
        keep(cache, notebook, path, seconds)
        print(f"executed {path} in {seconds:.0f} s", flush=True)

    execute_side_by_side([(path, path, nbformat.read(path, as_version=4)) for path in paths], save)


def execute_side_by_side(
    jobs: Sequence[tuple[Any, pathlib.Path, nbformat.NotebookNode]],
    keep_result: Callable[[Any, nbformat.NotebookNode, float], None],
    timeout: int = TIMEOUT,
) -> None:
    """Executes notebooks, as many at a time as there are cores, each in its own kernel.

    Args:
      jobs: for each a key, the path in whose folder it runs, and the notebook.
      keep_result: is called with the key, the executed notebook and its seconds, as soon as it has
        ended, in this thread. If a notebook fails, or Ctrl-C ends the run, what has ended is kept.
      timeout: of a cell, seconds.
    """
    chapters = Chapters()
    with concurrent.futures.ThreadPoolExecutor(min(MOST, os.cpu_count() or 1)) as pool:
        running = {
            pool.submit(chapters.execute, path, notebook, timeout): key
            for key, path, notebook in jobs
        }
        unsaved = set(running)

        def save(done: concurrent.futures.Future) -> None:
            unsaved.remove(done)
            keep_result(running[done], *done.result())

        try:
            for done in concurrent.futures.as_completed(running):
                save(done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in running):
                chapters.end()
                concurrent.futures.wait(running, timeout=0.2)
            # A neighbour may have finished in the same moment.
            for done in list(unsaved):
                if not done.cancelled() and done.exception() is None:
                    save(done)
            raise


def interrupt(number: int, frame: object) -> None:
    """Makes any signal that ends a process what Ctrl-C is, and lets no other one follow."""
    for end in ENDS:
        signal.signal(end, signal.SIG_IGN)
    raise KeyboardInterrupt


def listen_to_signals() -> None:
    """Makes each signal that ends a process end this one as Ctrl-C does."""
    for number in ENDS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup, and a shell's `&`, set this
            signal.signal(number, interrupt)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python tools/execute_chapters.py CACHE NOTEBOOK [NOTEBOOK ...]")
    listen_to_signals()
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("Interrupted. Chapters that were finished are kept for the next make book.")
