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
import os
import pathlib
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_federated as tff
import tree
from google.protobuf import any_pb2, text_format  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]
from tqdm import tqdm

from fedbook.checks import check_int, check_type
from fedbook.data.clients import without_autotuning

Prepare = Callable[[tf.data.Dataset, int], Any]
LAST_SEED = 2**32 - 1  # of NumPy's RandomState, with which TFF samples


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


@dataclasses.dataclass(frozen=True)
class _Batches:
    """The result of :func:`prepare_batches`; its repr is what a checkpoint writes down."""

    batch_size: int
    epochs: int
    shuffle: bool

    def __call__(self, dataset: tf.data.Dataset, seed: int) -> tf.data.Dataset:
        if self.shuffle:
            dataset = dataset.shuffle(10_000, seed=seed)
        if self.epochs > 1:
            dataset = dataset.repeat(self.epochs)
        batches = dataset.batch(self.batch_size)
        return without_autotuning(batches.map(lambda batch: (batch["pixels"], batch["label"])))


def prepare_batches(batch_size: int, epochs: int = 1, *, shuffle: bool = True) -> Prepare:
    """Returns the `prepare` of :func:`run_training` for the classifiers of the chapters.

    It is a function of a dataset of ``OrderedDict(label, pixels)`` and a seed, and returns the
    dataset of (images [b, 28, 28] float32, labels [b] int32).

    Args:
      batch_size: B of McMahan et al. 2017; the last batch may be smaller.
      epochs: E, the number of local epochs.
      shuffle: whether to shuffle each epoch differently, from the seed.

    Raises:
      ValueError: if `batch_size` or `epochs` is not an int from 1.
      TypeError: if `shuffle` is not a bool.
    """
    batch_size = check_int("batch_size", batch_size, 1)
    epochs = check_int("epochs", epochs, 1)
    return _Batches(batch_size, epochs, check_type("shuffle", shuffle, bool))


def sample_clients(client_ids: Sequence[str], cohort: int, seed: int) -> Callable[[int], list[str]]:
    """Returns a function from a round's number to the clients of the round.

    They are sampled uniformly, without replacement within a round, and depend only on the
    seed and the round's number (``tff.simulation.build_uniform_sampling_fn``).

    Args:
      client_ids: the population.
      cohort: the number of clients in a round, from 1 to the size of the population.
      seed: an int from 0 to 2**32 - 1.

    Raises:
      ValueError: if `client_ids` is empty or holds duplicates, or `cohort` or `seed` is out of
        range.
      TypeError: if `client_ids` holds anything but strings, or is one string.
    """
    client_ids = _check_strings(client_ids)
    if len(set(client_ids)) != len(client_ids):
        raise ValueError("client_ids holds duplicates; each id must occur only once.")
    if not client_ids:
        raise ValueError("client_ids is empty; it must hold at least one id.")
    cohort = check_int("cohort", cohort, 1, len(client_ids))
    seed = check_int("seed", seed, 0, LAST_SEED)
    sample = tff.simulation.build_uniform_sampling_fn(client_ids, random_seed=seed)
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
    client_ids = _check_ids(data, client_ids)
    sample = sample_clients(client_ids, cohort, seed)
    if checkpoint_dir is not None:
        _check_prepare(prepare)

    def cohort_data(round_number: int) -> list:
        # Each client has a seed for each round, so that a resumed run shuffles in the same way.
        seeds = np.random.default_rng([int(seed), round_number]).integers(2**31, size=cohort)
        sampled = map(data.create_tf_dataset_for_client, sample(round_number))
        return [prepare(dataset, int(own)) for dataset, own in zip(sampled, seeds)]

    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=rounds, desc="rounds", leave=False, file=sys.stdout))
        history = _History(bar, progress)
        managers, checkpoints = [history], None
        if log_dir is not None:
            managers.append(stack.enter_context(_TensorBoard(pathlib.Path(log_dir))))
        if checkpoint_dir is not None:
            identity = _identity(process, data, prepare, client_ids, cohort, seed)
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
    client_ids = _check_strings(client_ids)
    unknown = sorted(set(client_ids) - set(data.client_ids))
    if unknown:
        first = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else ".")
        raise ValueError(f"client_ids holds {len(unknown)} ids that are not in data: {first}")
    return client_ids


def _check_strings(client_ids) -> list[str]:
    """Returns the ids as a list; raises TypeError unless they are strings."""
    # A string is a sequence of strings too: its characters.
    if isinstance(client_ids, str) or not np.iterable(client_ids):
        kind = type(client_ids).__name__
        raise TypeError(f"client_ids is a {kind}; it must be a list of strings.")
    client_ids = list(client_ids)
    for client in client_ids:
        check_type("an entry of client_ids", client, str)
    return client_ids


def _check_prepare(prepare) -> None:
    if not dataclasses.is_dataclass(prepare) or isinstance(prepare, type):
        raise TypeError(
            f"prepare is a {type(prepare).__name__}, whose settings cannot be written down; with "
            "checkpoint_dir it must be the result of prepare_batches, or an instance of a "
            "dataclass of your own with a method __call__(self, dataset, seed)."
        )


def _identity(process, data, prepare, ids, cohort, seed) -> dict[str, Any]:
    """Returns what two runs must have in common, so that one can resume the other."""
    return {
        "cohort": cohort,
        "seed": int(seed),
        # The datasets' shuffle depends on the seed of all of TensorFlow, too.
        "tf.random.set_seed": tf.compat.v1.get_seed(0)[0],
        "clients": len(ids),
        "client_ids_sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        "prepare": repr(prepare),
        "data of the first client": _digest_of(data.create_tf_dataset_for_client(ids[0])),
        "process": _digest_of_process(process),
    }


def _digest_of(dataset: tf.data.Dataset) -> str:
    """Returns a hash of the first 1,000 examples, which does not depend on their order."""
    digests = []
    for example in dataset.take(1000).as_numpy_iterator():
        parts = tree.flatten_with_path(example)
        described = [(path, str(p.dtype), p.shape, p.tolist()) for path, p in parts]
        digests.append(hashlib.sha256(repr(described).encode()).hexdigest())
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _digest_of_process(process: tff.templates.IterativeProcess) -> str:
    """Returns a hash of a process, the same each time that the same process is built.

    TensorFlow numbers functions and layers through, in all that a program builds. So the numbers
    in names are left out, and the functions of a graph are taken in alphabetical order.
    """
    digest = hashlib.sha256()
    for computation in (process.initialize, process.next):
        proto = tff.framework.serialize_computation(computation)  # a copy
        for packed in _packed_graphs(proto):
            graph = tf.compat.v1.GraphDef()
            if packed.Unpack(graph):
                functions = sorted(map(_without_numbers, graph.library.function))
                graph.ClearField("library")
                digest.update("\n".join([*functions, _without_numbers(graph)]).encode())
                packed.Clear()
        digest.update(_without_numbers(proto).encode())
    return digest.hexdigest()


def _packed_graphs(message: Message) -> Iterator[any_pb2.Any]:
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                if isinstance(part, any_pb2.Any):
                    yield part
                else:
                    yield from _packed_graphs(part)


def _without_numbers(message: Message) -> str:
    lines = text_format.MessageToString(message).splitlines()
    values = ("tensor_content", "string_val")  # a constant is no name
    return "\n".join(
        line if line.lstrip().startswith(values) else re.sub(r"_\d+", "_", line) for line in lines
    )


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
        _write("".join(json.dumps([key, row]) + "\n" for key, row in self._rows.items()), path)

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


def _write(text: str, path: pathlib.Path) -> None:
    """Writes a file so that it is whole or not there, whatever ends the program."""
    whole = path.with_suffix(".new")
    with whole.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    whole.replace(path)


class _Checkpoints(tff.program.FileProgramStateManager):
    """Saves state and history together, and refuses the checkpoints of another run."""

    def __init__(self, folder, rounds: int, identity: dict[str, Any], history: _History):
        self._folder = folder = pathlib.Path(folder)
        self._rounds = rounds
        self._history = history
        self._history_path = folder / "history.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            super().__init__(str(folder), prefix="round_", keep_total=2, keep_first=False)
            self._check_identity(folder / "run.json", identity)
            for left in folder.glob("round_*_temp*"):  # of a run that ended while it saved
                shutil.rmtree(left)
        except OSError as error:
            raise OSError(
                f"checkpoint_dir {str(folder)!r} cannot be used ({error}). It must be a folder "
                "that you can read and write, on a disk that is not full."
            ) from error

    def _check_identity(self, path: pathlib.Path, identity: dict[str, Any]) -> None:
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            found = None
        except ValueError:  # of a former version, whose file could be cut off
            found = {}
        if not isinstance(found, dict | None):
            found = {}
        saved = any(
            folder.name.removeprefix("round_").isdigit() for folder in path.parent.iterdir()
        )
        way_out = "Use another folder, or delete this one."
        if not found and not saved:  # a new folder, or one without anything to lose
            _write(json.dumps(identity), path)
        elif not found:
            raise ValueError(
                f"{path} is {'missing' if found is None else 'damaged'}, and without it nobody "
                f"knows to which run the checkpoints of checkpoint_dir belong. {way_out}"
            )
        elif "process" not in found:
            raise ValueError(
                f"checkpoint_dir {str(path.parent)!r} was made by an earlier version of fedbook, "
                "which did not write down the process, so nobody knows whether this run can "
                f"continue it. {way_out}"
            )
        elif found != identity:
            different = [
                f"its {name} is another"
                if re.fullmatch("[0-9a-f]{64}", str(wanted))
                else f"its {name} is {found.get(name)}, not {wanted}"
                for name, wanted in identity.items()
                if found.get(name) != wanted
            ]
            raise ValueError(
                f"checkpoint_dir {str(path.parent)!r} belongs to another run: "
                f"{'; '.join(different)}. {way_out}"
            )

    async def save(self, program_state, version):
        try:
            self._history.save(self._history_path)  # `load` drops the rows after `version`
            await super().save(program_state, version)
        except (OSError, tf.errors.OpError) as error:
            raise OSError(
                f"The checkpoint of round {version} could not be written to checkpoint_dir "
                f"{str(self._folder)!r} ({error}). Make room there and run again: the run "
                "continues from the checkpoint before it."
            ) from error

    async def load_latest(self, structure):
        for version in reversed(await self.get_versions() or []):
            if version > self._rounds:
                raise ValueError(
                    f"rounds is {self._rounds}; the checkpoint is already at round {version}."
                )
            path = self._folder / f"round_{version}"
            try:
                state = await self.load(version, structure)
            except (PermissionError, tf.errors.PermissionDeniedError) as error:
                raise OSError(f"{path} cannot be read ({error}). Make it readable.") from error
            except Exception as error:  # TensorFlow raises what a damaged file happens to cause
                aside = path.with_name(f"damaged_{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.replace(aside)  # so that the run can save this round again
                why = f"{type(error).__name__}: {str(error).strip()[:200]}"
                warnings.warn(
                    f"{path} is damaged ({why}) and was renamed to {aside.name}. The run continues "
                    "from the checkpoint before it, or from the start if there is none.",
                    stacklevel=2,
                )
                continue
            self._load_history(version)
            return state, version
        return None, 0

    def _load_history(self, version: int) -> None:
        try:
            self._history.load(self._history_path, version)
        except (OSError, ValueError) as error:
            warnings.warn(
                f"{self._history_path} is damaged or missing ({error}). The run continues from "
                f"the checkpoint of round {version}, without the history of the rounds before.",
                stacklevel=2,
            )


@contextlib.contextmanager
def _event_loop():
    """Provides TFF with an event loop of its own, and then restores the caller's.

    Raises:
      RuntimeError: if a loop is running that nest_asyncio has not changed.
    """
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:  # asyncio's way to say that no loop is running
        running = None
    if running is not None:
        if not hasattr(running, "_nest_patched"):
            raise RuntimeError(
                "run_training was called while an event loop runs, and TFF needs one of its own. "
                "Call it from a function that is not async, or first run "
                "`import nest_asyncio; nest_asyncio.apply()`."
            )
        yield
        return
    before = _current_loop()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(before)
        loop.close()


def _current_loop() -> asyncio.AbstractEventLoop | None:
    with warnings.catch_warnings():
        # Python 3.12 and 3.13 warn if the main thread has none yet, and make one.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return asyncio.get_event_loop()
        except RuntimeError:  # asyncio's way to say that there is none
            return None
