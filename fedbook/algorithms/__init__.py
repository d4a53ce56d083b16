"""Algorithms of federated learning: plain, fast and in TFF.

Federated averaging as chapter 1 writes it is :func:`client_update` and
:func:`server_aggregate`. Every other algorithm is a small change to it. Each is made by a
function of its hyperparameters and run by :func:`run`::

    state, history = algorithms.run(
        algorithms.scaffold(client_lr=0.1), federation, evaluate,
        rounds=20, cohort=5, steps=40, batch_size=10, seed=1,
    )

- :func:`fed_avg`; :func:`fed_avg_m`, :func:`fed_adam` and :func:`fed_yogi` change what the
  server does with the mean delta;
- :func:`fed_varp` and :func:`mifa` let the server remember each client's last delta, and
  :func:`fed_nova` lets clients with many and with few steps count the same;
- :func:`fed_prox`, :func:`scaffold`, :func:`mime_lite` and :func:`fed_dyn` change the clients'
  steps.

:mod:`fedbook.algorithms.tff` has some of them in TensorFlow Federated. A new method is a
new file in ``fedbook/algorithms/methods``.
"""

from fedbook.algorithms import tff
from fedbook.algorithms.backends import ALL_AT_ONCE, ONE_AT_A_TIME, Backend
from fedbook.algorithms.base import Algorithm, Cohort, LocalTraining, ServerOptimizer
from fedbook.algorithms.methods.error_feedback import encode_with_memory, zero_memory
from fedbook.algorithms.methods.fed_avg import fed_avg
from fedbook.algorithms.methods.fed_dyn import fed_dyn
from fedbook.algorithms.methods.fed_nova import fed_nova
from fedbook.algorithms.methods.fed_prox import Proximal, fed_prox
from fedbook.algorithms.methods.fed_varp import fed_varp, mifa
from fedbook.algorithms.methods.mime_lite import mime_lite
from fedbook.algorithms.methods.scaffold import scaffold
from fedbook.algorithms.methods.server_optimizers import (
    adam,
    fed_adam,
    fed_avg_m,
    fed_yogi,
    server_update,
    sgd,
    yogi,
)
from fedbook.algorithms.plain import ClientUpdate, client_update, server_aggregate
from fedbook.algorithms.rounds import Federation, State, initial_state, next_round, run

__all__ = [
    "ALL_AT_ONCE",
    "ONE_AT_A_TIME",
    "Algorithm",
    "Backend",
    "ClientUpdate",
    "Cohort",
    "Federation",
    "LocalTraining",
    "Proximal",
    "ServerOptimizer",
    "State",
    "adam",
    "client_update",
    "encode_with_memory",
    "fed_adam",
    "fed_avg",
    "fed_avg_m",
    "fed_dyn",
    "fed_nova",
    "fed_prox",
    "fed_varp",
    "fed_yogi",
    "initial_state",
    "mifa",
    "mime_lite",
    "next_round",
    "run",
    "scaffold",
    "server_aggregate",
    "server_update",
    "sgd",
    "tff",
    "yogi",
    "zero_memory",
]
