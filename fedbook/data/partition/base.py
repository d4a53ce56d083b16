"""The class :class:`Partition`, and what its schemes have in common."""

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff

from fedbook.checks import check_int, check_type
from fedbook.data.clients import (
    MOST_CLASSES,
    check_examples,
    check_images,
    check_labels,
    check_positions,
    client_data,
)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Partition:
    """The examples that each client holds. Immutable, with read-only arrays.

    Two partitions are equal if all of their attributes are equal.

    Attributes:
      indices: for each client id the indices of its examples, [n_k] int64, which are
        sorted here. A client may hold no example.
      scheme: the name of the scheme.
      parameters: the arguments of the scheme, and those of the skews added later.
      seed: the seed of the scheme.
      features: for each client id a function from images [n, ...] to the images as the client sees
        them; see :func:`fedbook.data.partition.feature_skew`. Empty if all clients see the same.
      concepts: for each client id its label for each class, [classes] ints; see
        :func:`fedbook.data.partition.concept_skew`. Empty if all clients use the same labels.

    Raises:
      ValueError: if there is no client, `indices` holds anything but ints from 0, an
        example occurs twice, or `features` or `concepts` are for other clients.
      TypeError: if `indices`, `features` or `concepts` is not a mapping, or `indices` holds a
        pandas Series or Index, which is not certain to hold positions.
    """

    indices: Mapping[str, np.ndarray]
    scheme: str
    parameters: Mapping[str, Any]
    seed: int
    features: Mapping[str, Callable[[np.ndarray], np.ndarray]] = dataclasses.field(
        default_factory=dict
    )
    concepts: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        held = check_positions(self.indices)
        sizes = np.array([array.size for array in held.values()])
        examples = np.concatenate([np.sort(array) for array in held.values()])
        used, times = np.unique(examples, return_counts=True)
        if used.size != examples.size:
            raise ValueError(
                f"indices holds example {used[times > 1][0]} more than once, and "
                f"{(times > 1).sum()} such examples in all; each may be held once."
            )
        for name in ("features", "concepts"):
            given = check_type(name, getattr(self, name), Mapping)
            if given and set(given) != set(held):
                raise ValueError(
                    f"{name} is for {len(given)} clients and indices for {len(held)}; "
                    "both must have the same client ids."
                )
        examples.setflags(write=False)  # and with it the parts, which are views
        parts = np.split(examples, np.cumsum(sizes)[:-1])
        object.__setattr__(self, "indices", dict(zip(held, parts)))
        for name in ("indices", "parameters", "features", "concepts"):
            copy = types.MappingProxyType(dict(getattr(self, name)))
            object.__setattr__(self, name, copy)

    def __len__(self) -> int:
        """Returns the number of clients."""
        return len(self.indices)

    def __eq__(self, other) -> bool:
        if not isinstance(other, Partition):
            return NotImplemented
        names = ("scheme", "parameters", "seed", "features", "concepts", "client_ids")
        if any(getattr(self, name) != getattr(other, name) for name in names):
            return False
        return all(map(np.array_equal, self.indices.values(), other.indices.values()))

    def __repr__(self) -> str:
        parameters = "".join(f", {name}={value!r}" for name, value in self.parameters.items())
        return (
            f"<Partition of {self.num_examples} examples over {len(self)} clients: "
            f"{self.scheme}{parameters}, seed={self.seed}>"
        )

    @property
    def client_ids(self) -> tuple[str, ...]:
        """The client ids, in the order of `sizes` and of the rows of `label_counts`."""
        return tuple(self.indices)

    @property
    def sizes(self) -> np.ndarray:
        """The number of examples of each client, [clients] int64."""
        return np.array([held.size for held in self.indices.values()], np.int64)

    @property
    def num_examples(self) -> int:
        """The number of examples of all clients."""
        return int(self.sizes.sum())

    def label_counts(self, labels: np.ndarray, num_classes: int | None = None) -> np.ndarray:
        """Returns the number of examples by client and class, [clients, classes] int64.

        Args:
          labels: [N] ints from 0, of all examples.
          num_classes: the number of columns; by default the largest label plus 1.

        Raises:
          ValueError: if `labels` has the wrong shape or dtype, is too short, or holds a label that
            is not below `num_classes`.
        """
        labels = check_covers(self, "labels", check_labels(labels))
        classes = check_classes(labels, num_classes)
        held = self.indices.values()
        return np.stack([np.bincount(labels[mine], minlength=classes) for mine in held])

    def client_images(self, images: np.ndarray) -> np.ndarray:
        """Returns all images, [N, 28, 28] float32, each as the client that holds it sees it.

        The result is `images` itself if there is no feature skew, and otherwise a new array.

        Raises:
          ValueError: if there are too few images, or a transform refuses them.
        """
        images = check_covers(self, "images", check_images(images))
        if not self.features:
            return images
        seen = images.copy()
        for client, transform in self.features.items():
            if (held := self.indices[client]).size:
                seen[held] = transform(images[held])
        return seen

    def client_labels(self, labels: np.ndarray) -> np.ndarray:
        """Returns all labels, [N] int32, each as the client that holds the example gives it.

        Raises:
          ValueError: as :meth:`label_counts` does, or if a class is not in `concepts`.
        """
        labels = check_covers(self, "labels", check_labels(labels)).astype(np.int32)
        if not self.concepts:
            return labels
        check_classes(labels, min(len(concept) for concept in self.concepts.values()))
        seen = labels.copy()
        for client, concept in self.concepts.items():
            held = self.indices[client]
            seen[held] = np.asarray(concept)[labels[held]]
        return seen

    def to_client_data(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tff.simulation.datasets.ClientData:
        """Returns TFF's ClientData of this partition, with what each client sees.

        Its datasets yield ``OrderedDict(label=int32 [], pixels=float32 [28, 28])``.

        Args:
          images: [N, 28, 28] float32, of all examples.
          labels: [N] ints from 0.

        Raises:
          ValueError: if these differ in length or are too few, or a client holds no example.
        """
        images, labels = check_examples(images, labels)
        empty = [client for client, held in self.indices.items() if not held.size]
        if empty:
            raise ValueError(
                f"indices gives nothing to {len(empty)} of {len(self)} clients "
                f"({', '.join(empty[:3])}{', ...' if len(empty) > 3 else ''}); in a simulation "
                "every client needs an example. Use a scheme with min_size=1."
            )
        return client_data(self.client_images(images), self.client_labels(labels), self.indices)


def all_indices(partition: Partition) -> np.ndarray:
    """Returns the indices of all clients' examples, one client after the other."""
    return np.concatenate(list(partition.indices.values()))


def check_covers(partition: Partition, name: str, array: np.ndarray) -> np.ndarray:
    """Returns `array`; raises ValueError unless it has an entry for every example."""
    last = int(all_indices(partition).max(initial=-1))
    if array.ndim == 0 or len(array) <= last:
        raise ValueError(
            f"{name} has shape {array.shape}; the partition holds examples up to number "
            f"{last} and needs at least {last + 1}."
        )
    return array


def from_owners(
    owner: np.ndarray, num_clients: int, scheme: str, parameters: Mapping[str, Any], seed: int
) -> Partition:
    """Returns the partition in which client number `owner[i]` holds example i."""
    width = max(3, len(str(num_clients - 1)))  # so that alphabetical order is numerical order
    sizes = np.bincount(owner, minlength=num_clients)
    held = np.split(np.argsort(owner, kind="stable"), np.cumsum(sizes)[:-1])
    ids = [f"client_{number:0{width}d}" for number in range(num_clients)]
    return Partition(dict(zip(ids, held)), scheme, parameters, int(seed))


def add_skew(
    partition: Partition, name: str, parameters: Mapping[str, Any], **changes: Any
) -> Partition:
    """Returns the partition with the changes that the skew of this name makes."""
    scheme = f"{partition.scheme} + {name}"
    parameters = {**partition.parameters, **parameters}
    return dataclasses.replace(partition, scheme=scheme, parameters=parameters, **changes)


def shuffle_by_class(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns the examples sorted by class, shuffled within each, and the size of each class."""
    order = rng.permutation(len(labels))
    counts = np.unique(labels, return_counts=True)[1]
    return order[np.argsort(labels[order], kind="stable")], counts


def even_sizes(total: int, parts: int) -> np.ndarray:
    """Returns `parts` ints that sum to `total` and differ by at most one."""
    return total // parts + (np.arange(parts) < total % parts)


def check_classes(labels: np.ndarray, num_classes: int | None) -> int:
    """Returns `num_classes`, or the number that `labels` needs; refuses larger labels."""
    if num_classes is None:
        return int(labels.max()) + 1
    check_int("num_classes", num_classes, 1, MOST_CLASSES)
    if labels.max() >= num_classes:
        raise ValueError(
            f"labels holds class {labels.max()} and num_classes is {num_classes}; "
            f"labels must be from 0 to {num_classes - 1}."
        )
    return int(num_classes)


def check_request(labels: np.ndarray, num_clients: int, seed: int, min_size: int = 1) -> np.ndarray:
    """Checks the arguments that every scheme takes, and returns the labels as an array."""
    labels = check_labels(labels)
    check_int("num_clients", num_clients, 1, len(labels))
    check_int("min_size", min_size, 0)
    check_int("seed", seed, 0)
    if num_clients * min_size > len(labels):
        raise ValueError(
            f"min_size is {min_size}, which for {num_clients} clients takes "
            f"{num_clients * min_size} examples; there are {len(labels)}, so it must be at most "
            f"{len(labels) // num_clients}."
        )
    return labels


def check_sizes(sizes: Sequence[int] | None, total: int, num_clients: int) -> np.ndarray:
    """Returns `sizes` as an array, or even sizes if there are none."""
    if sizes is None:
        return even_sizes(total, num_clients)
    sizes = np.asarray(sizes)
    if sizes.shape != (num_clients,) or sizes.dtype.kind not in "iu" or sizes.min() < 0:
        raise ValueError(
            f"sizes has shape {sizes.shape} and dtype {sizes.dtype}; it must be one int "
            f"from 0 for each of the {num_clients} clients."
        )
    if sizes.max() > total:  # before the sum, which could overflow
        raise ValueError(f"sizes holds {sizes.max()}; there are {total} examples in all.")
    if sizes.sum() != total:
        raise ValueError(f"sizes sums to {sizes.sum()}; it must sum to {total}, all examples.")
    return sizes
