"""SCAFFOLD: the clients subtract what they know of their own drift.

Karimireddy et al. 2020 (arXiv 1910.06378), Algorithm 1, option II. Each client remembers a
control, its guess of its own gradient, and the server remembers the mean of all clients'
controls. A client goes along ``gradient - own control + server's control``. Its new
control is the mean gradient of the steps that it just took, which follows from its delta.
"""

import numpy as np

from fedbook.algorithms.base import Algorithm, LocalTraining, Memory, zeros_like
from fedbook.algorithms.methods.server_optimizers import sgd


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
        sgd(server_lr),
        server_memory=_zero_control,
        client_memory=_zero_control,
        correction=_correction,
        client_report=_renew_controls,
        server_report=_follow_controls,
    )


def _zero_control(weights) -> Memory:
    return {"control": zeros_like(weights)}


def _correction(server: Memory, clients: Memory):
    return [mean - own for mean, own in zip(server["control"], clients["control"])]


def _renew_controls(server: Memory, clients: Memory, training: LocalTraining):
    new, change = [], []
    for mean, own, delta in zip(server["control"], clients["control"], training.delta):
        new.append(own - mean - delta / training.total_rate)
        change.append(new[-1] - own)
    return {"control_change": change}, {"control": new}


def _follow_controls(server: Memory, report: Memory, num_clients: int) -> Memory:
    # A sum over the cohort, divided by all clients: so the control stays the mean of all.
    changes = zip(server["control"], report["control_change"])
    return {"control": [c + change.sum(0) / np.float32(num_clients) for c, change in changes]}
