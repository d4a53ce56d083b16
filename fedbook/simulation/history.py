"""What a run records: a table with one row a round, and curves for TensorBoard."""

import contextlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_federated as tff
import tree
from tqdm import tqdm


def columns(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens TFF's nested metrics to {"train/loss": 0.5, ...}, the columns of the history."""
    keys, row = tff.simulation, {}
    for path, value in tree.flatten_with_path(metrics):
        name = "/".join(str(part) for part in path)
        if name == keys.ROUND_NUMBER_KEY or name.endswith(keys.EVALUATION_TIME_KEY):
            continue
        if name == keys.TRAINING_TIME_KEY:
            name = "seconds"
        name = name.removeprefix("client_work/")
        if name.startswith(keys.EVALUATION_METRICS_PREFIX):
            name = "test/" + name.removeprefix(keys.EVALUATION_METRICS_PREFIX)
        row[name] = np.asarray(value).tolist()
    return row


class History(tff.program.ReleaseManager):
    """Keeps the metrics of each round, and updates the progress bar."""

    def __init__(self, bar: tqdm, shown: str | None):
        self._rows: dict[int, dict[str, Any]] = {}
        self._bar, self._shown = bar, shown

    async def release(self, value, key):
        self._rows[key] = row = columns(value)
        if self._shown in row:
            self._bar.set_postfix({self._shown: f"{row[self._shown]:.4f}"}, refresh=False)
        self._bar.update(1 if key > 0 else 0)

    def table(self) -> pd.DataFrame:
        table = pd.DataFrame.from_dict(self._rows, orient="index").sort_index()
        table.index.name = "round"
        return table

    def save(self, path: pathlib.Path) -> None:
        write_whole("".join(json.dumps([key, row]) + "\n" for key, row in self._rows.items()), path)

    def load(self, path: pathlib.Path, last_round: int) -> None:
        rows = (json.loads(line) for line in path.read_text().splitlines())
        self._rows = {key: row for key, row in rows if key <= last_round}
        self._bar.update(last_round)


class TensorBoard(tff.program.ReleaseManager, contextlib.AbstractContextManager):
    """Writes scalars to two runs, so that TensorBoard draws them in one chart."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def __exit__(self, *_):
        for writer in self._writers.values():
            writer.close()

    async def release(self, value, key):
        for name, number in columns(value).items():
            if not isinstance(number, (int, float)):
                continue  # a matrix is not a curve
            run, _, tag = name.rpartition("/")
            run = run or "train"
            if run not in self._writers:
                self._writers[run] = tf.summary.create_file_writer(str(self._folder / run))
            with self._writers[run].as_default():
                tf.summary.scalar(tag, number, step=key)


def write_whole(text: str, path: pathlib.Path) -> None:
    """Writes a file so that it is whole or not there, whatever ends the program."""
    whole = path.with_suffix(".new")
    with whole.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    whole.replace(path)
