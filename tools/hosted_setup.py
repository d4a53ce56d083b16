"""Installs into an environment with TensorFlow what it lacks to run fedbook.

The chapters' setup cell runs this file in Colab and Kaggle with ``runpy``; anywhere
else ``python tools/hosted_setup.py`` does the same. It installs nothing that is
there, in any version; what it does install is pinned, with hashes, in
requirements.txt.
"""

import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What fedbook needs beside TensorFlow, tf_keras and what comes with those (a test holds
# this to uv.lock). Colab lacks four of them, a plain environment with TensorFlow most.
NEEDED = (
    "attrs",
    "cachetools",
    "cloudpickle",
    "contourpy",
    "cycler",
    "decorator",
    "dm-tree",
    "dp-accounting",
    "fonttools",
    "googleapis-common-protos",
    "joblib",
    "kiwisolver",
    "matplotlib",
    "mlxtend",
    "mpmath",
    "narwhals",
    "nest-asyncio",
    "pandas",
    "portpicker",
    "psutil",
    "pyparsing",
    "python-dateutil",
    "scikit-learn",
    "scipy",
    "tensorflow-federated",
    "tensorflow-model-optimization",
    "tensorflow-privacy",
    "tensorflow-probability",
    "threadpoolctl",
    "tqdm",
    "tzdata",
)
LEGACY = ("1", "true", "True")  # the values of TF_USE_LEGACY_KERAS that TensorFlow accepts
RESTART = "Choose Runtime > Restart session, then run the notebook from the top."


def check_runtime() -> None:
    """Raises RuntimeError if TensorFlow or Keras 3 is in use already, or cannot be used."""
    if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") not in LEGACY:
        raise RuntimeError(
            f"TensorFlow was imported before this cell, with Keras 3; TFF needs Keras 2. {RESTART}"
        )
    if "keras" in sys.modules and "tensorflow_federated" not in sys.modules:
        raise RuntimeError(f"Keras 3 was imported before this cell; TFF needs Keras 2. {RESTART}")
    if not is_installed("tensorflow"):
        raise RuntimeError(
            "There is no tensorflow here; fedbook needs a runtime with TensorFlow 2.19 or newer."
        )
    if not is_installed("tf-keras"):
        release = ".".join(importlib.metadata.version("tensorflow").split(".")[:2])
        raise RuntimeError(
            "There is no tf-keras here; TFF needs the one of TensorFlow's release: "
            f"pip install --no-deps tf-keras~={release}.0"
        )


def is_installed(package: str) -> bool:
    """Whether a distribution of that name is installed, in any version."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def pinned(requirements: str, package: str) -> str:
    """Returns what pins `package` in `requirements`: lines and their hashes.

    More than one line where Pythons differ in version; each says for which it is.

    Raises:
      ValueError: if `package` is not pinned.
    """
    blocks = re.findall(rf"^{re.escape(package)}==.*(?:\n +--hash.*)+", requirements, re.MULTILINE)
    if not blocks:
        raise ValueError(f"requirements.txt does not pin {package}.")
    return "\n".join(blocks)


def install_missing() -> list[str]:
    """Installs what is missing of NEEDED and returns its names."""
    missing = [package for package in NEEDED if not is_installed(package)]
    if missing:
        requirements = (ROOT / "requirements.txt").read_text()
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(pinned(requirements, package) for package in missing) + "\n")
            file.flush()
            options = (
                "--quiet --no-deps --require-hashes --ignore-requires-python "
                "--disable-pip-version-check --root-user-action=ignore"
            )
            command = [sys.executable, "-m", "pip", "install", *options.split(), "-r", file.name]
            subprocess.run(command, check=True)
    return missing


if __name__ == "__main__":
    check_runtime()
    installed = install_missing()
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    print("fedbook is ready; installed " + (", ".join(installed) or "nothing, all was there") + ".")
