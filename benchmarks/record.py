"""Writes a benchmark's result, with what it was measured on, to benchmarks/results/."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results"
PACKAGES = ("numpy", "tensorflow", "tensorflow-federated", "tf-keras")


def write(name: str, result: dict[str, Any]) -> pathlib.Path:
    """Writes `result` to ``results/NAME.json``, prints it and returns the path."""
    record = {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "result": result,
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return path
