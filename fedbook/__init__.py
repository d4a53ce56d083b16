"""Shared helpers of the fedbook tutorial on federated learning.

Importing this package has one documented effect: it makes TensorFlow Federated
0.87 run on the Python in use (see :mod:`fedbook.tff_compat`). Import it before
TensorFlow::

    import fedbook
    import tensorflow as tf
    import tensorflow_federated as tff
"""

from fedbook import tff_compat

tff_compat.install()

from fedbook.scale import scale, scaled  # noqa: E402  (TensorFlow comes after install)

__all__ = ["scale", "scaled"]
__version__ = "0.1.0"
