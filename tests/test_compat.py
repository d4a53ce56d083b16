"""TFF on this Python: the import, its order, its stand-ins, its silence."""

import gc
import importlib
import os
import subprocess
import sys

import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.runtime import compat


def python(code: str) -> subprocess.CompletedProcess:
    """Runs `code` as a reader's new Python would, without what importing fedbook has set here."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=180, env=environment
    )


def test_garbage_collection_goes_on_without_what_the_import_made():
    assert gc.isenabled() and gc.get_freeze_count() > 100_000


def test_keras_is_keras_2():
    assert tf.keras.Model.__module__.startswith("tf_keras.")


def test_tensorflow_first_with_keras_2_is_allowed(monkeypatch):
    assert "tensorflow" in sys.modules
    for value in ("1", "true", "True"):
        monkeypatch.setenv("TF_USE_LEGACY_KERAS", value)
        compat._require_legacy_keras()


def test_keras_2_asked_for_too_late_is_not_enough(monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")
    with pytest.raises(ImportError, match="imported before fedbook"):
        compat._require_legacy_keras()
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    monkeypatch.setattr(tf.keras.Model, "__module__", "keras.src.models.model")
    with pytest.raises(ImportError, match="imported before fedbook"):
        compat._require_legacy_keras()


@pytest.mark.parametrize("name", compat.STUBS)
def test_a_stubbed_function_says_what_is_missing(name):
    attributes, reason = compat.STUBS[name]
    for attribute in attributes:
        with pytest.raises(NotImplementedError) as error:
            getattr(importlib.import_module(name), attribute)()
        assert attribute in str(error.value) and reason in str(error.value)


def test_the_public_names_of_stubbed_functions_lead_to_the_stubs():
    with pytest.raises(NotImplementedError, match="jaxlib"):
        tff.jax.computation(lambda: 0)
    with pytest.raises(NotImplementedError, match="vizier"):
        tff.learning.programs.train_model_with_vizier()


def test_tensorflow_first_is_an_import_error_that_names_the_line():
    done = python(
        "import tensorflow\n"
        "try:\n"
        "    import fedbook\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert "Move `import fedbook` above `import tensorflow`" in done.stdout


def test_import_under_a_running_loop_lets_it_run_again_and_prints_nothing():
    done = python(
        "import asyncio, sys, warnings\n"
        "async def notebook():\n"
        "    import fedbook, tensorflow as tf, tensorflow_federated as tff\n"
        "    tf.ones(2) + 1\n"
        "    asyncio.get_event_loop().run_until_complete(asyncio.sleep(0))\n"
        "    print('nest_asyncio' in sys.modules, 'keras' in sys.modules)\n"
        "asyncio.run(notebook())\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "False"]  # Keras 3 was not imported for nothing
    assert done.stderr == ""


def test_without_a_loop_asyncio_is_left_alone():
    assert "nest_asyncio" not in sys.modules


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs the package tensorflow,.*WSL2.*Colab"):
        compat.install()
