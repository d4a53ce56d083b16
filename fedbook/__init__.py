"""Shared helpers of the fedbook tutorial on federated learning.

Importing this package has one documented effect: it makes TensorFlow Federated 0.87 run on the
Python in use (see :mod:`fedbook.runtime.compat`). Import it before TensorFlow::

    import fedbook
    import tensorflow as tf
    import tensorflow_federated as tff

``datasets`` and ``partition`` are short names of :mod:`fedbook.data` and
:mod:`fedbook.data.partition`.
"""

from fedbook.runtime import compat

compat.install()

from fedbook import data as datasets  # noqa: E402  (TensorFlow comes after install)
from fedbook.data import partition  # noqa: E402
from fedbook.scale import current_scale, scaled  # noqa: E402

__all__ = ["current_scale", "datasets", "partition", "scaled"]
__version__ = "0.1.0"
