"""TFF's own FedAvg on datasets of batches: python run_tff.py CONFIG."""

import sys

import fedbook  # noqa: F401  (before TensorFlow)
from fedbook import models

import psutil
import tensorflow as tf
import tensorflow_federated as tff

import work


def build(task: work.Work):
    """Returns TFF's process and each client's data."""
    process = tff.learning.algorithms.build_weighted_fed_avg(
        models.keras.tff_classifier(getattr(models.keras, task.model)),
        tff.learning.optimizers.build_sgdm(task.learning_rate),
    )
    data = [
        tf.data.Dataset.from_tensor_slices(client).batch(task.batch_size)
        for client in zip(task.images, task.labels)
    ]
    return process, data


def main(build) -> None:
    task = work.load(sys.argv[1])
    process, data = build(task)
    state = process.set_model_weights(
        process.initialize(), tff.learning.models.ModelWeights(tuple(task.weights), ())
    )
    python, memory = psutil.Process(), {"python": [], "worker": []}
    (worker,) = python.children()

    def one_round(cohort):
        nonlocal state
        state = process.next(state, [data[client] for client in cohort]).state

    def note_memory():
        for name, one in {"python": python, "worker": worker}.items():
            memory[name].append(one.memory_info().rss / 2**20)

    seconds = work.measure(task, one_round, note_memory)
    model = getattr(models.keras, task.model)()
    model.set_weights(process.get_model_weights(state).trainable)
    work.report(
        task,
        seconds,
        model.predict(task.test_images, batch_size=500, verbose=0),
        ["tensorflow-federated", "tensorflow", "numpy"],
        memory_mb=memory,
    )


if __name__ == "__main__":
    main(build)
