"""Finding or downloading the files of full scale, and the errors when that fails."""

import os
import pathlib
import tempfile
from collections.abc import Callable

CACHE = pathlib.Path("~/.cache/fedbook").expanduser()


class DatasetError(RuntimeError):
    """The data are not available; the message names the file or address and what to do."""


def find(name: str, download: Callable[[pathlib.Path], object]) -> pathlib.Path:
    """Returns the path of the file `name`, which is in FEDBOOK_DATA_DIR or in the cache.

    The function `download` puts the file into the empty folder that it is given. The file is moved
    into the cache only after it has arrived completely.

    Raises:
      DatasetError: if FEDBOOK_DATA_DIR does not contain the file, or the download fails.
    """
    if folder := os.environ.get("FEDBOOK_DATA_DIR"):
        path = pathlib.Path(folder).expanduser().absolute() / name  # the worker runs elsewhere
        if not path.is_file():
            raise DatasetError(
                f"FEDBOOK_DATA_DIR is {folder!r}, and there is no file {path}. Put {name} there, "
                "or unset FEDBOOK_DATA_DIR to download it."
            )
        return path
    if (path := CACHE / name).is_file():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        folder = pathlib.Path(folder)
        try:
            download(folder)
        except Exception as error:  # Keras raises a bare Exception for a failed download
            raise DatasetError(
                f"{name} could not be downloaded ({error}). Put the file into a folder and set "
                "FEDBOOK_DATA_DIR to it, or use FEDBOOK_SCALE=quick, which needs no network."
            ) from error
        (folder / name).replace(path)
    return path


def damaged(path: pathlib.Path, why: str) -> DatasetError:
    """Returns the error that says that a file is damaged."""
    return DatasetError(
        f"{path} is damaged or not the file it should be ({why}). Delete it and run again to "
        "download it, or use FEDBOOK_SCALE=quick, which needs no file."
    )
