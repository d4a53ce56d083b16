"""Says, before anything is downloaded, whether fedbook can be installed here.

Exits with 1 and one message if not. Runs on any Python, so that an old one gets
the message too: no syntax newer than Python 2.7's.

python tools/check_machine.py VENV
"""

import os
import platform
import sys
import tempfile

OLDEST, NEWEST = (3, 11), (3, 13)
OLDEST_GLIBC = (2, 31)  # TFF's wheel is manylinux_2_31
INSTALLED_MB = 3500  # what the virtual environment takes
DOWNLOADED_MB = 1100  # the wheels, until they are installed; and again in pip's cache
TEMPORARY = "the temporary folder"
ELSEWHERE = "Or open the chapters in Colab: the badge at the top of each does all of this."


def problem(system, machine, version, libc):
    """Returns what is in the way, or None.

    Args:
      system: as of platform.system(), "Linux" for example.
      machine: as of platform.machine(), "x86_64" for example.
      version: major and minor version of Python.
      libc: as of platform.libc_ver(), ("glibc", "2.36") for example.
    """
    if system == "Windows":
        return (
            "TensorFlow Federated has no wheels for Windows. "
            "Use WSL2 with Ubuntu and run make there."
        )
    if system != "Linux" or machine not in ("x86_64", "AMD64"):
        return (
            "TensorFlow Federated has wheels for Linux on x86-64 only; this is %s on %s. "
            "Use a Linux machine or container of that kind." % (system, machine)
        )
    if not OLDEST <= version <= NEWEST:
        return (
            "fedbook runs on Python 3.11, 3.12 and 3.13; this is Python %d.%d. If one of them is "
            "installed, name it: make PYTHON=python3.12 book" % version
        )
    if libc[0] != "glibc" or tuple(int(n) for n in libc[1].split(".")[:2]) < OLDEST_GLIBC:
        return (
            "TensorFlow Federated needs glibc 2.31 or newer (Debian 11, Ubuntu 20.04); this is %s."
            % (" ".join(libc).strip() or "another C library")
        )
    try:
        import ensurepip  # noqa: F401  (venv needs it; Debian packs it apart)
    except ImportError:
        return (
            "This Python cannot make virtual environments. On Debian and Ubuntu: "
            "apt install python%d.%d-venv" % version
        )
    return None


def missing_room(places):
    """Returns which disk has too little room, or None.

    Args:
      places: list of (what it is, folder that is there, MB that are needed). What lies on
        the same disk is added up.
    """
    disks = {}
    for what, folder, needed in places:
        disks.setdefault(disk_of(folder), []).append((what, folder, needed))
    for parts in disks.values():
        needed, free = sum(part[2] for part in parts), free_mb(parts[0][1])
        if free < needed:
            return (
                "The installation needs %.1f GB on the disk of %s, and %.1f GB are free there. "
                "Make room%s."
                % (
                    needed / 1000.0,
                    " and ".join("%s (%s)" % (part[0], part[1]) for part in parts),
                    int(free / 100) / 10.0,  # down, or both might read the same
                    ", or set TMPDIR to a folder on another disk"
                    if any(part[0] == TEMPORARY for part in parts)
                    else "",
                )
            )
    return None


def disk_of(folder):
    """Returns a number that all folders on one disk share."""
    return os.stat(folder).st_dev


def free_mb(folder):
    """Returns the MB that are free for this user on the disk of a folder."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize / 1e6


def size_mb(folder):
    """Returns the MB that the files under a folder take; 0 if there is none."""
    return sum(
        os.lstat(os.path.join(parent, name)).st_size / 1e6
        for parent, _, names in os.walk(folder)
        for name in names
    )


def places_for(venv):
    """Returns what :func:`missing_room` takes, for a virtual environment in `venv`."""
    parent = os.path.dirname(os.path.abspath(venv))
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    try:
        temporary = tempfile.gettempdir()
    except EnvironmentError:  # not even an empty file can be written
        temporary = os.environ.get("TMPDIR") or "/tmp"
    places = [
        # The old one is removed first.
        ("the book", parent, INSTALLED_MB - size_mb(venv)),
        (TEMPORARY, temporary, DOWNLOADED_MB),
    ]
    # pip does without a cache that has no room, but not before it has filled the disk.
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isdir(cache) and disk_of(cache) in [disk_of(parent), disk_of(temporary)]:
        places.append(("pip's cache", cache, DOWNLOADED_MB))
    return places


if __name__ == "__main__":
    found = problem(
        platform.system(), platform.machine(), tuple(sys.version_info[:2]), platform.libc_ver()
    )
    if not found:
        found = missing_room(places_for(sys.argv[1]))
    if found:
        sys.exit("%s\n%s" % (found, ELSEWHERE))
