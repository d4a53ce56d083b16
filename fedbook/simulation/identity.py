"""What two runs must have in common, so that one can continue the other."""

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff
import tree
from google.protobuf import text_format  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]

from fedbook.simulation.sampling import Prepare

_NUMBER = r"(?:_|(?<=Gradient)-|(?<=Call)-)\d+"
# With a number in it, as TensorFlow writes it: "name", "^name", "name:0", "loc:@name".
_NAME = re.compile(rf'(?<=[":^@])[^":^@]*{_NUMBER}[^":^@]*(?=[":])')


def check_prepare(prepare: Prepare) -> None:
    """Raises TypeError unless the settings of `prepare` can be written down."""
    if not dataclasses.is_dataclass(prepare) or isinstance(prepare, type):
        raise TypeError(
            f"prepare is a {type(prepare).__name__}, whose settings cannot be written down; with "
            "checkpoint_dir it must be the result of prepare_batches, or an instance of a "
            "dataclass of your own with a method __call__(self, dataset, seed)."
        )


def identity_of(process, data, prepare, ids, cohort, seed) -> dict[str, Any]:
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

    TensorFlow numbers functions and layers through, in all that a program builds. So names are
    numbered anew, in the order in which they occur, and the functions of a graph are taken in the
    order in which they are called.
    """
    texts = []
    for computation in (process.initialize, process.next):
        proto = tff.framework.serialize_computation(computation)  # a copy
        for graph in _graphs(proto):
            texts.append(_renumber(_describe(graph)))
            graph.Clear()
        texts.append(_renumber(text_format.MessageToString(proto)))
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _graphs(message: Message) -> Iterator[Any]:
    """Yields the parts of a computation that hold a graph and name its inputs and outputs."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                if part.DESCRIPTOR.name == "TensorFlow":
                    yield part
                else:
                    yield from _graphs(part)


def _describe(tensorflow: Any) -> str:
    graph = tf.compat.v1.GraphDef()
    tensorflow.graph_def.Unpack(graph)
    tensorflow.ClearField("graph_def")
    functions = {function.signature.name: function for function in graph.library.function}
    graph.ClearField("library")
    texts = [text_format.MessageToString(graph)]
    for text in texts:  # it grows by what is called
        called = [functions.pop(name) for name in re.findall('"(.+)"', text) if name in functions]
        texts += map(text_format.MessageToString, called)
    return "\n".join([*texts, text_format.MessageToString(tensorflow)])


def _renumber(text: str) -> str:
    numbers: dict[str, int] = {}

    def anew(name: re.Match) -> str:
        return re.sub(_NUMBER, "_", name[0]) + f"#{numbers.setdefault(name[0], len(numbers))}"

    values = ("tensor_content", "string_val")  # a constant is no name
    return "\n".join(
        line if line.lstrip().startswith(values) else _NAME.sub(anew, line)
        for line in text.splitlines()
    )
