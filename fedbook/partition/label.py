"""Label skew: clients that differ in which classes they hold."""

from collections.abc import Sequence

import numpy as np

from fedbook.partition.base import (
    Partition,
    by_class,
    check_alpha,
    check_clients,
    check_int,
    check_sizes,
    deal,
    even_sizes,
)


def shards(
    labels: np.ndarray, num_clients: int, shards_per_client: int = 2, *, seed: int = 0
) -> Partition:
    """Sorts by label, cuts into shards and deals each client the same number of them.

    The "pathological non-IID" case of McMahan et al. 2017, section 3: MNIST, 200
    shards of 300, two for each of 100 clients. Shards are equal up to one example.

    Args:
      labels: [N] ints from 0.
      num_clients: from 1 to N.
      shards_per_client: at least 1, and ``num_clients * shards_per_client`` at most N.
      seed: an int from 0.

    Raises:
      ValueError: if an argument is out of its range, or there are more shards than
        examples.
    """
    labels = check_clients(labels, num_clients, seed)
    check_int("shards_per_client", shards_per_client, 1)
    num_shards = num_clients * shards_per_client
    if num_shards > len(labels):
        raise ValueError(
            f"shards_per_client is {shards_per_client}, which for {num_clients} clients makes "
            f"{num_shards} shards; there are {len(labels)} examples, so it must be at most "
            f"{len(labels) // num_clients}."
        )
    rng = np.random.default_rng(seed)
    examples, _ = by_class(labels, rng)
    holder = rng.permutation(np.repeat(np.arange(num_clients), shards_per_client))
    owner = np.empty(len(labels), np.int64)
    owner[examples] = np.repeat(holder, even_sizes(len(labels), num_shards))
    return deal(owner, num_clients, "shards", {"shards_per_client": shards_per_client}, seed)


def classes_per_client(labels: np.ndarray, num_clients: int, k: int, *, seed: int = 0) -> Partition:
    """Gives each client exactly k classes, and shares each class evenly among its holders.

    The "#C=k" label skew of Li et al. 2021 (NIID-Bench, arXiv 2102.02079). Here
    the classes are dealt like cards: from a shuffled pack with each class in it
    once, a new pack when it is empty, never the same class twice to a client. So
    any two classes differ by at most one in how many clients hold them.

    Args:
      labels: [N] ints from 0; the classes are those that occur.
      num_clients: from 1 to N, and enough that every class finds a holder.
      k: from 1 to the number of classes.
      seed: an int from 0.

    Raises:
      ValueError: if an argument is out of its range, ``num_clients * k`` is below
        the number of classes, or a class has fewer examples than holders.
    """
    labels = check_clients(labels, num_clients, seed)
    classes, counts = np.unique(labels, return_counts=True)
    check_int("k", k, 1, len(classes))
    if num_clients * k < len(classes):
        raise ValueError(
            f"k is {k}, which for {num_clients} clients makes {num_clients * k} places for "
            f"{len(classes)} classes; a class without a place would be lost."
        )
    holders = -(-num_clients * k // len(classes))
    if counts.min() < holders:
        raise ValueError(
            f"k is {k}, which for {num_clients} clients makes up to {holders} holders of a class; "
            f"class {classes[counts.argmin()]} has {counts.min()} examples, too few for one each."
        )
    rng = np.random.default_rng(seed)
    examples, counts = by_class(labels, rng)
    hands = _deal_packs(num_clients, k, len(classes), rng)
    parts = []
    for number, count in enumerate(counts):
        holds = rng.permutation(np.flatnonzero((hands == number).any(axis=1)))
        parts.append(np.repeat(holds, even_sizes(count, len(holds))))
    owner = np.empty(len(labels), np.int64)
    owner[examples] = np.concatenate(parts)
    return deal(owner, num_clients, "classes_per_client", {"k": k}, seed)


def dirichlet_per_client(
    labels: np.ndarray,
    num_clients: int,
    alpha: float,
    *,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
) -> Partition:
    """Draws each client's mix of classes from Dir(alpha * prior).

    Hsu et al. 2019 (arXiv 1909.06335); the prior is the mix of all labels and sums
    to 1. Each client draws its examples by its mix, without
    replacement. A class that has run out is left out of the mixes of the clients
    that still draw, and the rest of each mix is scaled up to 1; so the last to
    draw, who are chosen at random, follow their mixes least.

    Beside :func:`dirichlet_per_class` mind the scale: there alpha is the
    concentration of one component, here the sum over all classes. An alpha of 1
    here spreads ten classes as 0.1 for each would.

    Args:
      labels: [N] ints from 0; the classes are those that occur.
      num_clients: from 1 to N.
      alpha: the concentration, 1e-6 (one class a client, until classes run out) to
        1e6 (the prior, as if IID).
      sizes: [num_clients] ints that sum to N; by default equal up to one. The
        `sizes` of another partition add quantity skew.
      seed: an int from 0.

    Raises:
      ValueError: if an argument is out of its range.
    """
    labels = check_clients(labels, num_clients, seed)
    check_alpha(alpha)
    wanted = check_sizes(sizes, len(labels), num_clients)
    rng = np.random.default_rng(seed)
    examples, left = by_class(labels, rng)
    concentration = alpha * left / len(labels)
    ends = np.cumsum(left)  # of each class in `examples`, which is used up from its end
    owner = np.empty(len(labels), np.int64)
    for client in rng.permutation(num_clients):
        mix = rng.dirichlet(concentration)
        need = int(wanted[client])
        while need:
            # Draws of a class that has run out are thrown away and drawn again: the
            # same as scaling up what remains of the mix.
            mix = np.where(left > 0, mix, 0)
            if not mix.any():
                # All its weight was on classes that are gone. Part of a Dirichlet draw,
                # scaled up, is a Dirichlet draw of its own: this is one.
                mix[left > 0] = rng.dirichlet(concentration[left > 0])
            drawn = np.minimum(rng.multinomial(need, mix / mix.sum()), left)
            for number in np.flatnonzero(drawn):
                owner[examples[ends[number] - drawn[number] : ends[number]]] = client
            ends = ends - drawn
            left = left - drawn
            need -= int(drawn.sum())
    parameters = {"alpha": alpha, "sizes": "even" if sizes is None else "given"}
    return deal(owner, num_clients, "dirichlet_per_client", parameters, seed)


def dirichlet_per_class(
    labels: np.ndarray,
    num_clients: int,
    alpha: float,
    *,
    min_size: int = 1,
    max_draws: int = 100,
    seed: int = 0,
) -> Partition:
    """Splits each class among the clients by shares drawn from a symmetric Dir(alpha).

    Yurochkin et al. 2019 (arXiv 1905.12022), section 4, with the minimum size of
    Li et al. 2021 (NIID-Bench, arXiv 2102.02079): all shares are drawn again until
    every client holds at least `min_size`. Sizes differ as well as mixes. The code
    that is often copied for this also gives no more of the later classes to a
    client that holds N / num_clients already, a step that the papers do not
    describe and that makes the skew milder; it is not done here.

    Args:
      labels: [N] ints from 0; the classes are those that occur.
      num_clients: from 1 to N.
      alpha: the concentration of each client's share, 1e-6 (each class with one
        client) to 1e6 (equal shares).
      min_size: what every client must hold; 0 accepts the first draw.
      max_draws: how often to draw before giving up, at least 1.
      seed: an int from 0.

    Raises:
      ValueError: if an argument is out of its range, N is less than
        ``num_clients * min_size``, or no draw of `max_draws` gave every client
        `min_size` examples.
    """
    labels = check_clients(labels, num_clients, seed, min_size)
    check_alpha(alpha)
    check_int("max_draws", max_draws, 1)
    rng = np.random.default_rng(seed)
    examples, counts = by_class(labels, rng)
    best = 0
    for _ in range(max_draws):
        owners = np.concatenate([_split_class(count, num_clients, alpha, rng) for count in counts])
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
    owner = np.empty(len(labels), np.int64)
    owner[examples] = owners
    parameters = {"alpha": alpha, "min_size": min_size, "max_draws": max_draws}
    return deal(owner, num_clients, "dirichlet_per_class", parameters, seed)


def _split_class(count: int, num_clients: int, alpha: float, rng) -> np.ndarray:
    """Returns the owners of a class's examples, [count] ints in order."""
    ends = np.floor(np.cumsum(rng.dirichlet(np.full(num_clients, alpha))) * count).astype(np.int64)
    ends = np.minimum(ends, count)
    ends[-1] = count  # the sum of the shares may be a rounding error below 1
    return np.repeat(np.arange(num_clients), np.diff(ends, prepend=0))


def _deal_packs(num_clients: int, k: int, num_classes: int, rng) -> np.ndarray:
    """Returns each client's k different classes, [num_clients, k] ints."""
    hands = np.empty((num_clients, k), np.int64)
    pack = np.empty(0, np.int64)
    for hand in hands:
        first, pack = pack[:k], pack[k:]
        missing = k - len(first)
        if missing:
            fresh = rng.permutation(num_classes)
            held = np.isin(fresh, first)
            fresh = np.concatenate([fresh[~held], fresh[held]])  # what it holds must wait
            first, pack = np.concatenate([first, fresh[:missing]]), fresh[missing:]
        hand[:] = first
    return hands
