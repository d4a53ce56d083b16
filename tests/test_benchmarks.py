"""The simulators' comparison: its arithmetic, and that it leaves nothing behind."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import psutil
import pytest

BENCHMARKS = pathlib.Path(__file__).parent.parent / "benchmarks"


def load(name, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def simulation(monkeypatch):
    return load("simulation", monkeypatch)


@pytest.fixture
def compression(monkeypatch):
    monkeypatch.setenv("FEDBOOK_SCALE", "quick")  # the module sets it; this undoes it
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return load("compression", monkeypatch)


def test_a_killed_benchmark_goes_on_where_it_was(compression, tmp_path):
    calls = []

    def run(name, seed):
        calls.append((name, seed))
        return {"last": seed / 10}

    path = tmp_path / "unfinished"
    runs = compression.Runs(path, {"rounds": 2})
    assert [runs.get(run, "top", seed)["last"] for seed in (1, 2, 1)] == [0.1, 0.2, 0.1]
    assert calls == [("top", 1), ("top", 2)]

    path.write_text(path.read_text() + '["[\\"run\\", \\"to')  # killed while it wrote
    runs = compression.Runs(path, {"rounds": 2})
    assert [runs.get(run, "top", seed)["last"] for seed in (1, 2, 3)] == [0.1, 0.2, 0.3]
    assert calls[2:] == [("top", 3)]
    assert list(compression.Runs(path, {"rounds": 2}).done) == list(runs.done)
    assert compression.Runs(path, {"rounds": 3}).done == {}  # of other settings


def seconds(*repetitions, accuracy=0.9):
    return [{"seconds": list(repetition), "accuracy": accuracy} for repetition in repetitions]


def test_order_rotates(simulation):
    assert [simulation.rotated("abc", i) for i in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_summary(simulation):
    runs = {
        "fedjax": seconds([9, 1, 2, 3], [7, 2, 2, 2]),
        "tff": seconds([5, 4, 4, 4], [5, 2, 6, 8]),
    }
    result = simulation.summary(runs, warm_up=1)
    assert result["tff"] == {
        "median_seconds_per_round": 4,
        "quartiles_seconds": [4, 5.5],
        "min_max_seconds": [2, 8],
        "median_seconds_of_each_repetition": [4, 6],
        "first_round_seconds": 5,
        "test_accuracy": 0.9,
        "ratio_to_fedjax": 2.5,
    }
    assert result["fedjax"]["ratio_to_fedjax"] == 1
    assert "ratio_to_fedjax" not in simulation.summary({"tff": runs["tff"]}, warm_up=1)["tff"]


def test_memory_grows_by_half(simulation):
    assert simulation.memory([500.0] * 20 + [100.0] * 20 + [150.0] * 20) == {
        "rounds 21 to 40": 100,
        "last 20 rounds": 150,
        "most": 500,
        "growth": 0.5,
    }


def test_disagreement_is_an_error(simulation):
    agree = {"tff": seconds([1], accuracy=0.915), "fedjax": seconds([1], accuracy=0.92)}
    simulation.check_agreement("part", agree)
    with pytest.raises(RuntimeError, match="part: the test accuracies differ"):
        simulation.check_agreement("part", agree | {"flower": seconds([1], accuracy=0.9209)})


DAEMON = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print("started"); sys.exit({code})
"""


def test_ends_daemons_and_nothing_else(simulation, tmp_path):
    ours = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        before = set(psutil.Process().children(recursive=True))
        printed = simulation.run([sys.executable, "-c", DAEMON.format(code=0)], tmp_path / "log")
        assert printed == "started\n"
        with pytest.raises(RuntimeError, match="returned 3"):
            simulation.run([sys.executable, "-c", DAEMON.format(code=3)], tmp_path / "log")
        assert set(psutil.Process().children(recursive=True)) == before
    finally:
        ours.kill()
        ours.wait()


def test_error_shows_the_end_of_the_log(simulation, tmp_path):
    with pytest.raises(RuntimeError, match="(?s)returned 1.*ZeroDivisionError"):
        simulation.run([sys.executable, "-c", "1 / 0"], tmp_path / "log")


def test_time_limit(simulation, tmp_path):
    with pytest.raises(RuntimeError, match="nothing within 0.5 s"):
        simulation.run(
            [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log", limit=0.5
        )


@pytest.mark.parametrize("contender", ["fedjax", "flower"])
def test_every_version_is_pinned(contender):
    lines = (BENCHMARKS / "simulation" / f"{contender}.txt").read_text().splitlines()
    assert lines and all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)


@pytest.mark.parametrize(
    "arguments",
    [["--rounds", "0"], ["--only", "fate"], ["--memory-rounds", "5"], ["--parts", "RNN"]],
)
def test_bad_arguments(simulation, arguments, capsys):
    with pytest.raises(SystemExit):
        simulation.parse(arguments)
    assert arguments[0] in capsys.readouterr().err
