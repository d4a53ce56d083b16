"""The benchmarks' smoke runs: they agree, and write nothing."""

import os
import pathlib
import re
import subprocess
import sys

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


def test_simulation(tmp_path):
    results = {path: path.read_bytes() for path in (BENCHMARKS / "results").iterdir()}
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with (tmp_path / "printed").open("w") as printed:
        subprocess.run(
            [sys.executable, str(BENCHMARKS / "simulation.py"), "--smoke"],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": str(temporary)},
            timeout=180,
            check=True,
        )
    text = (tmp_path / "printed").read_text()
    rows = re.findall(r"^(fedbook|tff) +(\d\.\d{3}) .* (0\.\d{4})$", text, re.MULTILINE)
    assert [row[0] for row in rows] == ["fedbook", "tff"], text
    assert all(float(row[1]) > 0 for row in rows)
    assert rows[0][2] == rows[1][2]  # the same batches, so the same model
    assert {path: path.read_bytes() for path in (BENCHMARKS / "results").iterdir()} == results
    assert list(temporary.iterdir()) == []


def test_algorithms(tmp_path):
    results = {path: path.read_bytes() for path in (BENCHMARKS / "results").iterdir()}
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "algorithms.py"), "--smoke"],
        cwd=tmp_path,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=180,
        env=os.environ | {"TQDM_DISABLE": "1"},
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(\w.*) 5 (\w+) (0\.\d{3}) rate ", done.stdout, re.M)
    assert [row[:2] for row in rows] == [
        ("softmax regression label skew, hard", "FedAvg"),
        ("softmax regression label skew, hard", "FedVARP"),
        ("softmax regression label skew, hard", "FedDyn"),
        ("perceptron feature skew", "SCAFFOLD"),
    ], done.stdout
    assert {path: path.read_bytes() for path in (BENCHMARKS / "results").iterdir()} == results


def test_compression(tmp_path):
    results = {path: path.read_bytes() for path in (BENCHMARKS / "results").iterdir()}
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "compression.py"), "--smoke"],
        cwd=tmp_path,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=180,
        env=os.environ | {"TQDM_DISABLE": "1"},
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(frontier|bill) (\S.*?)(?: +0\.\d{3} +\d+\.\d{3})?$", done.stdout, re.M)
    assert [row[1] for row in rows] == [
        "float32",
        "vote",
        "top 1%, memory",
        "weights, 8 bits",
        "changes, top 1%",
    ], done.stdout
    assert {path: path.read_bytes() for path in (BENCHMARKS / "results").iterdir()} == results
