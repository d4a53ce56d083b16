"""Private directories for the Unix sockets that workers listen on."""

import fcntl
import os
import pathlib
import shutil
import tempfile
import time
import weakref

_PREFIX = "fedbook-worker-"
_SOCKET = "1"  # the worker takes a number for its name
_MAX_PATH_BYTES = 107  # of a Unix socket, in Linux
_MINUTE = 60.0


class SocketDirectory:
    """A directory that only its owner can enter; it ends with this object or with Python.

    Attributes:
      path: the directory.
      socket: the path for a socket in it.
      remove: a function that removes the directory now.
    """

    def __init__(self):
        """Makes the directory in ``$XDG_RUNTIME_DIR``, the temporary folder or ``/tmp``.

        Those that killed processes have left there are removed.

        Raises:
          RuntimeError: if none of them can hold a directory with a socket.
        """
        failures = []
        for parent in _parents():
            if len(os.fsencode(parent / (_PREFIX + 8 * "x") / _SOCKET)) > _MAX_PATH_BYTES:
                failures.append(f"{parent}: too long for the path of a Unix socket")
                continue
            try:
                self._make(parent)
            except OSError as error:
                failures.append(f"{parent}: {error.strerror}")
                continue
            _remove_left_behind(parent)
            return
        raise RuntimeError(
            f"There is no place for the socket of TFF's worker: {'; '.join(failures)}. "
            "Set TMPDIR to a folder with a short path that you can write to."
        )

    def _make(self, parent: pathlib.Path) -> None:
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self.socket = self.path / _SOCKET
        lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        self.remove = weakref.finalize(self, _remove, self.path, lock, os.getpid())
        try:
            # Says that the directory is in use, for as long as this process lives.
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            self.remove()
            raise


def _parents() -> list[pathlib.Path]:
    parents = [tempfile.gettempdir(), "/tmp"]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and _is_ours(runtime):
        parents.insert(0, runtime)
    return [pathlib.Path(parent).absolute() for parent in parents]


def _is_ours(folder: str) -> bool:
    try:
        about = os.stat(folder)
    except OSError:
        return False
    return about.st_uid == os.geteuid() and not about.st_mode & 0o022


def _remove(path: pathlib.Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork that ends
        shutil.rmtree(path, ignore_errors=True)  # somebody may have tidied up before
    os.close(lock)


def _remove_left_behind(parent: pathlib.Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # another user's, or gone
            continue
        try:
            about = os.fstat(descriptor)
            # A new one may not have its lock yet.
            is_old = about.st_uid == os.geteuid() and time.time() - about.st_mtime > _MINUTE
            if is_old:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:  # it is in use
            continue
        finally:
            os.close(descriptor)
