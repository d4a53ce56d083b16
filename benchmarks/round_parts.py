"""Where the time of a round goes: one variant less each, in turn, and what each takes away.

python benchmarks/round_parts.py [REPETITIONS]    15 by default; writes results/round_parts.json

The work is that of rounds.py: 2NN, 10 clients of 600 images, B=10, E=1.
"""

import pathlib
import statistics
import sys
import tempfile
import time

import fedbook  # noqa: F401  (before TensorFlow)
from fedbook import algorithms, datasets, models, simulation

import numpy as np
import psutil
import tensorflow as tf
import tensorflow_federated as tff
import threadpoolctl
from tqdm import trange

import record

sys.path.append(str(pathlib.Path(__file__).parent / "simulation"))
import data_on_disk

CLIENTS, EXAMPLES, BATCH, LEARNING_RATE = 10, 600, 10, 0.1


def steps_in_numpy(clients: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """The round's local steps and nothing else, on one core: what no simulator gets below."""
    rng = np.random.default_rng(0)
    start = [
        rng.normal(0, 0.05, shape).astype(np.float32)
        for shape in ((784, 200), (200, 200), (200, 10))
    ]
    for images, labels in clients:
        w1, w2, w3 = (w.copy() for w in start)
        b1, b2, b3 = (np.zeros(w.shape[1], np.float32) for w in start)
        pixels, wanted = images.reshape(len(images), -1), np.eye(10, dtype=np.float32)[labels]
        for first in range(0, len(pixels), BATCH):
            x, y = pixels[first : first + BATCH], wanted[first : first + BATCH]
            h1 = np.maximum(x @ w1 + b1, 0)
            h2 = np.maximum(h1 @ w2 + b2, 0)
            scores = h2 @ w3 + b3
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            d3 = (p / p.sum(axis=1, keepdims=True) - y) * np.float32(LEARNING_RATE / len(y))
            d2 = (d3 @ w3.T) * (h2 > 0)
            d1 = (d2 @ w2.T) * (h1 > 0)
            for w, b, h, d in ((w1, b1, x, d1), (w2, b2, h1, d2), (w3, b3, h2, d3)):
                w -= h.T @ d
                b -= d.sum(axis=0)


def variants(folder: str):
    """Returns by name a function of no argument that does a round, and the time to build it."""
    digits = datasets.load_digits()
    rng = np.random.default_rng(0)
    held = {str(c): rng.choice(len(digits.train_labels), EXAMPLES) for c in range(CLIENTS)}
    clients = datasets.client_data(digits.train_images, digits.train_labels, held)
    arrays = [(digits.train_images[i], digits.train_labels[i]) for i in held.values()]
    sgd = tff.learning.optimizers.build_sgdm(LEARNING_RATE)
    two_nn = models.functional.classifier(models.keras.two_nn)
    in_batches, as_one = (
        simulation.prepare_batches(BATCH),
        simulation.prepare_batches(EXAMPLES, shuffle=False),
    )
    sets = [clients.create_tf_dataset_for_client(c) for c in held]

    built = {}

    def build(name, make):
        start = time.perf_counter()
        process = make()
        built[name] = time.perf_counter() - start
        return process, process.initialize()

    keras, keras_state = build(
        "TFF, Keras model",
        lambda: tff.learning.algorithms.build_weighted_fed_avg(
            models.keras.tff_classifier(models.keras.two_nn), sgd
        ),
    )
    functional, functional_state = build(
        "TFF, functional model", lambda: tff.learning.algorithms.build_weighted_fed_avg(two_nn, sgd)
    )
    ours, state = build(
        "fedbook", lambda: algorithms.tff.build_fast_fed_avg(two_nn, sgd, batch_size=BATCH)
    )
    by_id, _ = build(
        "fedbook, data on disk", lambda: data_on_disk.by_client_id(ours, clients, as_one, folder)
    )
    prepared = [in_batches(dataset, 0) for dataset in sets]
    ready = [tf.data.Dataset.from_tensors(client) for client in arrays]
    empty = [tf.data.Dataset.from_tensors((x[:0], y[:0])) for x, y in arrays]
    return built, {
        "TFF, Keras model, pipelines made anew": lambda: keras.next(
            keras_state, [in_batches(dataset, 0) for dataset in sets]
        ),
        "TFF, Keras model, pipelines kept": lambda: keras.next(keras_state, prepared),
        "TFF, functional model, pipelines kept": lambda: functional.next(
            functional_state, prepared
        ),
        "fedbook, data sent as one batch": lambda: ours.next(state, ready),
        "fedbook, data read by the worker": lambda: by_id.next(state, list(held)),
        "fedbook, clients without examples": lambda: ours.next(state, empty),
        "fedbook, one client": lambda: by_id.next(state, list(held)[:1]),
        "the local steps alone, NumPy on one core": lambda: steps_in_numpy(arrays),
    }


def main(repetitions: int) -> None:
    # One core for NumPy: the variant in it says what the arithmetic alone costs.
    with tempfile.TemporaryDirectory() as folder, threadpoolctl.threadpool_limits(1):
        built, rounds = variants(folder)
        python = psutil.Process()
        (worker,) = python.children()
        measured = {name: {"wall": [], "python": [], "worker": []} for name in rounds}

        def cpu(process):
            times = process.cpu_times()
            return times.user + times.system

        for _repetition in trange(repetitions + 1):
            for name, one_round in rounds.items():
                before = time.perf_counter(), cpu(python), cpu(worker)
                one_round()
                after = time.perf_counter(), cpu(python), cpu(worker)
                for part, a, b in zip(measured[name], before, after):
                    measured[name][part].append(b - a)
    record.write(
        "round_parts",
        {
            "work": f"2NN, {CLIENTS} clients of {EXAMPLES}, B={BATCH}, E=1, SGD {LEARNING_RATE}",
            "repetitions": repetitions,
            "seconds": {
                name: {
                    "first round": round(parts["wall"][0], 3),
                    "median round": round(statistics.median(parts["wall"][1:]), 3),
                    "fastest round": round(min(parts["wall"][1:]), 3),
                    "CPU of Python": round(statistics.median(parts["python"][1:]), 3),
                    "CPU of the worker": round(statistics.median(parts["worker"][1:]), 3),
                }
                for name, parts in measured.items()
            },
            "seconds to build": {name: round(seconds, 2) for name, seconds in built.items()},
        },
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
