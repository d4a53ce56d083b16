"""fedbook's FedAvg on data that the worker reads itself: python run_fedbook.py CONFIG."""

import collections
import tempfile

import fedbook  # noqa: F401  (before TensorFlow)
from fedbook import algorithms, models, simulation

import run_tff
import tensorflow_federated as tff

import data_on_disk
import work


def build(task: work.Work, folder: str):
    """Returns the process and each client's id."""
    process = algorithms.tff.build_fast_fed_avg(
        models.functional.classifier(getattr(models.keras, task.model)),
        tff.learning.optimizers.build_sgdm(task.learning_rate),
        batch_size=task.batch_size,
    )
    clients = tff.simulation.datasets.TestClientData(
        {
            f"{number:04d}": collections.OrderedDict(label=labels, pixels=images)
            for number, (images, labels) in enumerate(zip(task.images, task.labels))
        }
    )
    whole = simulation.prepare_batches(task.labels.shape[1], shuffle=False)
    return data_on_disk.by_client_id(process, clients, whole, folder), clients.client_ids


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        run_tff.main(lambda task: build(task, folder))
