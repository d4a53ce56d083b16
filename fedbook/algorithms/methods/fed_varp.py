"""FedVARP and MIFA: the server remembers the last delta of every client.

FedVARP: Jhunjhunwala, Sharma, Nagarkatti and Joshi 2022 (arXiv 2207.14130), Algorithm 1.
MIFA: Gu, Huang, Zhang and Huang 2021 (arXiv 2106.04159), Algorithm 1.

The clients do what they do in FedAvg. Under partial participation the mean over a cohort is a noisy
guess of the mean over all clients. The server can make a better one, because it knows what the
absent clients sent when they last took part. MIFA takes the mean of the last deltas of all clients.
FedVARP corrects the cohort's mean instead: it subtracts what the same clients sent before, and adds
the mean of what all clients sent before. As in SAGA, from which both descend, that is right on
average whatever is remembered. With all clients in every round both are FedAvg.
"""

import numpy as np

from fedbook.algorithms.base import Algorithm, Arrays, LocalTraining, Memory, zeros_like
from fedbook.algorithms.methods.server_optimizers import sgd
from fedbook.checks import check_learning_rate


def fed_varp(client_lr: float, server_lr: float = 1.0) -> Algorithm:
    """Returns FedVARP. For each client its last delta is remembered as "sent".

    A client that has not taken part yet counts with a delta of 0. The server remembers the mean
    over all clients, "mean_sent".

    Args:
      client_lr: learning rate of the clients' SGD, above 0.
      server_lr: factor on the corrected mean, above 0; 1 gives the mean itself.

    Raises:
      ValueError: if a learning rate is not a finite number above 0.
    """
    return _with_memory(client_lr, server_lr, _corrected_mean)


def mifa(client_lr: float, server_lr: float = 1.0) -> Algorithm:
    """Returns MIFA, which remembers what :func:`fed_varp` remembers.

    The paper assumes that all clients take part in the first round. Here a client that has not
    taken part yet counts with a delta of 0, so that the first steps are short.

    Args:
      client_lr: learning rate of the clients' SGD, above 0.
      server_lr: factor on the mean of the last deltas, above 0; 1 gives the mean itself.

    Raises:
      ValueError: if a learning rate is not a finite number above 0.
    """
    return _with_memory(client_lr, server_lr, _mean_of_the_last)


def _with_memory(client_lr, server_lr, combine) -> Algorithm:
    return Algorithm(
        client_lr,
        sgd(check_learning_rate("server_lr", server_lr)),
        server_memory=lambda weights: {"mean_sent": zeros_like(weights)},
        client_memory=lambda weights: {"sent": zeros_like(weights)},
        renew_clients=lambda server, clients, training: {"sent": training.delta},
        renew_server=_renew_mean,
        combine=combine,
    )


def _renew_mean(
    server: Memory, clients: Memory, training: LocalTraining, num_clients: int
) -> Memory:
    return {"mean_sent": _mean_of_the_last(server, clients, training, num_clients)}


def _mean_of_the_last(
    server: Memory, clients: Memory, training: LocalTraining, num_clients: int
) -> Arrays:
    """Returns the mean over all clients of what they sent last, in this round or before."""
    arrays = zip(server["mean_sent"], clients["sent"], training.delta)
    return [mean + (d - old).sum(0) / np.float32(num_clients) for mean, old, d in arrays]


def _corrected_mean(
    server: Memory, clients: Memory, training: LocalTraining, num_clients: int
) -> Arrays:
    arrays = zip(server["mean_sent"], clients["sent"], training.delta)
    return [(d - old).mean(0) + mean for mean, old, d in arrays]
