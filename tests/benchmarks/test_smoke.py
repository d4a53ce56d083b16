"""The benchmarks' smoke runs: they agree, and write nothing."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def smoke(tmp_path):
    """Returns a function that runs a benchmark's corner and returns what it printed."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def run(name: str) -> str:
        results = {path: path.read_bytes() for path in (BENCHMARKS / "results").iterdir()}
        # What the worker prints goes to the file too, so that no pipe waits for it.
        with (tmp_path / "printed").open("w") as printed:
            subprocess.run(
                [sys.executable, str(BENCHMARKS / f"{name}.py"), "--smoke"],
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                env=os.environ | {"TMPDIR": str(temporary), "TQDM_DISABLE": "1"},
                timeout=180,
                check=True,
            )
        assert {path: path.read_bytes() for path in (BENCHMARKS / "results").iterdir()} == results
        return (tmp_path / "printed").read_text()

    return run


def test_simulation(smoke, tmp_path):
    text = smoke("simulation")
    rows = re.findall(r"^(fedbook|tff) +(\d\.\d{3}) .* (0\.\d{4})$", text, re.MULTILINE)
    assert [row[0] for row in rows] == ["fedbook", "tff"], text
    assert all(float(row[1]) > 0 for row in rows)
    assert rows[0][2] == rows[1][2]  # the same batches, so the same model
    assert list((tmp_path / "temporary").iterdir()) == []


def test_algorithms(smoke):
    text = smoke("algorithms")
    rows = re.findall(r"^(\w.*) 5 (\w+) (0\.\d{3}) rate ", text, re.MULTILINE)
    assert [row[:2] for row in rows] == [
        ("softmax regression label skew, hard", "FedAvg"),
        ("softmax regression label skew, hard", "FedVARP"),
        ("softmax regression label skew, hard", "FedDyn"),
        ("perceptron feature skew", "SCAFFOLD"),
    ], text


def test_compression(smoke):
    text = smoke("compression")
    rows = re.findall(r"^(frontier|bill) (\S.*?)(?: +0\.\d{3} +\d+\.\d{3})?$", text, re.MULTILINE)
    assert [row[1] for row in rows] == [
        "float32",
        "vote",
        "top 1%, memory",
        "weights, 8 bits",
        "changes, top 1%",
    ], text
