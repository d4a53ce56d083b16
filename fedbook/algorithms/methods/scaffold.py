"""SCAFFOLD: the clients subtract what they know of their own drift.

Karimireddy et al. 2020 (arXiv 1910.06378), Algorithm 1, option II. Each client remembers a
control, its guess of its own gradient, and the server remembers the mean of all clients'
controls. A client goes along ``gradient - own control + server's control``. Its new
control is the mean gradient of the steps that it just took, which follows from its delta.

The paper lets each client send the change of its control beside its delta. With option II that
change is ``-server's control - delta / (steps * learning rate)``. The server has all of this but
the number of steps, so a client sends one vector of the model's size, as in FedAvg. The server
must see each delta by itself, unless all clients take equally many steps.
"""

import numpy as np

from fedbook.algorithms.base import Algorithm, LocalTraining, Memory, zeros_like
from fedbook.algorithms.methods.server_optimizers import sgd
from fedbook.checks import check_learning_rate


def scaffold(client_lr: float, server_lr: float = 1.0) -> Algorithm:
    """Returns SCAFFOLD. Clients and server remember their controls as "control".

    Args:
      client_lr: learning rate of the clients' SGD, above 0.
      server_lr: factor on the mean delta, above 0.

    Raises:
      ValueError: if a learning rate is not a finite number above 0.
    """
    return Algorithm(
        client_lr,
        sgd(check_learning_rate("server_lr", server_lr)),
        server_memory=_zero_control,
        client_memory=_zero_control,
        correction=_correction,
        renew_clients=_renew_controls,
        renew_server=_follow_controls,
    )


def _zero_control(weights) -> Memory:
    return {"control": zeros_like(weights)}


def _correction(server: Memory, clients: Memory):
    return [mean - own for mean, own in zip(server["control"], clients["control"])]


def _renew_controls(server: Memory, clients: Memory, training: LocalTraining) -> Memory:
    arrays = zip(server["control"], clients["control"], training.mean_direction())
    return {"control": [own - mean + along for mean, own, along in arrays]}


def _follow_controls(
    server: Memory, clients: Memory, training: LocalTraining, num_clients: int
) -> Memory:
    renewed = []
    for control, along in zip(server["control"], training.mean_direction()):
        changes = along - control
        # A sum over the cohort, divided by all clients: so the control stays the mean of all.
        renewed.append(control + changes.sum(0) / np.float32(num_clients))
    return {"control": renewed}
