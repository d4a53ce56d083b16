"""Says, before anything is downloaded, whether fedbook can be installed here.

Exits with 1 and one message if not. Runs on any Python, so that an old one gets
the message too: no syntax newer than Python 2.7's.
"""

import platform
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
OLDEST_GLIBC = (2, 31)  # TFF's wheel is manylinux_2_31
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


if __name__ == "__main__":
    found = problem(
        platform.system(), platform.machine(), tuple(sys.version_info[:2]), platform.libc_ver()
    )
    if found:
        sys.exit("%s\n%s" % (found, ELSEWHERE))
