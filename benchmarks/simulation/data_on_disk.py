"""Clients' data that TFF's worker reads itself, instead of being sent it every round.

A dataset that is passed to a computation is traced, serialised and sent with each
call. Here every client's examples are written to a file once, and the process takes
client ids: the worker opens the files (and the operating system keeps them in
memory). It has to run on this machine.
"""

import pathlib

from fedbook.simulation import Prepare

import tensorflow as tf
import tensorflow_federated as tff

_BUFFER_BYTES = 1 << 20  # the default of today's TensorFlow is refused by the worker's


def by_client_id(
    process: tff.learning.templates.LearningProcess,
    data: tff.simulation.datasets.ClientData,
    prepare: Prepare,
    folder: str | pathlib.Path,
) -> tff.learning.templates.LearningProcess:
    """Returns a process that takes client ids in place of datasets.

    Args:
      process: takes one dataset per client; its state stays what it is.
      data: the clients' datasets; all are written, once.
      prepare: turns a client's dataset and a seed (here 0) into what `process`
        takes, as for :func:`fedbook.simulation.run_training`, without reshuffling:
        ``prepare_batches(10_000, shuffle=False)`` makes one large batch for
        :func:`fedbook.algorithms.tff.build_fast_fed_avg`.
      folder: where to write, a file for each client; made if it is missing. It
        is needed for as long as the process is used.

    Returns:
      A process whose ``next`` takes the state and a list of client ids.

    Raises:
      ValueError: if `folder` holds anything.
    """
    folder = pathlib.Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(
            f"folder is {str(folder)!r}, which is not empty; it must be a new or empty folder."
        )
    files = {client: str(folder / str(number)) for number, client in enumerate(data.client_ids)}
    spec = None
    for client, file in files.items():
        dataset = prepare(data.create_tf_dataset_for_client(client), 0)
        spec = dataset.element_spec
        with tf.io.TFRecordWriter(file) as writer:
            for batch in dataset:
                for leaf in tf.nest.flatten(batch):
                    writer.write(tf.io.serialize_tensor(leaf).numpy())
    leaves = tf.nest.flatten(spec)

    def read(file):
        def parse(records):
            tensors = [
                tf.ensure_shape(tf.io.parse_tensor(records[number], leaf.dtype), leaf.shape)
                for number, leaf in enumerate(leaves)
            ]
            return tf.nest.pack_sequence_as(spec, tensors)

        records = tf.data.TFRecordDataset(file, buffer_size=_BUFFER_BYTES)
        return records.batch(len(leaves), drop_remainder=True).map(parse)

    on_disk = tff.simulation.datasets.FilePerUserClientData(files, read)
    return tff.simulation.compose_dataset_computation_with_learning_process(
        on_disk.dataset_computation, process
    )
