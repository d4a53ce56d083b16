"""Running a simulation: which clients take part, what is recorded, and how a run resumes.

The function :func:`run_training` adds to TFF's own ``tff.simulation.run_training_process``
what a chapter needs: clients sampled from a seed, a progress bar, the history as a table,
TensorBoard and checkpoints.
"""

from fedbook.simulation.sampling import LAST_SEED, Prepare, prepare_batches, sample_clients
from fedbook.simulation.training import Run, run_training

__all__ = ["LAST_SEED", "Prepare", "Run", "prepare_batches", "run_training", "sample_clients"]
