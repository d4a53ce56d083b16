"""Partitions: which client of a simulated federation holds which examples.

A scheme takes the labels of all examples, a number of clients and a seed, and returns a
:class:`Partition`. Every example goes to exactly one client, and the same arguments give
the same partition (with the same version of NumPy)::

    split = partition.dirichlet_per_client(labels, 100, alpha=0.1, seed=1)
    clients = split.to_client_data(images, labels)  # a TFF ClientData

The schemes, by what differs between the clients:

- nothing: :func:`iid`;
- the number of examples: :func:`quantity_log_normal`;
- the classes: :func:`shards`, :func:`classes_per_client`, :func:`dirichlet_per_client`,
  :func:`dirichlet_per_class`;
- the appearance of the images: :func:`feature_skew`;
- the names of the classes: :func:`concept_skew`;
- the classes, from one period of time to the next: :func:`temporal_drift`.

The last three start from a partition that another scheme made. The function :func:`skew`
measures how skewed a partition is. The names of the skews are those of Kairouz et al. 2019
(arXiv 1912.04977), section 3.1.

These arguments mean the same everywhere, so the functions do not describe them again:

- `labels`: [N] ints from 0, the classes of all examples. The classes are those that occur.
- `num_clients`: from 1 to N.
- `sizes`: [num_clients] ints from 0 that sum to N, the number of examples of each client.
  By default the sizes are equal, up to one.
- `min_size`: the least number of examples that a client gets, from 0 to N / num_clients.
- `seed`: an int from 0.

Every scheme raises a ValueError if an argument is out of its range.
"""

from fedbook.data.partition.base import Partition
from fedbook.data.partition.concept import concept_skew
from fedbook.data.partition.drift import temporal_drift
from fedbook.data.partition.feature import Transform, feature_skew
from fedbook.data.partition.label import (
    classes_per_client,
    dirichlet_per_class,
    dirichlet_per_client,
    shards,
)
from fedbook.data.partition.measures import (
    earth_movers,
    effective_classes,
    gini,
    jensen_shannon,
    skew,
    total_variation,
)
from fedbook.data.partition.quantity import iid, quantity_log_normal

__all__ = [
    "Partition",
    "Transform",
    "classes_per_client",
    "concept_skew",
    "dirichlet_per_class",
    "dirichlet_per_client",
    "earth_movers",
    "effective_classes",
    "feature_skew",
    "gini",
    "iid",
    "jensen_shannon",
    "quantity_log_normal",
    "shards",
    "skew",
    "temporal_drift",
    "total_variation",
]
