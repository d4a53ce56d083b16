"""The copy of TFF's worker program: made once, trusted only if nobody else could change it."""

import errno
import hashlib
import importlib.metadata
import mmap
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import types

import pytest

from fedbook.runtime import patched_binary

PROGRAM = b"\x7fELF, a program that listens on \x00[::]:\x00 until it is ended."
PATCHED = b"\x7fELF, a program that listens on \x00unix:\x00 until it is ended."


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small program in the place of TFF's; returns a function that changes its content."""
    original = tmp_path / "wheel" / "worker_binary"
    original.parent.mkdir()

    def write(content: bytes, sha256: str | None = None) -> pathlib.Path:
        original.write_bytes(content)
        listed = sha256 or hashlib.sha256(content).hexdigest()
        monkeypatch.setattr(patched_binary, "_installed", lambda: (original, listed, len(content)))
        return original

    write(PROGRAM)
    return write


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The two folders that may hold the copy, neither of which exists yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "cache" / "fedbook", tmp_path / "temporary" / f"fedbook-{os.geteuid()}"


def test_the_copy_differs_in_the_address_only(wheel, folders):
    copy = patched_binary.find_or_make()
    assert copy.parent == folders[0]
    assert hashlib.sha256(PROGRAM).hexdigest() in copy.name
    assert copy.read_bytes() == PATCHED
    assert stat.S_IMODE(copy.stat().st_mode) == stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
    assert list(copy.parent.iterdir()) == [copy]


def test_the_original_stays_as_it_is(wheel, folders):
    original = wheel(PROGRAM)
    patched_binary.find_or_make()
    assert original.read_bytes() == PROGRAM


def test_tffs_own_program_is_patched_in_one_place():
    original, _, size = patched_binary._installed()
    copy = patched_binary.find_or_make()
    assert original.stat().st_size == copy.stat().st_size == size
    with open(original, "rb") as before, open(copy, "rb") as after:
        before = mmap.mmap(before.fileno(), 0, access=mmap.ACCESS_READ)
        after = mmap.mmap(after.fileno(), 0, access=mmap.ACCESS_READ)
    with before, after:
        place = before.find(b"[::]:")
        assert after[place : place + 5] == b"unix:" and after.find(b"[::]:") == -1


def test_the_copy_is_made_once(wheel, folders):
    first = patched_binary.find_or_make().stat()
    second = patched_binary.find_or_make().stat()
    assert (second.st_ino, second.st_ctime_ns) == (first.st_ino, first.st_ctime_ns)


def test_two_processes_at_the_same_time_make_one_copy(wheel, folders, tmp_path):
    original = wheel(PROGRAM + bytes(50_000_000))
    sha256 = hashlib.sha256(original.read_bytes()).hexdigest()
    code = (
        "import os, pathlib, sys, time\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import patched_binary\n"
        "original = pathlib.Path(sys.argv[2])\n"
        "patched_binary._installed = lambda: (original, sys.argv[3], original.stat().st_size)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read(1)\n"
        "print(patched_binary.find_or_make().stat().st_ino)\n"
    )
    runtime = pathlib.Path(patched_binary.__file__).parent
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, runtime, original, sha256],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("!")
        process.stdin.flush()
    made = {process.communicate(timeout=60)[0] for process in processes}
    (copy,) = folders[0].iterdir()
    assert made == {f"{copy.stat().st_ino}\n"}
    assert copy.read_bytes().startswith(PATCHED)
    copy.unlink()
    original.unlink()


def writable_by_others(copy):
    copy.chmod(0o722)


def changed(copy):
    copy.write_bytes(PATCHED.replace(b"unix:", b"[::]:"))


def cut_off(copy):
    copy.write_bytes(PATCHED[:-1])
    os.utime(copy, (patched_binary._SEAL, patched_binary._SEAL))


def a_link(copy):
    target = copy.parent.parent / "elsewhere"
    os.replace(copy, target)
    copy.symlink_to(target)


def in_a_folder_for_all(copy):
    copy.parent.chmod(0o777)


@pytest.mark.parametrize(
    "spoil", [writable_by_others, changed, cut_off, a_link, in_a_folder_for_all]
)
def test_a_copy_that_is_not_ours_alone_and_whole_is_made_again(wheel, folders, spoil):
    spoil(patched_binary.find_or_make())
    copy = patched_binary.find_or_make()
    assert copy.read_bytes() == PATCHED and not copy.is_symlink()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    assert not copy.parent.stat().st_mode & 0o022


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to a second user")
@pytest.mark.parametrize("foreign", ["folder", "copy"])
def test_what_belongs_to_a_second_user_is_not_used(wheel, folders, foreign):
    copy = patched_binary.find_or_make()
    os.chown(copy if foreign == "copy" else copy.parent, 65534, 65534)
    again = patched_binary.find_or_make()
    assert again.parent == folders[0 if foreign == "copy" else 1]
    assert again.stat().st_uid == again.parent.stat().st_uid == 0


def test_other_copies_and_unfinished_ones_are_removed(wheel, folders):
    folders[0].mkdir(parents=True)
    (folders[0] / "mnist.npz").touch()
    (folders[0] / "worker_binary-0123").touch()
    (folders[0] / "worker_binary-4567-part").touch()
    copy = patched_binary.find_or_make()
    assert set(folders[0].iterdir()) == {copy, folders[0] / "mnist.npz"}


def full_disk(monkeypatch, *full):
    write = patched_binary._write_patched

    def fails(file, *args):
        file.write(b"the first few bytes")
        path = pathlib.Path(os.readlink(f"/proc/self/fd/{file.fileno()}"))
        if path.parent in full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.seek(0)
        write(file, *args)

    monkeypatch.setattr(patched_binary, "_write_patched", fails)


def test_with_a_full_disk_the_copy_is_made_in_the_temporary_folder(wheel, folders, monkeypatch):
    full_disk(monkeypatch, folders[0])
    copy = patched_binary.find_or_make()
    assert copy.parent == folders[1] and copy.read_bytes() == PATCHED
    assert stat.S_IMODE(folders[1].stat().st_mode) == 0o700
    assert list(folders[0].iterdir()) == []
    assert patched_binary.find_or_make() == copy


def test_with_two_full_disks_the_error_says_what_is_needed(wheel, folders, monkeypatch):
    full_disk(monkeypatch, *folders)
    with pytest.raises(
        RuntimeError, match=" MB: .*No space left.*No space left.*XDG_CACHE_HOME"
    ) as error:
        patched_binary.find_or_make()
    assert all(str(folder) in str(error.value) for folder in folders)
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


def test_a_cache_that_cannot_be_written_to_is_passed_over(wheel, folders, tmp_path, monkeypatch):
    (tmp_path / "cache").touch()  # a file, so that root cannot write to it either
    assert patched_binary.find_or_make().parent == folders[1]
    folders[1].rename(tmp_path / "gone")
    folders[1].touch()
    with pytest.raises(RuntimeError, match="Not a directory.*File exists"):
        patched_binary.find_or_make()


def test_a_file_system_without_programs_is_passed_over(wheel, folders, monkeypatch):
    def statvfs(folder):
        return types.SimpleNamespace(f_flag=os.ST_NOEXEC if folder == folders[0] else 0)

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert patched_binary.find_or_make().parent == folders[1]


@pytest.mark.parametrize("name", ["a space", "größer", "x" * 200])
def test_folders_of_any_name_and_relative_ones(wheel, folders, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", name)
    copy = patched_binary.find_or_make()
    assert copy.parent == tmp_path / name / "fedbook"
    assert copy.read_bytes() == PATCHED


def test_without_a_home_the_temporary_folder_serves(wheel, folders, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert patched_binary.find_or_make().parent == folders[1]


@pytest.mark.parametrize(
    "content, message",
    [
        (PROGRAM.replace(b"[::]:", b"(::):"), "stands in it 0 times"),
        (PROGRAM + PROGRAM, "stands in it 2 times"),
    ],
)
def test_another_number_of_places_to_patch_is_an_error(wheel, folders, content, message):
    wheel(content)
    with pytest.raises(RuntimeError, match=f"{message}.*pip install --force-reinstall"):
        patched_binary.find_or_make()
    assert list(folders[0].iterdir()) == []


def test_another_hash_than_the_wheels_is_an_error(wheel, folders):
    wheel(PROGRAM + b"!", sha256="0" * 64)
    with pytest.raises(RuntimeError, match="changed or damaged.*pip install --force-reinstall"):
        patched_binary.find_or_make()
    assert list(folders[0].iterdir()) == []


def test_a_missing_program_is_an_error(wheel, folders):
    wheel(PROGRAM).unlink()
    with pytest.raises(RuntimeError, match="is missing.*pip install --force-reinstall"):
        patched_binary.find_or_make()


@pytest.mark.parametrize("files", [None, [], "no package"])
def test_a_wheel_that_does_not_list_the_program_is_an_error(files, monkeypatch):
    def distribution(name):
        if files == "no package":
            raise importlib.metadata.PackageNotFoundError(name)
        return types.SimpleNamespace(files=files)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    with pytest.raises(RuntimeError, match="RECORD.*pip install --force-reinstall"):
        patched_binary.find_or_make()
