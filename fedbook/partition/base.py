"""What every scheme returns, and the checks that they share."""

import dataclasses
import math
import numbers
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff

from fedbook import datasets


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Partition:
    """Which examples each client holds. Immutable, its arrays read-only.

    Two partitions are equal if all of their attributes are. They can be pickled.

    Attributes:
      indices: for each client id its examples, sorted [n_k] int64; any order is
        accepted and sorted. A client may hold nothing.
      scheme: the name of the scheme.
      parameters: what the scheme was called with, seeds of later layers included.
      seed: the seed of the scheme.
      features: for each client id a function from its images [n_k, ...] to the
        images that it sees; see :func:`fedbook.partition.feature_skew`. Empty if
        all clients see the same.
      concepts: for each client id what it calls each class, [classes] ints; see
        :func:`fedbook.partition.concept_skew`. Empty if all mean the same.

    Raises:
      ValueError: if there is no client, `indices` holds anything but ints from 0,
        an example stands there twice, or `features` or `concepts` names other
        clients.
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
        if not self.indices:
            raise ValueError("indices is empty; it needs at least one client.")
        held = {client: np.asarray(array) for client, array in self.indices.items()}
        for client, array in held.items():
            bad = array.size and (array.dtype.kind not in "iu" or array.min() < 0)
            if array.ndim != 1 or bad:
                raise ValueError(
                    f"indices[{client!r}] has shape {array.shape} and dtype {array.dtype}"
                    + (f", from {array.min()}" if array.size and array.dtype.kind in "iu" else "")
                    + "; it must be a list of ints from 0."
                )
        sizes = np.array([array.size for array in held.values()])
        dealt = np.concatenate([array.astype(np.int64) for array in held.values()])
        dealt = dealt[np.lexsort((dealt, np.repeat(np.arange(len(sizes)), sizes)))]
        used, times = np.unique(dealt, return_counts=True)
        if used.size != dealt.size:
            raise ValueError(
                f"indices holds example {used[times > 1][0]} more than once, and "
                f"{(times > 1).sum()} such examples in all; each may be held once."
            )
        for name in ("features", "concepts"):
            given = getattr(self, name)
            if given and set(given) != set(held):
                raise ValueError(
                    f"{name} is for {len(given)} clients and indices for {len(held)}; "
                    "both must have the same client ids."
                )
        dealt.setflags(write=False)  # and with it the parts, which are views
        parts = np.split(dealt, np.cumsum(sizes)[:-1])
        for name, value in {
            "indices": dict(zip(held, parts)), "parameters": dict(self.parameters),
            "features": dict(self.features), "concepts": dict(self.concepts),
        }.items():
            object.__setattr__(self, name, types.MappingProxyType(value))

    def __len__(self) -> int:
        """Returns the number of clients."""
        return len(self.indices)

    def __eq__(self, other) -> bool:
        if not isinstance(other, Partition):
            return NotImplemented
        names = ("scheme", "parameters", "seed", "features", "concepts", "client_ids")
        return all(getattr(self, name) == getattr(other, name) for name in names) and all(
            np.array_equal(mine, theirs)
            for mine, theirs in zip(self.indices.values(), other.indices.values())
        )

    def __repr__(self) -> str:
        parameters = "".join(f", {name}={value!r}" for name, value in self.parameters.items())
        return (
            f"<Partition of {self.num_examples} examples over {len(self)} clients: "
            f"{self.scheme}{parameters}, seed={self.seed}>"
        )

    def __reduce__(self):  # mappingproxy cannot be pickled, a dict can
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Partition, tuple(dict(v) if isinstance(v, Mapping) else v for v in fields)

    @property
    def client_ids(self) -> tuple[str, ...]:
        """The clients, in the order of `sizes` and of the rows of `label_counts`."""
        return tuple(self.indices)

    @property
    def sizes(self) -> np.ndarray:
        """How many examples each client holds, [clients] int64."""
        return np.array([held.size for held in self.indices.values()], np.int64)

    @property
    def num_examples(self) -> int:
        """How many examples the clients hold together."""
        return int(self.sizes.sum())

    def label_counts(self, labels: np.ndarray, num_classes: int | None = None) -> np.ndarray:
        """Returns how many examples of each class each client holds, [clients, classes] int64.

        Args:
          labels: [N] ints from 0, of all examples.
          num_classes: the number of columns; by default the largest label plus 1.

        Raises:
          ValueError: if `labels` has the wrong shape or dtype, is too short, or has
            a label that is not below `num_classes`.
        """
        labels = check_covers(self, "labels", check_labels(labels))
        num_classes = check_classes(labels, num_classes)
        row = np.repeat(np.arange(len(self)), self.sizes)
        cells = row * num_classes + labels[together(self)]
        counts = np.bincount(cells, minlength=len(self) * num_classes)
        return counts.reshape(len(self), num_classes)

    def client_images(self, images: np.ndarray) -> np.ndarray:
        """Returns all images as those who hold them see them, in the order given.

        Args:
          images: [N, 28, 28] float32, of all examples; not changed.

        Returns:
          `images` itself where there is no feature skew, else a new array.

        Raises:
          ValueError: if there are too few, or a transform refuses them.
        """
        images = check_covers(self, "images", np.asarray(images))
        if not self.features:
            return images
        seen = images.copy()
        for client, transform in self.features.items():
            held = self.indices[client]
            if held.size:
                seen[held] = transform(images[held])
        return seen

    def client_labels(self, labels: np.ndarray) -> np.ndarray:
        """Returns all labels as those who hold them give them, [N] int32, in the order given.

        Args:
          labels: [N] ints from 0, of all examples; not changed.

        Raises:
          ValueError: if `labels` has the wrong shape or dtype, is too short, or has
            a class that `concepts` does not know.
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
        self, images: np.ndarray, labels: np.ndarray, drop_empty: bool = False
    ) -> tff.simulation.datasets.ClientData:
        """Deals the examples to the clients of a simulation, as they see them.

        Args:
          images: [N, 28, 28] float32, of all examples.
          labels: [N] ints from 0.
          drop_empty: leaves out the clients that hold nothing, instead of raising.

        Returns:
          A ClientData whose datasets yield ``OrderedDict(label=int32 [],
          pixels=float32 [28, 28])``, the same as those of :mod:`fedbook.datasets`.

        Raises:
          ValueError: if `images` and `labels` do not match or are too few, or a
            client holds nothing and `drop_empty` is False.
        """
        if len(images) != len(labels):
            raise ValueError(
                f"images has {len(images)} examples and labels {len(labels)}; they must match."
            )
        empty = [client for client, held in self.indices.items() if not held.size]
        if len(empty) == len(self) or (empty and not drop_empty):
            raise ValueError(
                f"indices gives nothing to {len(empty)} of {len(self)} clients "
                f"({', '.join(empty[:3])}{', ...' if len(empty) > 3 else ''}); a simulation needs "
                "clients with examples. Deal with min_size=1, or set drop_empty=True."
            )
        held = {client: array for client, array in self.indices.items() if array.size}
        return datasets.client_data(self.client_images(images), self.client_labels(labels), held)


def together(partition: Partition) -> np.ndarray:
    """Returns the examples of all clients, one client after the other."""
    return np.concatenate(list(partition.indices.values()))


def check_covers(partition: Partition, name: str, array: np.ndarray) -> np.ndarray:
    """Checks that `array` has an entry for every example that is dealt; returns it."""
    last = int(together(partition).max(initial=-1))
    if array.ndim == 0 or len(array) <= last:
        raise ValueError(
            f"{name} has shape {array.shape}; the partition deals examples up to number "
            f"{last} and needs at least {last + 1}."
        )
    return array


def deal(
    owner: np.ndarray, num_clients: int, scheme: str, parameters: Mapping[str, Any], seed: int
) -> Partition:
    """Returns the partition in which client number `owner[i]` holds example i."""
    width = max(3, len(str(num_clients - 1)))  # ids in alphabetical order are in order
    sizes = np.bincount(owner, minlength=num_clients)
    held = np.split(np.argsort(owner, kind="stable"), np.cumsum(sizes)[:-1])
    ids = [f"client_{number:0{width}d}" for number in range(num_clients)]
    return Partition(dict(zip(ids, held)), scheme, parameters, int(seed))


def by_class(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Returns the examples sorted by class, in random order within one, and the classes' counts."""
    order = rng.permutation(len(labels))
    counts = np.unique(labels, return_counts=True)[1]
    return order[np.argsort(labels[order], kind="stable")], counts


def even_sizes(total: int, parts: int) -> np.ndarray:
    """Returns `parts` whole numbers, the first ones larger by one, whose sum is `total`."""
    return total // parts + (np.arange(parts) < total % parts)


def check_labels(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels has shape {labels.shape} and dtype {labels.dtype}; it must be [N] ints, "
            "one class number for each example and at least one."
        )
    if labels.min() < 0:
        raise ValueError(f"labels holds {labels.min()}; classes are numbered from 0.")
    return labels


def check_classes(labels: np.ndarray, num_classes: int | None) -> int:
    if num_classes is None:
        return int(labels.max()) + 1
    check_int("num_classes", num_classes, 1)
    if labels.max() >= num_classes:
        raise ValueError(
            f"labels holds class {labels.max()} and num_classes is {num_classes}; "
            f"labels must be from 0 to {num_classes - 1}."
        )
    return int(num_classes)


def check_clients(labels: np.ndarray, num_clients: int, seed: int, min_size: int = 1) -> np.ndarray:
    """Checks what every scheme takes; returns the labels as an array."""
    labels = check_labels(labels)
    check_int("num_clients", num_clients, 1)
    check_int("min_size", min_size, 0)
    check_int("seed", seed, 0)
    if num_clients > len(labels):
        raise ValueError(
            f"num_clients is {num_clients}; it must be from 1 to {len(labels)}, "
            "the number of examples."
        )
    if num_clients * min_size > len(labels):
        raise ValueError(
            f"min_size is {min_size}, which for {num_clients} clients takes "
            f"{num_clients * min_size} examples; there are {len(labels)}, so it must be at most "
            f"{len(labels) // num_clients}."
        )
    return labels


def check_sizes(sizes: Sequence[int] | None, total: int, num_clients: int) -> np.ndarray:
    """Returns `sizes`, or by default even ones."""
    if sizes is None:
        return even_sizes(total, num_clients)
    sizes = np.asarray(sizes)
    if sizes.shape != (num_clients,) or sizes.dtype.kind not in "iu" or sizes.min() < 0:
        raise ValueError(
            f"sizes has shape {sizes.shape} and dtype {sizes.dtype}; it must be one int "
            f"from 0 for each of the {num_clients} clients."
        )
    if sizes.sum() != total:
        raise ValueError(f"sizes sums to {sizes.sum()}; it must sum to {total}, all examples.")
    return sizes


def check_int(name: str, value: int, low: int, high: int | None = None) -> None:
    too_high = high is not None and value > high
    if not isinstance(value, numbers.Integral) or value < low or too_high:
        wanted = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} is {value!r}; it must be an int, {wanted}.")


def check_number(name: str, value: float, low: float, high: float) -> None:
    if not isinstance(value, numbers.Real) or not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} is {value!r}; it must be a number from {low:g} to {high:g}.")


def check_alpha(alpha: float) -> None:
    if not isinstance(alpha, numbers.Real) or not 1e-6 <= alpha <= 1e6:
        raise ValueError(
            f"alpha is {alpha!r}; it must be above 0, and from 1e-06 to 1e+06: beyond these a "
            "Dirichlet distribution changes no more."
        )
