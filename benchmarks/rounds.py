"""Seconds per round and memory of a TFF run: 2NN, 10 clients of 600 images, B=10, E=1.

python benchmarks/rounds.py [ROUNDS]    200 by default; writes results/rounds.json
"""

import statistics
import sys
import time

import fedbook  # noqa: F401  (before TensorFlow)
from fedbook import datasets, models, simulation

import numpy as np
import psutil
import tensorflow_federated as tff
from tqdm import trange

import record

CLIENTS, EXAMPLES, BATCH, LEARNING_RATE, WARM_UP = 10, 600, 10, 0.1, 20


def memory(mb: list[float]) -> dict[str, float]:
    """Medians of 20 rounds: within a round the resident memory moves by tens of MB."""
    early, late = statistics.median(mb[WARM_UP : 2 * WARM_UP]), statistics.median(mb[-WARM_UP:])
    return {
        "rounds 21 to 40": round(early),
        "last 20 rounds": round(late),
        "most": round(max(mb)),
        "growth": round(late / early - 1, 4),
    }


def main(rounds: int) -> None:
    if rounds < 3 * WARM_UP:
        raise ValueError(
            f"ROUNDS is {rounds}; it must be at least {3 * WARM_UP}, of which {WARM_UP} warm up."
        )
    digits = datasets.load_digits()
    rng = np.random.default_rng(0)
    clients = datasets.client_data(
        digits.train_images,
        digits.train_labels,
        {str(c): rng.choice(len(digits.train_labels), EXAMPLES) for c in range(CLIENTS)},
    )
    prepare = simulation.prepare_batches(BATCH)
    process = tff.learning.algorithms.build_weighted_fed_avg(
        models.keras.tff_classifier(models.keras.two_nn),
        tff.learning.optimizers.build_sgdm(LEARNING_RATE),
    )
    state = process.initialize()
    python = psutil.Process()
    (worker,) = python.children()
    seconds, python_mb, worker_mb = [], [], []
    for round_number in trange(rounds):
        data = [
            prepare(clients.create_tf_dataset_for_client(c), round_number)
            for c in clients.client_ids
        ]
        start = time.perf_counter()
        state = process.next(state, data).state
        seconds.append(time.perf_counter() - start)
        python_mb.append(python.memory_info().rss / 2**20)
        worker_mb.append(worker.memory_info().rss / 2**20)
    quartiles = statistics.quantiles(seconds[WARM_UP:], n=4)
    record.write(
        "rounds",
        {
            "work": f"2NN, {CLIENTS} clients of {EXAMPLES}, B={BATCH}, E=1, SGD {LEARNING_RATE}",
            "rounds": rounds,
            "first_round_seconds": round(seconds[0], 3),
            "median_seconds_per_round": round(quartiles[1], 3),
            "quartiles_seconds": [round(quartiles[0], 3), round(quartiles[2], 3)],
            "memory_mb": {"python": memory(python_mb), "worker": memory(worker_mb)},
        },
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
