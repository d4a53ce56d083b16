"""Rounds: which clients take part, what is recorded, and how a run is resumed.

:func:`run` is TFF's own ``tff.simulation.run_training_process`` with what a
chapter wants around it: client sampling from a seed, a progress bar, the history
as a table, TensorBoard and checkpoints.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_federated as tff
import tree
from tqdm import tqdm

from fedbook import datasets

Prepare = Callable[[tf.data.Dataset, int], Any]


@dataclasses.dataclass(frozen=True)
class Run:
    """What :func:`run` returns.

    Attributes:
      state: the training process's state after the last round.
      history: one row a round, indexed by `round`; round 0 is the evaluation
        before training. Columns are ``train/...`` for the clients' training
        metrics, ``test/...`` for the evaluation's, ``seconds`` for the time that
        the round's training took, and the process's other metrics by their path;
        NaN where a round has no value.
    """

    state: Any
    history: pd.DataFrame


def prepare_batches(
    batch_size: int, epochs: int = 1, *, shuffle: bool = True, limit: int | None = None
) -> Prepare:
    """Returns the `prepare` of :func:`run` for the chapters' classifiers.

    Args:
      batch_size: B of McMahan et al. 2017; the last batch may be smaller.
      epochs: E, local epochs.
      shuffle: whether to reshuffle each epoch, from the seed that :func:`run` gives.
      limit: use this many of the client's examples; all by default.

    Returns:
      A function of a dataset of ``OrderedDict(label, pixels)`` and a seed; it
      returns the dataset of (images [b, 28, 28] float32, labels [b] int32).

    Raises:
      ValueError: if `batch_size`, `epochs` or `limit` is below 1.
    """
    for name, value in {"batch_size": batch_size, "epochs": epochs, "limit": limit}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")

    def prepare(dataset: tf.data.Dataset, seed: int) -> tf.data.Dataset:
        if limit is not None:
            dataset = dataset.take(limit)
        if shuffle:
            dataset = dataset.shuffle(10_000, seed=seed)
        dataset = dataset.repeat(epochs) if epochs > 1 else dataset
        batches = dataset.batch(batch_size).map(lambda example: (example["pixels"], example["label"]))
        return datasets.read_once(batches)

    return prepare


def sample_clients(client_ids: Sequence[str], cohort: int, seed: int) -> Callable[[int], list[str]]:
    """Returns a function from the round's number to its clients.

    Uniform, without replacement within a round; a round's clients depend on the
    seed and the round's number only (`tff.simulation.build_uniform_sampling_fn`).

    Args:
      client_ids: the population.
      cohort: clients per round, from 1 to the size of the population.
      seed: any int.

    Raises:
      ValueError: if `client_ids` holds duplicates or `cohort` is out of range.
    """
    if len(set(client_ids)) != len(client_ids):
        raise ValueError("client_ids holds duplicates; each client may stand there once.")
    if not 1 <= cohort <= len(client_ids):
        raise ValueError(
            f"cohort is {cohort}; it must be from 1 to {len(client_ids)}, the number of clients."
        )
    sample = tff.simulation.build_uniform_sampling_fn(list(client_ids), random_seed=int(seed))
    return lambda round_number: sample(round_number, cohort)


def run(
    process: tff.templates.IterativeProcess,
    data: tff.simulation.datasets.ClientData,
    *,
    rounds: int,
    cohort: int,
    prepare: Prepare | None,
    seed: int = 0,
    client_ids: Sequence[str] | None = None,
    initial_state: Any = None,
    evaluate: Callable[[Any], Mapping[str, float]] | None = None,
    evaluate_every: int = 1,
    progress: str | None = None,
    log_dir: str | pathlib.Path | None = None,
    checkpoint_dir: str | pathlib.Path | None = None,
    checkpoint_every: int = 1,
) -> Run:
    """Trains for a number of rounds on sampled clients.

    Args:
      process: what TFF's ``build_...`` functions return; its ``next`` takes the
        state and a list of client datasets.
      data: the clients' datasets.
      rounds: how many, at least 1. With a checkpoint, how many in all.
      cohort: clients per round.
      prepare: turns a client's dataset and a seed, which differs from round to
        round, into what the process takes; see :func:`prepare_batches`. None if
        the process takes client ids; see :mod:`fedbook.resident`.
      seed: fixes the clients of each round and the seeds given to `prepare`.
      client_ids: the population; all of `data` by default.
      initial_state: where to start; ``process.initialize()`` by default.
      evaluate: from the state to metrics, called before the first round and then
        every `evaluate_every` rounds.
      evaluate_every: see above.
      progress: a metric, by its column in the history, to show beside the
        progress bar.
      log_dir: writes TensorBoard event files, training metrics to
        ``log_dir/train``, evaluation metrics to ``log_dir/test`` under the same
        names.
      checkpoint_dir: saves the state every `checkpoint_every` rounds. If it holds
        a checkpoint of the same run, the run goes on from there and ends with the
        same state, bit for bit, as one that was never interrupted.
      checkpoint_every: see above.

    Returns:
      The last state and the history, of the rounds before a resumption too.

    Raises:
      ValueError: if a number is out of range, `client_ids` holds an id that is
        not in `data`, or `checkpoint_dir` belongs to a run with other arguments.
    """
    for name, value in {
        "rounds": rounds, "evaluate_every": evaluate_every, "checkpoint_every": checkpoint_every
    }.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")
    client_ids = _check_ids(data, client_ids)
    sample = sample_clients(client_ids, cohort, seed)

    def cohort_data(round_number: int) -> list:
        if prepare is None:
            return sample(round_number)
        # A seed for each client and round, so that a resumed run shuffles alike.
        seeds = np.random.default_rng([abs(int(seed)), round_number]).integers(2**31, size=cohort)
        return [
            prepare(data.create_tf_dataset_for_client(client), int(s))
            for client, s in zip(sample(round_number), seeds)
        ]

    if initial_state is not None:
        process = types.SimpleNamespace(initialize=lambda: initial_state, next=process.next)
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=rounds, desc="rounds", leave=False, file=sys.stdout)
        )
        history = _History(bar, progress)
        managers, checkpoints = [history], None
        if log_dir is not None:
            managers.append(stack.enter_context(_TensorBoard(pathlib.Path(log_dir))))
        if checkpoint_dir is not None:
            checkpoints = _Checkpoints(checkpoint_dir, rounds, _identity(client_ids, cohort, seed), history)
        stack.enter_context(_event_loop())
        state = tff.simulation.run_training_process(
            process,
            cohort_data,
            total_rounds=rounds,
            evaluation_fn=evaluate and (lambda state, _: dict(evaluate(state))),
            evaluation_selection_fn=lambda round_number: None,
            rounds_per_evaluation=evaluate_every,
            program_state_manager=checkpoints,
            rounds_per_saving_program_state=checkpoint_every,
            metrics_managers=managers,
        )
    return Run(state, history.table())


def _check_ids(data, client_ids) -> list[str]:
    if client_ids is None:
        return list(data.client_ids)
    unknown = sorted(set(client_ids) - set(data.client_ids))
    if unknown:
        raise ValueError(
            f"client_ids holds {len(unknown)} ids that are not in data: {', '.join(unknown[:5])}"
            + (", ..." if len(unknown) > 5 else ".")
        )
    return list(client_ids)


def _identity(client_ids: Sequence[str], cohort: int, seed: int) -> dict[str, Any]:
    """What two runs must have in common for one to go on where the other stopped."""
    digest = hashlib.sha256("\n".join(client_ids).encode()).hexdigest()
    return {"cohort": cohort, "seed": int(seed), "clients": len(client_ids), "client_ids_sha256": digest}


def _columns(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens TFF's nested metrics to {"train/loss": 0.5, ...}; see `Run.history`."""
    columns = {}
    for path, value in tree.flatten_with_path(metrics):
        name = "/".join(str(part) for part in path)
        if name == tff.simulation.TRAINING_TIME_KEY:
            name = "seconds"
        elif name == tff.simulation.ROUND_NUMBER_KEY or name.endswith(tff.simulation.EVALUATION_TIME_KEY):
            continue
        name = name.removeprefix("client_work/")
        if name.startswith(tff.simulation.EVALUATION_METRICS_PREFIX):
            name = "test/" + name.removeprefix(tff.simulation.EVALUATION_METRICS_PREFIX)
        columns[name] = np.asarray(value).tolist()
    return columns


class _History(tff.program.ReleaseManager):
    """Keeps the metrics of each round, and moves the progress bar."""

    def __init__(self, bar: tqdm, shown: str | None):
        self._rows: dict[int, dict[str, Any]] = {}
        self._bar = bar
        self._shown = shown

    async def release(self, value, key):
        self._rows[key] = row = _columns(value)
        if self._shown in row:
            self._bar.set_postfix({self._shown: f"{row[self._shown]:.4f}"}, refresh=False)
        self._bar.update(1 if key > 0 else 0)

    def table(self) -> pd.DataFrame:
        table = pd.DataFrame.from_dict(self._rows, orient="index").sort_index()
        table.index.name = "round"
        return table

    def save(self, path: pathlib.Path) -> None:
        whole = path.with_suffix(".new")
        whole.write_text("".join(json.dumps([key, row]) + "\n" for key, row in self._rows.items()))
        whole.replace(path)

    def load(self, path: pathlib.Path, last_round: int) -> None:
        rows = (json.loads(line) for line in path.read_text().splitlines())
        self._rows = {key: row for key, row in rows if key <= last_round}
        self._bar.update(last_round)


class _TensorBoard(tff.program.ReleaseManager):
    """Writes scalars to two runs, so that TensorBoard draws them in one chart."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for writer in self._writers.values():
            writer.close()

    async def release(self, value, key):
        for name, number in _columns(value).items():
            run, _, tag = name.rpartition("/")
            if not isinstance(number, (int, float)):
                continue  # a matrix is not a curve
            run = run or "train"
            if run not in self._writers:
                self._writers[run] = tf.summary.create_file_writer(str(self._folder / run))
            with self._writers[run].as_default():
                tf.summary.scalar(tag, number, step=key)


class _Checkpoints(tff.program.FileProgramStateManager):
    """Saves state and history together, and refuses those of another run."""

    def __init__(self, folder, rounds: int, identity: dict[str, Any], history: _History):
        folder = pathlib.Path(folder)
        super().__init__(str(folder), prefix="round_", keep_total=2, keep_first=False)
        self._rounds = rounds
        self._history = history
        self._history_path = folder / "history.jsonl"
        identity_path = folder / "run.json"
        if not identity_path.exists():
            identity_path.write_text(json.dumps(identity))
        found = json.loads(identity_path.read_text())
        if found != identity:
            different = {name: (found.get(name), identity[name]) for name in identity if found.get(name) != identity[name]}
            raise ValueError(
                f"checkpoint_dir {str(folder)!r} belongs to another run: "
                + "; ".join(f"its {name} is {was}, not {now}" for name, (was, now) in different.items())
                + ". Use another folder, or delete this one."
            )

    async def save(self, program_state, version):
        self._history.save(self._history_path)  # rows beyond `version` are dropped when read
        await super().save(program_state, version)

    async def load(self, version, structure):
        if version > self._rounds:
            raise ValueError(f"rounds is {self._rounds}; the checkpoint is already at round {version}.")
        self._history.load(self._history_path, version)
        return await super().load(version, structure)


@contextlib.contextmanager
def _event_loop():
    """Gives TFF an event loop where none is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # how asyncio says "none"
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            yield
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    else:
        yield
