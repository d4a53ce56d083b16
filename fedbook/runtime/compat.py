"""TensorFlow Federated 0.87 on today's Python, TensorFlow and numpy.

TFF 0.87.0, the newest release, was built for Python 3.11 and TensorFlow 2.14. It runs on Python
3.11 to 3.13 with TensorFlow 2.19 to 2.21 once three things are in place before it is imported:
Keras 2 (the ``tf_keras`` package), a stand-in for each of the few modules of TFF and
tensorflow-privacy that need packages which no longer exist, and an execution context whose worker
process ends with its parent (:mod:`fedbook.runtime.worker`). :func:`install` does all three;
``import fedbook`` calls it.
"""

import asyncio
import contextlib
import gc
import importlib.util
import os
import sys
import types

_NO_ESTIMATOR = (
    "it needs tf.estimator, which TensorFlow dropped in 2.16; "
    "use tensorflow_privacy's Keras optimisers"
)
# Module that cannot be imported today -> (the names that are taken from it, why).
STUBS = {
    "tensorflow_federated.python.core.environments.jax": (
        ("computation",),
        "it needs jaxlib 0.4.14, which is no longer on PyPI; use tff.tensorflow.computation",
    ),
    "tensorflow_federated.python.learning.programs.vizier_program_logic": (
        ("train_model_with_vizier",),
        "it needs google-vizier 0.1.11, which pins an old protobuf; "
        "use tff.learning.programs.train_model",
    ),
    "tensorflow_privacy.privacy.estimators.dnn": (("DNNClassifier",), _NO_ESTIMATOR),
    "tensorflow_privacy.privacy.estimators.v1.dnn": (("DNNClassifier",), _NO_ESTIMATOR),
}

_LEGACY = ("1", "true", "True")  # the values of TF_USE_LEGACY_KERAS that TensorFlow accepts


def install() -> None:
    """Makes ``import tensorflow_federated`` work, and imports it.

    Sets ``TF_USE_LEGACY_KERAS`` and, unless it is set, the variable that silences TensorFlow's
    start-up log; replaces the modules in :data:`STUBS`; makes
    :func:`fedbook.runtime.worker.create_execution_context` TFF's default; exempts all objects made
    so far from garbage collection; lets threads without a context say what to do; and applies
    nest_asyncio if an event loop runs, as in Jupyter.

    Raises:
      ImportError: if TensorFlow was imported before, with Keras 3, or if TFF is not installed.
    """
    _require_packages()
    _require_legacy_keras()
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    # 3 = fatal only. Without a GPU driver TensorFlow logs an *error* at start;
    # errors that matter reach Python as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name, (attributes, reason) in STUBS.items():
        sys.modules.setdefault(name, _stub(name, attributes, reason))
    # Before TensorFlow: it then loads its parts when they are used, which TFF seldom does (1.5 s).
    import tensorflow_probability  # noqa: F401

    with _without_keras_3(), _without_garbage_collection():
        import tensorflow_federated as tff

    from fedbook.runtime import worker

    tff.framework.set_default_context(worker.create_execution_context())
    worker.refuse_threads_without_context()
    if _loop_is_running():
        import nest_asyncio

        nest_asyncio.apply()


def _require_packages() -> None:
    for package in ("tensorflow", "tf_keras", "tensorflow_federated"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"fedbook needs the package {package}, which is not installed in {sys.prefix}. "
                "TFF has wheels for Linux on x86-64 only: on Windows use WSL2, on a Mac use Colab. "
                "On Linux run `make lab` in the repository, or "
                "`pip install --no-deps --ignore-requires-python -r requirements.txt`."
            )


def _require_legacy_keras() -> None:
    if "tensorflow" not in sys.modules:
        return
    # The variable alone is no proof: it may have been set after TensorFlow chose.
    asked_for = os.environ.get("TF_USE_LEGACY_KERAS") in _LEGACY
    if not (asked_for and sys.modules["tensorflow"].keras.Model.__module__.startswith("tf_keras.")):
        raise ImportError(
            "TensorFlow was imported before fedbook, with Keras 3; TFF needs Keras 2. Move "
            "`import fedbook` above `import tensorflow` (and above every import that imports "
            "TensorFlow), then restart Python (in Colab: Runtime > Restart session)."
        )


def _stub(name: str, attributes: tuple[str, ...], reason: str) -> types.ModuleType:
    module = types.ModuleType(name, f"Stand-in made by fedbook.runtime.compat: {reason}.")
    for attribute in attributes:

        def missing(*args, _name=f"{name}.{attribute}", **kwargs):
            raise NotImplementedError(f"{_name} is not available: {reason}.")

        setattr(module, attribute, missing)
    return module


@contextlib.contextmanager
def _without_keras_3():
    """Keeps tensorflow-model-optimization from importing Keras 3 for nothing (2 s)."""
    if "keras" in sys.modules:
        yield
        return
    sys.modules["keras"] = None  # `import keras` raises ImportError, which the package expects
    try:
        yield
    finally:
        del sys.modules["keras"]


@contextlib.contextmanager
def _without_garbage_collection():
    """Spares Python from searching a million objects that stay: 1 s now, and 1.5 s at the end."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # how asyncio says "none"
        return False
    return True
