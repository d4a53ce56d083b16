"""Checks of the tensors that models take, in eager code and while TensorFlow traces a function.

A traced tensor may have dimensions that are unknown until it runs. These pass.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from fedbook.checks import check_callable


def check_builder(build: Any) -> None:
    """Raises TypeError unless `build` is a function; a Keras model can be called, but is none."""
    if isinstance(build, tf.keras.Model):
        raise TypeError(f"build is the model {build.name!r}; it must be a function that makes it.")
    check_callable("build", build, "that returns a Keras model")


def as_tensor(name: str, value: Any) -> tf.Tensor:
    """Returns the tensor of a value; raises ValueError if it is none of numbers."""
    try:
        tensor = tf.convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        kind = type(value).__name__
        raise ValueError(f"{name} is a {kind}; it must be an array of numbers.") from error
    return tensor


def check_tensors(given: Mapping[str, Any], ranks: Sequence[int]) -> None:
    """Raises ValueError unless each argument holds floats and has its rank."""
    for (name, value), rank in zip(given.items(), ranks):
        tensor = as_tensor(name, value)
        if not (tensor.dtype.is_floating and tensor.shape.rank in (rank, None)):
            raise ValueError(
                f"{name} has shape {tensor.shape} and dtype {tensor.dtype.name}; it must hold "
                f"floats in {rank} dimensions."
            )


def check_same_shape(name: str, value: Any, other_name: str, other: Any) -> None:
    """Raises ValueError if the static shapes of two arguments differ."""
    shape, other_shape = as_tensor(name, value).shape, as_tensor(other_name, other).shape
    if not shape.is_compatible_with(other_shape):
        raise ValueError(
            f"{name} has shape {shape} and {other_name} {other_shape}; both must match."
        )


def check_labels_of(outputs: Any, labels: Any) -> None:
    """Raises ValueError unless `outputs` is [b, classes] floats and `labels` [b] ints."""
    check_tensors({"outputs": outputs}, (2,))
    outputs, labels = as_tensor("outputs", outputs), as_tensor("labels", labels)
    fits = outputs.shape[:1].is_compatible_with(labels.shape)
    if not (fits and labels.dtype.is_integer):
        raise ValueError(
            f"labels has shape {labels.shape} and dtype {labels.dtype.name}; it must be one int "
            f"for each row of the outputs, whose shape is {outputs.shape}."
        )
