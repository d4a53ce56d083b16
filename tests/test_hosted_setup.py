"""What the setup cell runs in Colab and Kaggle; `make test-colab` runs it in their likeness."""

import importlib.util
import pathlib
import sys
import tomllib
import types

import pytest
from packaging.requirements import Requirement

from fedbook.runtime import compat

ROOT = pathlib.Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("hosted_setup", ROOT / "tools" / "hosted_setup.py")
hosted_setup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hosted_setup)


@pytest.mark.parametrize("package", hosted_setup.NEEDED)
def test_every_package_is_pinned_once_for_this_python_with_hashes(package):
    requirements = hosted_setup.pinned((ROOT / "requirements.txt").read_text(), package)
    lines = [line.rstrip(" \\") for line in requirements.splitlines() if not line.startswith(" ")]
    here = [line for line in map(Requirement, lines) if line.marker.evaluate()]
    assert [line.name for line in here] == [package]
    assert requirements.count("--hash=sha256:") >= len(lines)


def test_a_package_that_is_not_pinned():
    with pytest.raises(ValueError, match="does not pin numpy"):
        hosted_setup.pinned("numpy-financial==1", "numpy")


def test_nothing_is_installed_where_all_is_there(monkeypatch):
    monkeypatch.setattr(
        hosted_setup.subprocess, "run", lambda *a, **k: pytest.fail("pip was called")
    )
    assert hosted_setup.install_missing() == []


def test_only_what_is_missing_is_installed(monkeypatch):
    monkeypatch.setattr(hosted_setup, "is_installed", lambda package: package != "portpicker")
    given = []
    monkeypatch.setattr(
        hosted_setup.subprocess,
        "run",
        lambda command, check: given.append(pathlib.Path(command[-1]).read_text()),
    )
    assert hosted_setup.install_missing() == ["portpicker"]
    assert (
        given[0].startswith("portpicker==")
        and given[0].count("==") - given[0].count("'linux'") <= 2
    )


def test_tensorflow_with_keras_3_in_use(monkeypatch):
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    with pytest.raises(RuntimeError, match="TensorFlow was imported before.*Restart session"):
        hosted_setup.check_runtime()


@pytest.mark.parametrize("value", ["1", "true", "True"])
def test_tensorflow_with_keras_2_in_use(monkeypatch, value):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", value)
    hosted_setup.check_runtime()


def test_the_values_that_mean_keras_2_are_those_of_the_package():
    assert hosted_setup.LEGACY == compat._LEGACY


def test_keras_3_in_use(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    monkeypatch.delitem(sys.modules, "tensorflow_federated")
    with pytest.raises(RuntimeError, match="Keras 3 was imported before.*Restart session"):
        hosted_setup.check_runtime()


def test_a_runtime_without_tensorflow(monkeypatch):
    monkeypatch.setattr(hosted_setup, "is_installed", lambda package: False)
    with pytest.raises(RuntimeError, match="no tensorflow"):
        hosted_setup.check_runtime()


def test_a_runtime_without_keras_2(monkeypatch):
    monkeypatch.setattr(hosted_setup, "is_installed", lambda package: package != "tf-keras")
    monkeypatch.setattr(hosted_setup.importlib.metadata, "version", lambda package: "2.21.3")
    with pytest.raises(RuntimeError, match=r"no tf-keras.*tf-keras~=2\.21\.0"):
        hosted_setup.check_runtime()


def test_needed_is_what_the_lock_holds_beside_tensorflow():
    packages = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]:
        needs = {needed["name"] for needed in package.get("dependencies", [])}
        packages.setdefault(package["name"], set()).update(needs)

    packages["fedbook"].remove("ipython")  # a runtime that opens a notebook has its own

    def with_dependencies(*names: str) -> set[str]:
        found, waiting = set(), set(names)
        while waiting:
            found.add(name := waiting.pop())
            waiting |= packages[name] - found
        return found

    expected = (
        with_dependencies("fedbook") - with_dependencies("tensorflow", "tf-keras") - {"fedbook"}
    )
    assert set(hosted_setup.NEEDED) == expected
