"""The shapes that all models of the chapters share."""

import tensorflow as tf

IMAGE = (28, 28)
PIXELS = IMAGE[0] * IMAGE[1]
CLASSES = 10

#: The type of a batch (images, labels): the `input_spec` of
#: ``tff.learning.models.from_keras_model``.
BATCH_SPEC = (tf.TensorSpec((None, *IMAGE), tf.float32), tf.TensorSpec((None,), tf.int32))
#: The type of a batch of images without labels, as the VAE takes it.
IMAGES_SPEC = tf.TensorSpec((None, *IMAGE), tf.float32)
