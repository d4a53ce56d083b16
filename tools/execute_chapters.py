"""Executes the chapters side by side, for the book that `make book` builds from them.

Jupyter Book takes the outputs of a notebook from the cache that this fills, and by itself
executes one chapter after the other. A chapter whose code has not changed stays as it is.

python tools/execute_chapters.py CACHE NOTEBOOK [NOTEBOOK ...]
"""

import concurrent.futures
import os
import pathlib
import sys
import time

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from nbclient import NotebookClient

MOST = 4  # each takes a GB of memory or more
TIMEOUT = 600  # seconds a cell, as in _config.yml


def execute(path: pathlib.Path) -> tuple[nbformat.NotebookNode, float]:
    """Returns the notebook with its outputs, and the seconds it took."""
    notebook, start = nbformat.read(path, as_version=4), time.perf_counter()
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,  # cells with times in them are others, to the cache
    )
    try:
        client.execute()
    except Exception as error:
        error.add_note(f"while executing {path}")
        raise
    return notebook, time.perf_counter() - start


def main(folder: str, *names: str) -> None:
    """Executes the notebooks that the cache in `folder` does not hold yet, into the cache."""
    cache = get_cache(folder)
    paths = []
    for path in map(pathlib.Path, names):
        try:
            cache.match_cache_notebook(nbformat.read(path, as_version=4))
        except KeyError:  # how jupyter-cache says that it has not got it
            paths.append(path)
    with concurrent.futures.ThreadPoolExecutor(min(MOST, os.cpu_count() or 1)) as pool:
        running = {pool.submit(execute, path): path for path in paths}
        try:
            for done in concurrent.futures.as_completed(running):
                notebook, seconds = done.result()
                path = running[done]
                cache.cache_notebook_bundle(
                    CacheBundleIn(notebook, str(path), data={"execution_seconds": seconds}),
                    check_validity=False,
                    overwrite=True,
                )
                print(f"executed {path} in {seconds:.0f} s", flush=True)
        finally:  # after a failure: begin no other
            pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python tools/execute_chapters.py CACHE NOTEBOOK [NOTEBOOK ...]")
    main(*sys.argv[1:])
