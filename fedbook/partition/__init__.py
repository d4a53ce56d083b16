"""Who holds what: every way in which the chapters deal examples to clients.

A scheme takes the labels of all examples, a number of clients and a seed, and
returns a :class:`Partition`. It loses no example and gives none to two clients,
and the same arguments give the same partition (with the same NumPy)::

    split = partition.dirichlet_per_client(labels, 100, alpha=0.1, seed=1)
    clients = split.to_client_data(images, labels)  # a TFF ClientData

What differs between clients, and the schemes for it:

- nothing: :func:`iid`;
- how much they hold: :func:`quantity_log_normal`, :func:`quantity_power_law`,
  :func:`quantity_dirichlet`;
- which classes they hold: :func:`shards`, :func:`classes_per_client`,
  :func:`dirichlet_per_client`, :func:`dirichlet_per_class`;
- how their images look: :func:`feature_skew`;
- what they call a class: :func:`concept_skew`;
- the classes, from one time to the next: :func:`temporal_drift`.

The last three take a partition, made by any other scheme, in place of the labels
and the number of clients. How skewed a partition is, :func:`skew` and the
measures beside it tell. The names of the skews are those of Kairouz et al. 2019
(arXiv 1912.04977), section 3.1.
"""

from fedbook.partition.base import Partition
from fedbook.partition.concept import concept_skew
from fedbook.partition.drift import temporal_drift
from fedbook.partition.feature import Transform, feature_skew
from fedbook.partition.label import (
    classes_per_client,
    dirichlet_per_class,
    dirichlet_per_client,
    shards,
)
from fedbook.partition.measures import (
    earth_movers,
    effective_classes,
    gini,
    jensen_shannon,
    skew,
    total_variation,
)
from fedbook.partition.quantity import (
    iid,
    quantity_dirichlet,
    quantity_log_normal,
    quantity_power_law,
)

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
    "quantity_dirichlet",
    "quantity_log_normal",
    "quantity_power_law",
    "shards",
    "skew",
    "temporal_drift",
    "total_variation",
]
