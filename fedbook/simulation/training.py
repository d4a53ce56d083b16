"""Rounds of a TFF process on sampled clients."""

import asyncio
import contextlib
import dataclasses
import pathlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow_federated as tff
from tqdm import tqdm

from fedbook.checks import check_int, check_type
from fedbook.simulation.checkpoints import Checkpoints
from fedbook.simulation.history import History, TensorBoard
from fedbook.simulation.identity import check_prepare, identity_of
from fedbook.simulation.sampling import Prepare, check_ids, sample_clients


@dataclasses.dataclass(frozen=True)
class Run:
    """The result of :func:`run_training`.

    Attributes:
      state: the state of the training process after the last round.
      history: one row a round, indexed by `round`; round 0 is the evaluation before training. The
        columns are ``train/...`` for the metrics of the clients' training, ``test/...`` for those
        of the evaluation, ``seconds`` for the duration of the round's training, and the other
        metrics of the process by their path. A value is NaN if the round does not have it.
    """

    state: Any
    history: pd.DataFrame


def run_training(
    process: tff.templates.IterativeProcess,
    data: tff.simulation.datasets.ClientData,
    *,
    rounds: int,
    cohort: int,
    prepare: Prepare,
    seed: int = 0,
    client_ids: Sequence[str] | None = None,
    evaluate: Callable[[Any], Mapping[str, float]] | None = None,
    evaluate_every: int = 1,
    progress: str | None = None,
    log_dir: str | pathlib.Path | None = None,
    checkpoint_dir: str | pathlib.Path | None = None,
    checkpoint_every: int = 1,
) -> Run:
    """Trains for a number of rounds on sampled clients.

    Args:
      process: the result of TFF's ``build_...`` functions. Its ``next`` takes the state and a list
        of client datasets.
      data: the clients' datasets.
      rounds: the number of rounds, at least 1. With a checkpoint, the rounds before it count.
      cohort: the number of clients in a round.
      prepare: a function from a client's dataset and a seed, which differs from round to
        round, to the dataset that the process takes; see :func:`prepare_batches`. With
        `checkpoint_dir` it must be an instance of a dataclass, as that function's result is,
        because a checkpoint writes down the names and values of its fields.
      seed: an int from 0 to 2**32 - 1. It fixes the clients of each round and the seeds of
        `prepare`.
      client_ids: the population; by default all clients of `data`.
      evaluate: a function from the state to metrics, called before the first round and then
        after every `evaluate_every` rounds.
      evaluate_every: at least 1.
      progress: the column of the history to show next to the progress bar.
      log_dir: a folder for TensorBoard's event files. The metrics of training are written
        to ``log_dir/train``, those of the evaluation to ``log_dir/test``.
      checkpoint_dir: a folder in which the state is saved after every `checkpoint_every`
        rounds. If it holds a checkpoint of the same run, the run continues from there and ends with
        the same state, bit for bit, as an uninterrupted run. The history then has all rounds.
        The same run has the same process, data, `prepare`, `cohort`, `seed` and
        ``tf.random.set_seed``; only `rounds` may grow. The last two states are kept. If the newest
        cannot be read, the run warns and continues from the one before it.
      checkpoint_every: at least 1.

    Raises:
      ValueError: if a number is out of range, `client_ids` holds an id that is not in `data`, or
        `checkpoint_dir` belongs to a run with other arguments, to an earlier version of this
        package, or holds files that are damaged.
      TypeError: if `process`, `data`, `prepare` or `evaluate` is not what it should be.
      OSError: if a checkpoint cannot be written or read, for example because the disk is full.
    """
    check_type("process", process, tff.templates.IterativeProcess)
    check_type("data", data, tff.simulation.datasets.ClientData)
    check_int("rounds", rounds, 1)
    check_int("evaluate_every", evaluate_every, 1)
    check_int("checkpoint_every", checkpoint_every, 1)
    for name, value in {"prepare": prepare, "evaluate": evaluate}.items():
        if not (callable(value) or (name == "evaluate" and value is None)):
            raise TypeError(f"{name} is a {type(value).__name__}; it must be a function.")
    client_ids = check_ids(data.client_ids if client_ids is None else client_ids, data.client_ids)
    sample = sample_clients(client_ids, cohort, seed)
    if checkpoint_dir is not None:
        check_prepare(prepare)

    def cohort_data(round_number: int) -> list:
        # Each client has a seed for each round, so that a resumed run shuffles in the same way.
        seeds = np.random.default_rng([int(seed), round_number]).integers(2**31, size=cohort)
        sampled = map(data.create_tf_dataset_for_client, sample(round_number))
        return [prepare(dataset, int(own)) for dataset, own in zip(sampled, seeds)]

    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=rounds, desc="rounds", leave=False, file=sys.stdout))
        history = History(bar, progress)
        managers, checkpoints = [history], None
        if log_dir is not None:
            managers.append(stack.enter_context(TensorBoard(pathlib.Path(log_dir))))
        if checkpoint_dir is not None:
            identity = identity_of(process, data, prepare, client_ids, cohort, seed)
            checkpoints = Checkpoints(checkpoint_dir, rounds, identity, history)
        stack.enter_context(event_loop())
        state = tff.simulation.run_training_process(
            process,
            cohort_data,
            total_rounds=rounds,
            evaluation_fn=None if evaluate is None else lambda state, _: dict(evaluate(state)),
            evaluation_selection_fn=lambda round_number: None,
            rounds_per_evaluation=evaluate_every,
            program_state_manager=checkpoints,
            rounds_per_saving_program_state=checkpoint_every,
            metrics_managers=managers,
        )
    return Run(state, history.table())


@contextlib.contextmanager
def event_loop():
    """Provides TFF with an event loop of its own, and then restores the caller's.

    Raises:
      RuntimeError: if a loop is running that nest_asyncio has not changed.
    """
    running = before = None
    with contextlib.suppress(RuntimeError):  # asyncio's way to say that no loop is running
        running = asyncio.get_running_loop()
    if hasattr(running, "_nest_patched"):
        yield
        return
    if running is not None:
        raise RuntimeError(
            "run_training was called while an event loop runs, and TFF needs one of its own. "
            "Call it from a function that is not async, or first run "
            "`import nest_asyncio; nest_asyncio.apply()`."
        )
    with warnings.catch_warnings(), contextlib.suppress(RuntimeError):  # there may be none
        # Python 3.12 and 3.13 warn if the main thread has none yet, and make one.
        warnings.simplefilter("ignore", DeprecationWarning)
        before = asyncio.get_event_loop()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(before)
        loop.close()
