"""TFF's worker program, changed so that it listens on a Unix socket.

TFF's ``worker_binary`` listens on ``[::]:port``, which means on every network interface, asks for
no credentials and executes any TensorFlow graph that it is sent. The program has no option for
another address, but the literal ``[::]:`` stands in it exactly once. The copy that is made here has
the five bytes ``unix:`` in its place, so that ``--port=1`` makes it listen on the Unix socket ``1``
in its working directory, which can be private.
"""

import base64
import contextlib
import fcntl
import hashlib
import importlib.metadata
import mmap
import os
import pathlib
import re
import stat
import tempfile

OPEN, CLOSED = b"[::]:", b"unix:"
_PACKAGE, _BINARY = "tensorflow-federated", "tensorflow_federated/data/worker_binary"
_REINSTALL = (
    "fedbook does not start it, because it would listen on the network. Reinstall TFF: "
    f"pip install --force-reinstall --no-deps {_PACKAGE}==0.87.0"
)
# Hashing 300 MB at every start would take 0.3 to 1 s. Only its owner can change the copy, and
# whatever changes it also changes this time of its last change (1 January 2000, in seconds).
_SEAL = 946684800


def find_or_make() -> pathlib.Path:
    """Returns the path of the patched copy, which is made if there is none yet.

    The copy is kept in ``$XDG_CACHE_HOME/fedbook`` (by default ``~/.cache/fedbook``) or,
    if that is not possible, in ``fedbook-<user number>`` in the temporary folder. A copy
    that others could have changed is not used but made again.

    Raises:
      RuntimeError: if the program is not the one that TFF's wheel lists, if there is not
        exactly one place to patch, or if no folder can hold the copy.
    """
    original, sha256, size = _installed()
    name = f"worker_binary-{sha256}"
    folders = _folders()
    for folder in folders:
        if _is_trusted(folder / name, size):
            return folder / name
    failures = []
    for folder in folders:
        try:
            _make(folder / name, original, sha256, size)
            return folder / name
        except OSError as error:
            failures.append(f"{folder}: {error.strerror or error}")
    raise RuntimeError(
        f"There is no place for a copy of TFF's worker program, {size / 1e6:.0f} MB: "
        f"{'; '.join(failures)}. Make room in one of these folders, or set XDG_CACHE_HOME to a "
        "folder that belongs to you and from which programs may be started."
    )


def _installed() -> tuple[pathlib.Path, str, int]:
    """Where TFF's worker program is, and its sha256 and size according to the wheel."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.distribution(_PACKAGE).files or ():
            if file.as_posix() != _BINARY or file.size is None:
                continue
            if file.hash and file.hash.mode == "sha256":
                digest = base64.urlsafe_b64decode(file.hash.value + "=")
                return pathlib.Path(file.locate()).absolute(), digest.hex(), file.size
    raise RuntimeError(
        f"The list of files of the package {_PACKAGE} (RECORD) has no sha256 of TFF's worker "
        f"program. {_REINSTALL}"
    )


def _folders() -> list[pathlib.Path]:
    """The folders that may hold the copy, the preferred one first.

    Without symbolic links, so that nobody can make a checked path lead elsewhere.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    temporary = os.path.join(tempfile.gettempdir(), f"fedbook-{os.geteuid()}")
    folders = [os.path.join(cache, "fedbook"), temporary]
    if cache.startswith("~"):  # a user number without a home, in some containers
        del folders[0]
    return [pathlib.Path(os.path.realpath(folder)) for folder in folders]


def _is_trusted(copy: pathlib.Path, size: int) -> bool:
    try:
        folder, file = os.lstat(copy.parent), os.lstat(copy)
    except OSError:  # not there, or not for us to see
        return False
    ours = all(of.st_uid == os.geteuid() and not of.st_mode & 0o022 for of in (folder, file))
    unchanged = file.st_size == size and file.st_mtime == _SEAL
    return ours and unchanged and stat.S_ISREG(file.st_mode) and os.access(copy, os.X_OK)


def _make(copy: pathlib.Path, original: pathlib.Path, sha256: str, size: int) -> None:
    """Writes the copy, unless another process has just done so.

    Raises:
      OSError: if the folder cannot hold it.
      RuntimeError: if the original is not the one to patch.
    """
    copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _keep_others_out(copy.parent)
    with _locked(copy.parent):
        if _is_trusted(copy, size):
            return
        # Copies of other releases, and what is left of attempts that were killed.
        for stale in copy.parent.glob("worker_binary-*"):
            stale.unlink()
        descriptor, part = tempfile.mkstemp(prefix=f"{copy.name}-", dir=copy.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _write_patched(file, original, sha256)
                file.flush()
                os.fchmod(descriptor, 0o700)
                os.utime(descriptor, (_SEAL, _SEAL))
                os.fsync(descriptor)
            os.replace(part, copy)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
            raise


def _keep_others_out(folder: pathlib.Path) -> None:
    """Makes sure that only this user can write to the folder, and can run programs from it."""
    about = os.stat(folder)
    if about.st_uid != os.geteuid():
        raise PermissionError(f"it belongs to another user, number {about.st_uid}")
    if about.st_mode & 0o022:
        os.chmod(folder, stat.S_IMODE(about.st_mode) & ~0o022)
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise PermissionError("no program may be started from its file system (noexec)")


@contextlib.contextmanager
def _locked(folder: pathlib.Path):
    """Lets one process at a time in; the lock of one that is killed is released."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_patched(file, original: pathlib.Path, sha256: str) -> None:
    if not original.is_file():
        raise RuntimeError(f"TFF's worker program {original} is missing. {_REINSTALL}")
    with (
        open(original, "rb") as source,
        # A private mapping: what is changed in it is a page of memory, not the original.
        mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_COPY) as content,
    ):
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise RuntimeError(
                f"TFF's worker program {original} was changed or damaged: its sha256 is {found}, "
                f"its wheel says {sha256}. {_REINSTALL}"
            )
        places = [match.start() for match in re.finditer(re.escape(OPEN), content)]
        if len(places) != 1:
            raise RuntimeError(
                f"TFF's worker program {original} is of another release: the address that it "
                f"listens on stands in it {len(places)} times, not once. {_REINSTALL}"
            )
        content[places[0] : places[0] + len(OPEN)] = CLOSED
        file.write(content)
