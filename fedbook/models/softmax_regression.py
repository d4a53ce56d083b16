"""Softmax regression in the two model interfaces of ``tff.learning``, without Keras.

A :class:`SoftmaxRegression` keeps its weights in variables. The functions of
:func:`functional_softmax_regression` take the weights as an argument. Both models start at
zero, compute the same, and report `loss` and `accuracy` as means over all examples of all
clients. Chapter 4 writes them step by step.
"""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.models.arguments import as_tensor, check_labels_of, check_tensors
from fedbook.models.specs import BATCH_SPEC, CLASSES, IMAGE, PIXELS


def logits(weights, images):
    """Returns the logits of softmax regression, [b, 10] float32, for images [b, 28, 28] float32.

    The weights are the kernel, [784, 10] float32, and the bias, [10] float32. A ValueError is
    raised if the images have another number of pixels or hold anything but floats.
    """
    images = as_tensor("images", images)
    check_tensors({"images": images}, (3,))
    if not images.shape[1:].is_compatible_with(IMAGE):  # else they are mixed up
        raise ValueError(f"images has shape {images.shape}; it must be [b, 28, 28].")
    kernel, bias = weights
    return tf.reshape(images, (-1, PIXELS)) @ kernel + bias


def losses(outputs, labels):
    """Returns each example's cross-entropy in nats, [b] float32.

    The outputs are logits, [b, 10] float32, and the labels are [b] int32 in 0..9. A ValueError is
    raised if the shapes or dtypes are others.
    """
    check_labels_of(outputs, labels)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=outputs)


def num_correct(outputs, labels):
    """Returns the number of correctly classified examples, [] float32; see :func:`losses`."""
    check_labels_of(outputs, labels)
    hits = tf.equal(tf.argmax(outputs, axis=1, output_type=tf.int32), labels)
    return tf.reduce_sum(tf.cast(hits, tf.float32))


def mean(total_and_count):
    """Returns total / count, [] float32, which is NaN without any example."""
    total, count = total_and_count
    return total / count


class SoftmaxRegression(tff.learning.models.VariableModel):
    """Softmax regression with 7,850 variables, all zero at the start.

    It takes the batches of ``fedbook.models.BATCH_SPEC`` and predicts logits, [b, 10] float32. The
    class itself is the `model_fn` that TFF's ``build_...`` functions take. The loss is the mean
    over the batch. The metrics are kept as sums, so that batches and clients of different sizes get
    the right weights (McMahan et al. 2017, arXiv 1602.05629, equation 2).
    """

    def __init__(self):
        self._kernel = tf.Variable(tf.zeros((PIXELS, CLASSES)), name="kernel")
        self._bias = tf.Variable(tf.zeros(CLASSES), name="bias")
        names = ("loss_sum", "correct", "examples")
        sums = [tf.Variable(0.0, trainable=False, name=name) for name in names]
        self._loss_sum, self._correct, self._examples = sums

    @property
    def trainable_variables(self):
        """The kernel [784, 10] and the bias [10], float32, which the server sends."""
        return [self._kernel, self._bias]

    @property
    def non_trainable_variables(self):
        """An empty list, because all weights are trained."""
        return []

    @property
    def local_variables(self):
        """The sums of the metrics, which start at zero on each client."""
        return [self._loss_sum, self._correct, self._examples]

    @property
    def input_spec(self):
        """The type of a batch."""
        return BATCH_SPEC

    def predict_on_batch(self, x, training=True):
        """Returns the logits, [b, 10] float32, of images [b, 28, 28] float32."""
        return logits(self.trainable_variables, x)

    def forward_pass(self, batch_input, training=True):
        """Adds the batch (images, labels) to the metrics, and returns its BatchOutput."""
        images, labels = batch_input
        outputs = self.predict_on_batch(images, training)
        each, examples = losses(outputs, labels), tf.shape(labels)[0]
        self._loss_sum.assign_add(tf.reduce_sum(each))
        self._correct.assign_add(num_correct(outputs, labels))
        self._examples.assign_add(tf.cast(examples, tf.float32))
        return tff.learning.models.BatchOutput(
            loss=tf.reduce_mean(each), predictions=outputs, num_examples=examples
        )

    def report_local_unfinalized_metrics(self):
        """Returns for each metric a sum and the number of examples, [] float32 each."""
        return collections.OrderedDict(
            loss=[self._loss_sum, self._examples], accuracy=[self._correct, self._examples]
        )

    def metric_finalizers(self):
        """Returns for each metric the function from the clients' summed values to a number."""
        return collections.OrderedDict(loss=mean, accuracy=mean)

    def reset_metrics(self):
        """Sets the sums to zero."""
        for variable in self.local_variables:
            variable.assign(tf.zeros_like(variable))


def functional_softmax_regression() -> tff.learning.models.FunctionalModel:
    """Returns the same model as :class:`SoftmaxRegression`, without variables.

    Every function takes the weights, ``((kernel [784, 10], bias [10]), ())``. The state of
    the metrics, a sum and the number of examples for each, is passed from batch to batch.
    """

    @tf.function
    def predict_on_batch(model_weights, x, training):
        trainable, _ = model_weights
        return logits(trainable, x)

    def mean_loss(output, label, sample_weight=None):
        if sample_weight is not None:
            raise ValueError(
                "sample_weight is given; it must be None: softmax regression weights all alike."
            )
        return tf.reduce_mean(losses(output, label))

    def sum_losses(labels, batch_output):
        return tf.reduce_sum(losses(batch_output.predictions, labels))

    kernel, bias = np.zeros((PIXELS, CLASSES), np.float32), np.zeros(CLASSES, np.float32)
    return tff.learning.models.FunctionalModel(
        initial_weights=((kernel, bias), ()),
        predict_on_batch_fn=predict_on_batch,
        loss_fn=mean_loss,
        metrics_fns=loss_and_accuracy(sum_losses),
        input_spec=BATCH_SPEC,
    )


def loss_and_accuracy(sum_losses):
    """Returns the `metrics_fns` of a functional classifier.

    The function `sum_losses` takes the labels and the BatchOutput of a batch, and returns the sum
    of its examples' losses, [] float32.
    """

    @tf.function
    def initialize():
        # Tuples: `Dataset.reduce`, TFF's training loop, would make one tensor of a list.
        return collections.OrderedDict(loss=(0.0, 0.0), accuracy=(0.0, 0.0))

    @tf.function
    def update(state, labels, batch_output, sample_weight=None):
        examples = tf.cast(tf.shape(labels)[0], tf.float32)
        batch = collections.OrderedDict(
            loss=(sum_losses(labels, batch_output), examples),
            accuracy=(num_correct(batch_output.predictions, labels), examples),
        )
        return tf.nest.map_structure(tf.add, state, batch)

    @tf.function
    def finalize(state):
        return collections.OrderedDict((name, mean(sums)) for name, sums in state.items())

    return initialize, update, finalize
