"""Installs into a hosted notebook (Colab, Kaggle) what it lacks to run fedbook.

The chapters' setup cell runs this file with ``runpy``. It installs nothing that
the runtime has, in any version; what it does install is pinned, with hashes, in
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
# What a runtime with TensorFlow may lack. TensorFlow itself and tf_keras must be there.
NEEDED = (
    "dp-accounting", "mlxtend", "nest-asyncio", "portpicker", "tensorflow-federated",
    "tensorflow-model-optimization", "tensorflow-privacy",
)
RESTART = "Choose Runtime > Restart session, then run the notebook from the top."


def check_runtime() -> None:
    """Raises RuntimeError if TensorFlow or Keras 3 is in use already, or cannot be used."""
    if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") != "1":
        raise RuntimeError(f"TensorFlow was imported before this cell, with Keras 3; TFF needs Keras 2. {RESTART}")
    if "keras" in sys.modules and "tensorflow_federated" not in sys.modules:
        raise RuntimeError(f"Keras 3 was imported before this cell; TFF needs Keras 2. {RESTART}")
    for package in ("tensorflow", "tf-keras"):
        if not is_installed(package):
            raise RuntimeError(f"This runtime has no {package}; fedbook needs a runtime with TensorFlow.")


def is_installed(package: str) -> bool:
    """Whether a distribution of that name is installed, in any version."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def pinned(requirements: str, package: str) -> str:
    """Returns the block of `requirements` that pins `package`: a line and its hashes.

    Raises:
      ValueError: if `package` is not pinned exactly once.
    """
    blocks = re.findall(rf"^{re.escape(package)}==.*(?:\n +--hash.*)+", requirements, re.MULTILINE)
    if len(blocks) != 1:
        raise ValueError(f"requirements.txt pins {package} {len(blocks)} times; it must do so once.")
    return blocks[0]


def install_missing() -> list[str]:
    """Installs what is missing of NEEDED and returns its names."""
    missing = [package for package in NEEDED if not is_installed(package)]
    if missing:
        requirements = (ROOT / "requirements.txt").read_text()
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(pinned(requirements, package) for package in missing) + "\n")
            file.flush()
            subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes",
                 "--ignore-requires-python", "--disable-pip-version-check", "-r", file.name],
                check=True,
            )
    return missing


if __name__ == "__main__":
    check_runtime()
    installed = install_missing()
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    print("fedbook is ready; installed " + (", ".join(installed) or "nothing, all was there") + ".")
