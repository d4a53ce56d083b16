"""Running a simulation: which clients take part, what is recorded, and how a run resumes.

The function :func:`run_training` adds to TFF's own ``tff.simulation.run_training_process``
what a chapter needs: clients sampled from a seed, a progress bar, the history as a table,
TensorBoard and checkpoints.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_federated as tff
import tree
from tqdm import tqdm

from fedbook.checks import check_int
from fedbook.data.clients import without_autotuning

Prepare = Callable[[tf.data.Dataset, int], Any]


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


def prepare_batches(batch_size: int, epochs: int = 1, *, shuffle: bool = True) -> Prepare:
    """Returns the `prepare` of :func:`run_training` for the classifiers of the chapters.

    It is a function of a dataset of ``OrderedDict(label, pixels)`` and a seed, and returns the
    dataset of (images [b, 28, 28] float32, labels [b] int32).

    Args:
      batch_size: B of McMahan et al. 2017; the last batch may be smaller.
      epochs: E, the number of local epochs.
      shuffle: whether to shuffle each epoch differently, from the seed.

    Raises:
      ValueError: if `batch_size` or `epochs` is below 1.
    """
    check_int("batch_size", batch_size, 1)
    check_int("epochs", epochs, 1)

    def prepare(dataset: tf.data.Dataset, seed: int) -> tf.data.Dataset:
        if shuffle:
            dataset = dataset.shuffle(10_000, seed=seed)
        if epochs > 1:
            dataset = dataset.repeat(epochs)
        batches = dataset.batch(batch_size)
        return without_autotuning(batches.map(lambda batch: (batch["pixels"], batch["label"])))

    return prepare


def sample_clients(client_ids: Sequence[str], cohort: int, seed: int) -> Callable[[int], list[str]]:
    """Returns a function from a round's number to the clients of the round.

    They are sampled uniformly, without replacement within a round, and depend only on the
    seed and the round's number (``tff.simulation.build_uniform_sampling_fn``).

    Args:
      client_ids: the population.
      cohort: the number of clients in a round, from 1 to the size of the population.
      seed: any int.

    Raises:
      ValueError: if `client_ids` holds duplicates or `cohort` is out of range.
    """
    if len(set(client_ids)) != len(client_ids):
        raise ValueError("client_ids holds duplicates; each id must occur only once.")
    check_int("cohort", cohort, 1, len(client_ids))
    sample = tff.simulation.build_uniform_sampling_fn(list(client_ids), random_seed=int(seed))
    return lambda round_number: sample(round_number, cohort)


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
        round, to the dataset that the process takes; see :func:`prepare_batches`.
      seed: fixes the clients of each round and the seeds of `prepare`.
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
      checkpoint_every: at least 1.

    Raises:
      ValueError: if a number is out of range, `client_ids` holds an id that is not in
        `data`, or `checkpoint_dir` belongs to a run with other arguments.
    """
    check_int("rounds", rounds, 1)
    check_int("evaluate_every", evaluate_every, 1)
    check_int("checkpoint_every", checkpoint_every, 1)
    client_ids = _check_ids(data, client_ids)
    sample = sample_clients(client_ids, cohort, seed)

    def cohort_data(round_number: int) -> list:
        # Each client has a seed for each round, so that a resumed run shuffles in the same way.
        seeds = np.random.default_rng([abs(int(seed)), round_number]).integers(2**31, size=cohort)
        sampled = map(data.create_tf_dataset_for_client, sample(round_number))
        return [prepare(dataset, int(own)) for dataset, own in zip(sampled, seeds)]

    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=rounds, desc="rounds", leave=False, file=sys.stdout))
        history = _History(bar, progress)
        managers, checkpoints = [history], None
        if log_dir is not None:
            managers.append(stack.enter_context(_TensorBoard(pathlib.Path(log_dir))))
        if checkpoint_dir is not None:
            identity = _identity(client_ids, cohort, seed)
            checkpoints = _Checkpoints(checkpoint_dir, rounds, identity, history)
        stack.enter_context(_event_loop())
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


def _check_ids(data, client_ids) -> list[str]:
    if client_ids is None:
        return list(data.client_ids)
    unknown = sorted(set(client_ids) - set(data.client_ids))
    if unknown:
        first = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else ".")
        raise ValueError(f"client_ids holds {len(unknown)} ids that are not in data: {first}")
    return list(client_ids)


def _identity(ids: Sequence[str], cohort: int, seed: int) -> dict[str, Any]:
    """Returns what two runs must have in common, so that one can resume the other."""
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    return {"cohort": cohort, "seed": int(seed), "clients": len(ids), "client_ids_sha256": digest}


def _columns(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens TFF's nested metrics to {"train/loss": 0.5, ...}, the columns of the history."""
    keys, columns = tff.simulation, {}
    for path, value in tree.flatten_with_path(metrics):
        name = "/".join(str(part) for part in path)
        if name == keys.ROUND_NUMBER_KEY or name.endswith(keys.EVALUATION_TIME_KEY):
            continue
        if name == keys.TRAINING_TIME_KEY:
            name = "seconds"
        name = name.removeprefix("client_work/")
        if name.startswith(keys.EVALUATION_METRICS_PREFIX):
            name = "test/" + name.removeprefix(keys.EVALUATION_METRICS_PREFIX)
        columns[name] = np.asarray(value).tolist()
    return columns


class _History(tff.program.ReleaseManager):
    """Keeps the metrics of each round, and updates the progress bar."""

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


class _TensorBoard(tff.program.ReleaseManager, contextlib.AbstractContextManager):
    """Writes scalars to two runs, so that TensorBoard draws them in one chart."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def __exit__(self, *_):
        for writer in self._writers.values():
            writer.close()

    async def release(self, value, key):
        for name, number in _columns(value).items():
            if not isinstance(number, (int, float)):
                continue  # a matrix is not a curve
            run, _, tag = name.rpartition("/")
            run = run or "train"
            if run not in self._writers:
                self._writers[run] = tf.summary.create_file_writer(str(self._folder / run))
            with self._writers[run].as_default():
                tf.summary.scalar(tag, number, step=key)


class _Checkpoints(tff.program.FileProgramStateManager):
    """Saves state and history together, and refuses the checkpoints of another run."""

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
            names = [name for name in identity if found.get(name) != identity[name]]
            different = [f"its {name} is {found.get(name)}, not {identity[name]}" for name in names]
            raise ValueError(
                f"checkpoint_dir {str(folder)!r} belongs to another run: {'; '.join(different)}. "
                "Use another folder, or delete this one."
            )

    async def save(self, program_state, version):
        self._history.save(self._history_path)  # `load` drops the rows after `version`
        await super().save(program_state, version)

    async def load(self, version, structure):
        rounds = self._rounds
        if version > rounds:
            raise ValueError(f"rounds is {rounds}; the checkpoint is already at round {version}.")
        self._history.load(self._history_path, version)
        return await super().load(version, structure)


@contextlib.contextmanager
def _event_loop():
    """Provides TFF with an event loop if none is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # asyncio's way to say that no loop is running
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            yield
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    else:
        yield
