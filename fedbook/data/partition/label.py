"""Label skew: clients with different classes."""

from collections.abc import Sequence

import numpy as np

from fedbook.checks import check_int, check_number
from fedbook.data.partition.base import (
    Partition,
    check_request,
    check_sizes,
    even_sizes,
    from_owners,
    shuffle_by_class,
)

# Outside of this range the draws from a Dirichlet distribution do not change any more.
ALPHA_RANGE = {"low": 1e-6, "high": 1e6}


def shards(
    labels: np.ndarray, num_clients: int, shards_per_client: int = 2, *, seed: int = 0
) -> Partition:
    """Sorts the examples by label, cuts them into shards and gives each client a few of these.

    This is the "pathological non-IID" partition of McMahan et al. 2017, section 3. They cut
    MNIST into 200 shards of 300 examples and gave two to each of 100 clients. Here the sizes of the
    shards differ by at most one example.

    Args:
      shards_per_client: at least 1, and ``num_clients * shards_per_client`` at most N.
    """
    labels = check_request(labels, num_clients, seed)
    check_int("shards_per_client", shards_per_client, 1)
    num_shards = num_clients * shards_per_client
    if num_shards > len(labels):
        raise ValueError(
            f"shards_per_client is {shards_per_client}, which for {num_clients} clients makes "
            f"{num_shards} shards; there are {len(labels)} examples, so it must be at most "
            f"{len(labels) // num_clients}."
        )
    rng = np.random.default_rng(seed)
    examples, _ = shuffle_by_class(labels, rng)
    shard_owner = rng.permutation(np.repeat(np.arange(num_clients), shards_per_client))
    owner = np.repeat(shard_owner, even_sizes(len(labels), num_shards))[np.argsort(examples)]
    return from_owners(owner, num_clients, "shards", {"shards_per_client": shards_per_client}, seed)


def classes_per_client(labels: np.ndarray, num_clients: int, k: int, *, seed: int = 0) -> Partition:
    """Gives each client exactly k classes, and divides each class evenly among its clients.

    This is the label skew "#C=k" of Li et al. 2021 (NIID-Bench, arXiv 2102.02079). Here the clients
    take their classes in turn from a shuffled list of all classes, and from a new list when it is
    used up. So any two classes differ by at most one in their number of clients.

    Args:
      k: from 1 to the number of classes, and ``num_clients * k`` at least that number. No
        class may have more clients than examples.
    """
    labels = check_request(labels, num_clients, seed)
    classes, counts = np.unique(labels, return_counts=True)
    check_int("k", k, 1, len(classes))
    if num_clients * k < len(classes):
        raise ValueError(
            f"k is {k}, which for {num_clients} clients makes {num_clients * k} places for "
            f"{len(classes)} classes; a class without a place would be lost."
        )
    most_clients = -(-num_clients * k // len(classes))
    if counts.min() < most_clients:
        raise ValueError(
            f"k is {k}, which gives up to {most_clients} of the {num_clients} clients the same "
            f"class; class {classes[counts.argmin()]} has {counts.min()} examples, too few for "
            "one each."
        )
    rng = np.random.default_rng(seed)
    examples, counts = shuffle_by_class(labels, rng)
    chosen = _choose_classes(num_clients, k, len(classes), rng)
    owners = []
    for number, count in enumerate(counts):
        clients = rng.permutation(np.flatnonzero((chosen == number).any(axis=1)))
        owners.append(np.repeat(clients, even_sizes(count, len(clients))))
    owner = np.concatenate(owners)[np.argsort(examples)]
    return from_owners(owner, num_clients, "classes_per_client", {"k": k}, seed)


def dirichlet_per_client(
    labels: np.ndarray,
    num_clients: int,
    alpha: float,
    *,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
) -> Partition:
    """Draws each client's mix of classes from Dir(alpha * prior), as Hsu et al. 2019 do.

    The prior is the mix of all labels, which sums to 1 (arXiv 1909.06335). Each client draws its
    examples without replacement. When no example of a class is left, the clients that still draw
    scale the rest of their mixes up to 1. The clients draw in a random order, and the last ones
    follow their mixes least.

    The alpha of :func:`dirichlet_per_class` is the concentration of one component, and here it is
    the sum over all. With ten classes, 1 here skews the mixes as much as 0.1 does there.

    Args:
      alpha: the concentration, from 1e-6 (one class a client, as long as examples last) to
        1e6 (every mix is the prior, as if IID).
    """
    labels = check_request(labels, num_clients, seed)
    check_number("alpha", alpha, **ALPHA_RANGE)
    wanted = check_sizes(sizes, len(labels), num_clients)
    rng = np.random.default_rng(seed)
    examples, left = shuffle_by_class(labels, rng)
    concentration = alpha * left / len(labels)
    ends = np.cumsum(left)  # of each class in `examples`, which is used up from its end
    owner = np.empty(len(labels), np.int64)
    for client in rng.permutation(num_clients):
        mix = rng.dirichlet(concentration)
        need = int(wanted[client])
        while need:
            # Drawing again for the classes without examples is scaling up the rest of the mix.
            mix = np.where(left > 0, mix, 0)
            if not mix.any():
                # All of the weight was on classes without examples. The other components of
                # a Dirichlet draw, scaled up, follow a Dirichlet distribution too: this one.
                mix[left > 0] = rng.dirichlet(concentration[left > 0])
            drawn = np.minimum(rng.multinomial(need, mix / mix.sum()), left)
            for number in np.flatnonzero(drawn):
                owner[examples[ends[number] - drawn[number] : ends[number]]] = client
            ends = ends - drawn
            left = left - drawn
            need -= int(drawn.sum())
    parameters = {"alpha": alpha, "sizes": "even" if sizes is None else "given"}
    return from_owners(owner, num_clients, "dirichlet_per_client", parameters, seed)


def dirichlet_per_class(
    labels: np.ndarray,
    num_clients: int,
    alpha: float,
    *,
    min_size: int = 1,
    max_draws: int = 100,
    seed: int = 0,
) -> Partition:
    """Divides each class among the clients by shares from a symmetric Dir(alpha).

    The scheme is that of Yurochkin et al. 2019 (arXiv 1905.12022), section 4, with the
    minimum size of Li et al. 2021 (NIID-Bench, arXiv 2102.02079): all shares are drawn again until
    every client holds at least `min_size` examples. The sizes of the clients differ too. Code that
    is often copied also gives no later classes to a client that already holds N / num_clients
    examples. That step is in neither paper and makes the skew milder, so it is left out here.

    Args:
      alpha: the concentration of the clients' shares, from 1e-6 (each class goes to one
        client) to 1e6 (equal shares).
      min_size: 0 accepts the first draw.
      max_draws: the number of draws before giving up, at least 1.

    Raises:
      ValueError: also if no draw gave every client `min_size` examples.
    """
    labels = check_request(labels, num_clients, seed, min_size)
    check_number("alpha", alpha, **ALPHA_RANGE)
    check_int("max_draws", max_draws, 1)
    rng = np.random.default_rng(seed)
    examples, counts = shuffle_by_class(labels, rng)
    best = 0
    for _ in range(max_draws):
        owners = np.concatenate([_divide_class(count, num_clients, alpha, rng) for count in counts])
        smallest = int(np.bincount(owners, minlength=num_clients).min())
        if smallest >= min_size:
            break
        best = max(best, smallest)
    else:
        raise ValueError(
            f"min_size is {min_size}; with {len(labels)} examples, {num_clients} clients and alpha "
            f"{alpha:g}, the smallest client held at most {best} in {max_draws} draws. Ask for a "
            "smaller min_size (0 allows empty clients), fewer clients or a larger alpha."
        )
    owner = owners[np.argsort(examples)]
    parameters = {"alpha": alpha, "min_size": min_size, "max_draws": max_draws}
    return from_owners(owner, num_clients, "dirichlet_per_class", parameters, seed)


def _divide_class(count: int, clients: int, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the owners of a class's examples, [count] ints in order."""
    shares = rng.dirichlet(np.full(clients, alpha))
    ends = np.minimum(np.floor(np.cumsum(shares) * count).astype(np.int64), count)
    ends[-1] = count  # the sum of the shares may be a rounding error below 1
    return np.repeat(np.arange(clients), np.diff(ends, prepend=0))


def _choose_classes(clients: int, k: int, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Returns each client's k different classes, [clients, k] ints."""
    chosen = np.empty((clients, k), np.int64)
    waiting = np.empty(0, np.int64)
    for row in chosen:
        if len(waiting) < k:
            fresh = rng.permutation(classes)
            twice = np.isin(fresh, waiting)  # they go to the end, so no row has a class twice
            waiting = np.concatenate([waiting, fresh[~twice], fresh[twice]])
        row[:], waiting = waiting[:k], waiting[k:]
    return chosen
