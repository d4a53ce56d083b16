"""Algorithms in TensorFlow Federated.

- :func:`build_fed_avg`, :func:`build_scaffold` and :func:`build_error_feedback` are written
  in Federated Core, TFF's language, as chapters 5, 8 and 9 teach it;
- :func:`build_fast_fed_avg` is ``tff.learning``'s federated averaging with a faster part
  for the clients, :func:`build_client_work`.
"""

from fedbook.algorithms.tff.client_work import build_client_work, build_fast_fed_avg
from fedbook.algorithms.tff.error_feedback import build_error_feedback
from fedbook.algorithms.tff.fed_avg import build_fed_avg
from fedbook.algorithms.tff.scaffold import build_scaffold, run_scaffold_round

__all__ = [
    "build_client_work",
    "build_error_feedback",
    "build_fast_fed_avg",
    "build_fed_avg",
    "build_scaffold",
    "run_scaffold_round",
]
