"""What the setup cell runs in Colab and Kaggle; `make test-colab` will run it in their likeness."""

import importlib.util
import pathlib
import sys
import types

import pytest

ROOT = pathlib.Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("hosted_setup", ROOT / "tools" / "hosted_setup.py")
hosted_setup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hosted_setup)


@pytest.mark.parametrize("package", hosted_setup.NEEDED)
def test_every_package_is_pinned_once_with_hashes(package):
    block = hosted_setup.pinned((ROOT / "requirements.txt").read_text(), package)
    assert block.startswith(f"{package}==") and "--hash=sha256:" in block
    assert block.count("==") == 1 or " ; " in block.splitlines()[0]


def test_a_package_that_is_not_pinned():
    with pytest.raises(ValueError, match="pins numpy 0 times"):
        hosted_setup.pinned("", "numpy")


def test_nothing_is_installed_where_all_is_there(monkeypatch):
    monkeypatch.setattr(hosted_setup.subprocess, "run", lambda *a, **k: pytest.fail("pip was called"))
    assert hosted_setup.install_missing() == []


def test_only_what_is_missing_is_installed(monkeypatch):
    monkeypatch.setattr(hosted_setup, "is_installed", lambda package: package != "portpicker")
    given = []
    monkeypatch.setattr(
        hosted_setup.subprocess, "run", lambda command, check: given.append(pathlib.Path(command[-1]).read_text())
    )
    assert hosted_setup.install_missing() == ["portpicker"]
    assert given[0].startswith("portpicker==") and given[0].count("==") - given[0].count("'linux'") <= 2


def test_tensorflow_with_keras_3_in_use(monkeypatch):
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    with pytest.raises(RuntimeError, match="TensorFlow was imported before.*Restart session"):
        hosted_setup.check_runtime()


def test_keras_3_in_use(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    monkeypatch.delitem(sys.modules, "tensorflow_federated")
    with pytest.raises(RuntimeError, match="Keras 3 was imported before.*Restart session"):
        hosted_setup.check_runtime()


def test_a_runtime_without_tensorflow(monkeypatch):
    monkeypatch.setattr(hosted_setup, "is_installed", lambda package: False)
    with pytest.raises(RuntimeError, match="no tensorflow"):
        hosted_setup.check_runtime()
