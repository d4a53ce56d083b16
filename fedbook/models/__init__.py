"""The models of the chapters.

- :mod:`fedbook.models.keras`: in Keras, and wrapped for ``tff.learning``;
- :mod:`fedbook.models.functional`: as functions of their weights;
- :mod:`fedbook.models.softmax_regression`: the model that chapter 4 writes for TFF by hand.

All models take images of [batch, 28, 28] float32 and labels of [batch] int32. Classifiers
return logits, [batch, 10] float32.
"""

from fedbook.models import functional, keras, softmax_regression
from fedbook.models.functional import logits, loss
from fedbook.models.specs import BATCH_SPEC, CLASSES, IMAGE, IMAGES_SPEC, PIXELS

__all__ = [
    "BATCH_SPEC",
    "CLASSES",
    "IMAGE",
    "IMAGES_SPEC",
    "PIXELS",
    "functional",
    "keras",
    "logits",
    "loss",
    "softmax_regression",
]
