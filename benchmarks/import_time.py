"""Seconds to import TFF through fedbook, and with the stand-ins of its STUBS alone.

And seconds of a process that imports it and ends, since Python tidies up at its end.

TFF cannot be imported without the stand-ins, so "without our layer" means: Keras 2,
the stand-ins, nothing else. The two are timed in turn, each in a new process.

python benchmarks/import_time.py [REPEATS]    7 by default; writes results/import_time.json
"""

import statistics
import subprocess
import sys
import time

import record

WITHOUT = """
import os, sys, time, types
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
for name, attribute in {
    "tensorflow_federated.python.core.environments.jax": "computation",
    "tensorflow_federated.python.learning.programs.vizier_program_logic": "train_model_with_vizier",
    "tensorflow_privacy.privacy.estimators.dnn": "DNNClassifier",
    "tensorflow_privacy.privacy.estimators.v1.dnn": "DNNClassifier",
}.items():
    sys.modules[name] = types.ModuleType(name)
    setattr(sys.modules[name], attribute, None)
start = time.perf_counter()
import tensorflow_federated
print(time.perf_counter() - start)
"""
WITH = """
import time
start = time.perf_counter()
import fedbook, tensorflow_federated
print(time.perf_counter() - start)
"""


def seconds(code: str) -> tuple[float, float]:
    """Of the import alone, and of the whole process."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout), time.perf_counter() - start


def main(repeats: int) -> None:
    seconds(WITH)  # bytecode and the disk's cache
    pairs = [(seconds(WITH), seconds(WITHOUT)) for _ in range(repeats)]
    seen = {"repeats": repeats}
    for i, what in enumerate(("import", "process")):
        ours, theirs = zip(*((one[i], other[i]) for one, other in pairs))
        seen[what] = {
            "median_seconds_with_fedbook": round(statistics.median(ours), 2),
            "median_seconds_without": round(statistics.median(theirs), 2),
            "median_ratio": round(statistics.median(a / b for a, b in zip(ours, theirs)), 3),
        }
    record.write("import_time", seen)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
