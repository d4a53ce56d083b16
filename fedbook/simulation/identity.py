"""What two runs must have in common, so that one can continue the other."""

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff
import tree
from google.protobuf import any_pb2, text_format  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]

from fedbook.simulation.sampling import Prepare


def check_prepare(prepare: Prepare) -> None:
    """Raises TypeError unless the settings of `prepare` can be written down."""
    if not dataclasses.is_dataclass(prepare) or isinstance(prepare, type):
        raise TypeError(
            f"prepare is a {type(prepare).__name__}, whose settings cannot be written down; with "
            "checkpoint_dir it must be the result of prepare_batches, or an instance of a "
            "dataclass of your own with a method __call__(self, dataset, seed)."
        )


def identity_of(
    process: tff.templates.IterativeProcess,
    data: tff.simulation.datasets.ClientData,
    prepare: Prepare,
    ids: list[str],
    cohort: int,
    seed: int,
) -> dict[str, Any]:
    """Returns what two runs must have in common, so that one can resume the other."""
    return {
        "cohort": cohort,
        "seed": int(seed),
        # The datasets' shuffle depends on the seed of all of TensorFlow, too.
        "tf.random.set_seed": tf.compat.v1.get_seed(0)[0],
        "clients": len(ids),
        "client_ids_sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        "prepare": repr(prepare),
        "data of the first client": _digest_of(data.create_tf_dataset_for_client(ids[0])),
        "process": digest_of_process(process),
    }


def _digest_of(dataset: tf.data.Dataset) -> str:
    """Returns a hash of the first 1,000 examples, which does not depend on their order."""
    digests = []
    for example in dataset.take(1000).as_numpy_iterator():
        parts = tree.flatten_with_path(example)
        described = [(path, str(p.dtype), p.shape, p.tolist()) for path, p in parts]
        digests.append(hashlib.sha256(repr(described).encode()).hexdigest())
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def digest_of_process(process: tff.templates.IterativeProcess) -> str:
    """Returns a hash of a process, the same each time that the same process is built.

    TensorFlow numbers functions and layers through, in all that a program builds. So the numbers
    in names are left out, and the functions of a graph are taken in alphabetical order.
    """
    digest = hashlib.sha256()
    for computation in (process.initialize, process.next):
        proto = tff.framework.serialize_computation(computation)  # a copy
        for packed in _packed_graphs(proto):
            graph = tf.compat.v1.GraphDef()
            if packed.Unpack(graph):
                functions = sorted(map(_without_numbers, graph.library.function))
                graph.ClearField("library")
                digest.update("\n".join([*functions, _without_numbers(graph)]).encode())
                packed.Clear()
        digest.update(_without_numbers(proto).encode())
    return digest.hexdigest()


def _packed_graphs(message: Message) -> Iterator[any_pb2.Any]:
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                if isinstance(part, any_pb2.Any):
                    yield part
                else:
                    yield from _packed_graphs(part)


def _without_numbers(message: Message) -> str:
    lines = text_format.MessageToString(message).splitlines()
    values = ("tensor_content", "string_val")  # a constant is no name
    return "\n".join(
        line if line.lstrip().startswith(values) else re.sub(r"_\d+", "_", line) for line in lines
    )
