"""Seconds per round of four simulators of federated averaging, side by side on the same work.

python benchmarks/simulation.py             writes results/simulation.json
python benchmarks/simulation.py --smoke     two of them, two tiny rounds, writes nothing

The contenders are fedbook's client work, TFF's own, fedjax and Flower. The last two get
virtual environments of their own, .venv-bench-*, with the versions of simulation/*.txt.
All start from the same weights and train the same clients on the same batches in the
same order, so their test accuracies must agree. A round is timed from the list of its
clients to the new weights; each contender runs in a process of its own, one at a time,
and their order rotates from repetition to repetition.

The digits are those of FEDBOOK_SCALE: with full, 100 clients hold 600 of the 60,000 each.
"""

import argparse
import contextlib
import ctypes
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psutil

import record

ROOT = pathlib.Path(__file__).parent.parent
SCRIPTS = pathlib.Path(__file__).parent / "simulation"
CONTENDERS = ("fedbook", "tff", "fedjax", "flower")
OWN_ENVIRONMENT = ("fedjax", "flower")
REFERENCE = "fedjax"  # to which the others are compared
COMMON = {
    "clients": 100,
    "examples": 600,
    "test_examples": 10_000,
    "batch_size": 10,
    "learning_rate": 0.1,
    "seed": 0,
}
# The rounds of `warm_up` count among `rounds` but not in the median.
PARTS = {
    "2NN, 10 clients": {
        "model": "two_nn",
        "cohort": 10,
        "rounds": 20,
        "warm_up": 2,
        "repetitions": 3,
    },
    "2NN, 100 clients": {
        "model": "two_nn",
        "cohort": 100,
        "rounds": 4,
        "warm_up": 1,
        "repetitions": 1,
    },
    "CNN, 10 clients": {"model": "cnn", "cohort": 10, "rounds": 3, "warm_up": 1, "repetitions": 1},
}
MEMORY_ROUNDS = 500
TINY = COMMON | {"clients": 4, "examples": 25, "test_examples": 200}
SMOKE = {"smoke": {"model": "two_nn", "cohort": 3, "rounds": 2, "warm_up": 1, "repetitions": 1}}
AGREEMENT = 0.005  # of test accuracy, between any two contenders
TIME_LIMIT = 900  # seconds, of one process
# Nothing is reported to anyone.
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}
PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Ends, by pid, every process that was started inside and still runs.

    Ray starts daemons that outlive who started them. As their subreaper, this process
    stays their ancestor whatever becomes of those in between.
    """
    prctl, me = ctypes.CDLL(None, use_errno=True).prctl, psutil.Process()
    before = set(me.children(recursive=True))
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        while left := set(me.children(recursive=True)) - before:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=10)
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def run(
    command: Sequence[str], log: pathlib.Path, limit: float = TIME_LIMIT, **environment: str
) -> str:
    """Runs a command, its errors into file `log`; returns what it prints.

    Raises:
      RuntimeError: if it fails or takes longer than `limit` seconds; with the log's end.
    """
    printed = log.with_suffix(".out")
    with printed.open("w") as out, log.open("w") as errors, nothing_left():
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            env=os.environ | environment,
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = f"nothing within {limit} s"
    if code != 0:
        raise RuntimeError(f"{' '.join(command)} returned {code}:\n{log.read_text()[-2000:]}")
    return printed.read_text()


def environment(contender: str, folder: pathlib.Path, python: str) -> str:
    """Returns the contender's interpreter, in an environment made anew if its list has changed."""
    if contender not in OWN_ENVIRONMENT:
        return sys.executable
    wanted = SCRIPTS / f"{contender}.txt"
    home = folder / f".venv-bench-{contender}"
    interpreter, installed = str(home / "bin" / "python"), home / "installed"
    if not installed.is_file() or installed.read_text() != wanted.read_text():
        print(f"installing {contender} into {home.name}", flush=True)
        with tempfile.TemporaryDirectory() as logs:
            log = pathlib.Path(logs) / "log"
            run([python, "-m", "venv", "--clear", str(home)], log)
            run(
                [
                    interpreter,
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "-r",
                    str(wanted),
                ],
                log,
            )
        installed.write_text(wanted.read_text())
    return interpreter


def measure(
    contender: str, python: str, config: Mapping[str, Any], scratch: pathlib.Path
) -> dict[str, Any]:
    """Runs one contender in a new process; returns what it reports, see ``simulation/work.py``."""
    config_file = scratch / "config.json"
    config_file.write_text(json.dumps(config))
    ray = scratch / "ray"
    ray.mkdir(exist_ok=True)
    printed = run(
        [python, str(SCRIPTS / f"run_{contender}.py"), str(config_file)],
        scratch / "log",
        RAY_TMPDIR=str(ray),
        FLWR_HOME=str(scratch / "flower"),
        **QUIET,
    )
    return json.loads(printed.splitlines()[-1])


def rotated(contenders: Sequence[str], repetition: int) -> list[str]:
    start = repetition % len(contenders)
    return [*contenders[start:], *contenders[:start]]


def summary(runs: Mapping[str, Sequence[Mapping[str, Any]]], warm_up: int) -> dict[str, Any]:
    """Summarises each contender's repetitions.

    The ratio is the median, over the repetitions, of two medians in the same repetition.
    """
    medians = {
        name: [statistics.median(r["seconds"][warm_up:]) for r in rs] for name, rs in runs.items()
    }
    result = {}
    for name, repetitions in runs.items():
        seconds = [s for r in repetitions for s in r["seconds"][warm_up:]]
        quartiles = (
            statistics.quantiles(seconds, n=4, method="inclusive")
            if len(seconds) > 1
            else seconds * 3
        )
        result[name] = {
            "median_seconds_per_round": round(quartiles[1], 4),
            "quartiles_seconds": [round(quartiles[0], 4), round(quartiles[2], 4)],
            "min_max_seconds": [round(min(seconds), 4), round(max(seconds), 4)],
            "median_seconds_of_each_repetition": [round(m, 4) for m in medians[name]],
            "first_round_seconds": round(
                statistics.median(r["seconds"][0] for r in repetitions), 3
            ),
            "test_accuracy": round(repetitions[-1]["accuracy"], 4),
        }
        if REFERENCE in runs:
            ratios = [mine / its for mine, its in zip(medians[name], medians[REFERENCE])]
            result[name][f"ratio_to_{REFERENCE}"] = round(statistics.median(ratios), 3)
    return result


def check_agreement(part: str, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Raises RuntimeError if two test accuracies differ by more than AGREEMENT."""
    found = {name: [r["accuracy"] for r in repetitions] for name, repetitions in runs.items()}
    every = [accuracy for accuracies in found.values() for accuracy in accuracies]
    if max(every) - min(every) > AGREEMENT + 1e-9:
        raise RuntimeError(f"{part}: the test accuracies differ by more than {AGREEMENT}: {found}")


def memory(mb: Sequence[float]) -> dict[str, float]:
    """Medians of 20 rounds, after 20 to warm up, and the greatest; all in MB."""
    window = min(20, len(mb) // 3)
    early, late = statistics.median(mb[window : 2 * window]), statistics.median(mb[-window:])
    return {
        f"rounds {window + 1} to {2 * window}": round(early),
        f"last {window} rounds": round(late),
        "most": round(max(mb)),
        "growth": round(late / early - 1, 4),
    }


def table(part: str, result: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"{part:<18} s/round  quartiles         first   to {REFERENCE}  accuracy"]
    for name, row in result.items():
        low, high = row["quartiles_seconds"]
        ratio = row.get(f"ratio_to_{REFERENCE}", float("nan"))
        lines.append(
            f"{name:<18} {row['median_seconds_per_round']:7.3f}  {low:7.3f}-{high:7.3f}  "
            f"{row['first_round_seconds']:7.2f}  {ratio:9.2f}  {row['test_accuracy']:8.4f}"
        )
    return "\n".join(lines)


def main(arguments: argparse.Namespace) -> None:
    smoke = arguments.smoke
    contenders = CONTENDERS[:2] if smoke else arguments.only
    common = dict(TINY if smoke else COMMON)
    parts = SMOKE if smoke else {name: PARTS[name] for name in arguments.parts}
    memory_rounds = 0 if smoke or "fedbook" not in contenders else arguments.memory_rounds
    overrides = {
        k: v for k in ("rounds", "repetitions") if (v := getattr(arguments, k)) is not None
    }
    parts = {name: part | overrides for name, part in parts.items()}
    for name, part in parts.items():
        if part["rounds"] <= part["warm_up"]:
            raise SystemExit(
                f"--rounds is {part['rounds']}; {name} needs more than its {part['warm_up']} "
                "to warm up."
            )
    pythons = {name: environment(name, arguments.folder, arguments.python) for name in contenders}

    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        scratch = pathlib.Path(scratch)
        common["data"] = str(scratch / "work.npz")
        chosen = sorted({part["model"] for part in parts.values()} | {"two_nn"})
        (scratch / "data.json").write_text(json.dumps(common | {"models": chosen}))
        made = run(
            [sys.executable, str(SCRIPTS / "make_work.py"), str(scratch / "data.json")],
            scratch / "log",
            **QUIET,
        )
        results, versions = {}, {}
        for name, part in parts.items():
            runs = {contender: [] for contender in contenders}
            for repetition in range(part["repetitions"]):
                for contender in rotated(contenders, repetition):
                    done = measure(contender, pythons[contender], common | part, scratch)
                    versions[contender] = {"python": done["python"]} | done["versions"]
                    runs[contender].append(done)
                    print(f"{name}, repetition {repetition + 1}: {contender} done", flush=True)
            check_agreement(name, runs)
            results[name] = {
                "rounds": part["rounds"],
                "of which warm-up": part["warm_up"],
                "repetitions": part["repetitions"],
                "contenders": summary(runs, part["warm_up"]),
            }
        kept = {}
        if memory_rounds:
            config = common | PARTS["2NN, 10 clients"] | {"rounds": memory_rounds}
            done = measure("fedbook", pythons["fedbook"], config, scratch)
            kept = {
                "memory_of_fedbook_mb": {"rounds": memory_rounds}
                | {process: memory(mb) for process, mb in done["memory_mb"].items()}
            }
    result = {
        "work": (
            "FedAvg on MNIST, {clients} IID clients of {examples}, "
            "E=1, B={batch_size}, SGD {learning_rate}"
        ).format(**common),
        "source": json.loads(made.splitlines()[-1])["source"],
        "versions": versions,
        "parts": results,
        **kept,
    }
    whole = set(contenders) == set(CONTENDERS) and set(parts) == set(PARTS) and memory_rounds
    if whole and not arguments.no_record:
        record.write("simulation", result)
    for name, part in results.items():
        print("\n" + table(name, part["contenders"]))
    if kept:
        print("\n" + json.dumps(kept))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--smoke", action="store_true", help="fedbook and TFF, two tiny rounds; writes nothing"
    )
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--rounds", type=positive, help="of every part, those to warm up included")
    parser.add_argument("--repetitions", type=positive, help="of every part")
    parser.add_argument(
        "--memory-rounds", type=at_least_6, default=MEMORY_ROUNDS, help="0 for none"
    )
    parser.add_argument(
        "--no-record",
        action="store_true",
        help="print only; so do --only, --parts and --memory-rounds 0",
    )
    parser.add_argument(
        "--folder", type=pathlib.Path, default=ROOT, help="where .venv-bench-* are made"
    )
    parser.add_argument("--python", default=sys.executable, help="makes .venv-bench-*")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"is {text}; it must be at least 1")
    return int(text)


def at_least_6(text: str) -> int:
    if 0 != int(text) < 6:
        raise argparse.ArgumentTypeError(f"is {text}; it must be 0 or at least 6")
    return int(text)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left then either
    main(parse())
