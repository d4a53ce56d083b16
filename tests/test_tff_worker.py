"""The worker: it ends with its parent, however that ends, and a dead one is replaced.

Marked Linux-only by nature: so is TFF.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import jupyter_client
import numpy as np
import psutil
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook import tff_worker

START = """
import os, signal
import fedbook, psutil, tensorflow_federated as tff

assert tff.tensorflow.computation(lambda: 10)() == 10
print(*[child.pid for child in psutil.Process().children()], flush=True)
"""
ENDINGS = {
    "normally": "",
    "by an exception": "raise SystemError('deliberate')",
    "by SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "by SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
}


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # ended, its exit code not yet read
    except psutil.NoSuchProcess:
        return False


def assert_ends(pid: int, within: float = 5.0):
    deadline = time.monotonic() + within
    while is_running(pid):
        assert time.monotonic() < deadline, f"worker {pid} is still there after {within} s"
        time.sleep(0.05)


def within(seconds: int, call, *args):
    """Calls, and fails the test if the call hangs. (Not in a thread: TFF's contexts are per thread.)"""

    def hangs(*_):
        raise TimeoutError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(seconds)
    try:
        return call(*args)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def parents():
    """All parents at once: most of their time is the import. Without what fedbook has set here."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", START + ending],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for name, ending in ENDINGS.items()
    }
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_worker_outlives_its_parent(parents, ending):
    # communicate() returns only when nobody holds the pipes: a worker that
    # inherited them would keep it waiting.
    out, err = parents[ending].communicate(timeout=180)
    (worker,) = map(int, out.split())
    assert_ends(worker)
    assert err == "" or (ending == "by an exception" and "deliberate" in err)


@pytest.mark.parametrize("end", ["shut down", "killed"])
def test_no_worker_outlives_its_kernel(end):
    manager = jupyter_client.KernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        printed = []
        client.execute_interactive(START, timeout=180, output_hook=lambda m: printed.append(m["content"]))
        (worker,) = map(int, "".join(content.get("text", "") for content in printed).split())
        assert is_running(worker)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=end == "killed")
    assert_ends(worker)


@pytest.fixture
def worker():
    """A worker of its own for each test, as TFF's context while the test runs."""
    before = tff.framework.get_context_stack().current
    made = tff_worker.LocalWorker()
    tff.framework.set_default_context(tff_worker.create_execution_context(made))
    yield made
    made.stop()
    tff.framework.set_default_context(before)


@tff.tensorflow.computation(np.int32)
def count(n):
    """Takes n steps, about 8 s a million, and returns n."""
    return tf.while_loop(lambda i: i < n, lambda i: i + 1, [0])[0]


def test_a_worker_killed_between_calls_is_replaced(worker):
    assert within(60, count, 5) == 5
    first = worker.process
    first.kill()
    first.wait()
    assert within(60, count, 6) == 6
    assert worker.process is not first


def test_a_worker_killed_during_a_call_is_replaced_and_the_call_repeated(worker):
    steps = 200_000
    assert within(60, count, 1) == 1
    first = worker.process
    killer = threading.Timer(0.3, first.kill)
    killer.start()
    assert within(120, count, steps) == steps
    killer.join()
    assert first.poll() == -signal.SIGKILL
    assert worker.process is not first


def test_a_computation_that_ends_every_worker_raises(worker):
    @tff.tensorflow.computation
    def abort():
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="deliberate")]):
            return tf.constant(1)

    with pytest.raises(RuntimeError, match="worker ended 3 times(?s:.*)deliberate"):
        within(120, abort)
    assert within(60, count, 7) == 7  # and the next call works again


def test_an_error_in_a_computation_leaves_the_worker_alone(worker):
    @tff.tensorflow.computation(np.int32)
    def positive(n):
        with tf.control_dependencies([tf.debugging.assert_positive(n, message="deliberate")]):
            return tf.identity(n)

    assert within(60, positive, 1) == 1
    first = worker.process
    with pytest.raises(Exception, match="deliberate"):
        within(60, positive, -1)
    assert within(60, positive, 2) == 2
    assert worker.process is first and worker.is_alive()


def test_a_worker_that_somebody_else_started_serves_too(worker):
    assert within(60, count, 3) == 3
    remote = tff_worker.create_execution_context(tff_worker.RemoteWorker(worker.address))
    tff.framework.set_default_context(remote)
    assert within(60, count, 4) == 4


def test_a_worker_that_does_not_answer_raises(worker, monkeypatch):
    monkeypatch.setattr(tff_worker, "_START_SECONDS", 1.0)
    with pytest.raises(RuntimeError, match="No TFF worker answers at localhost:1"):
        tff_worker.RemoteWorker("localhost:1").connect()


def test_a_worker_that_cannot_start_raises_with_its_exit_code(monkeypatch):
    monkeypatch.setattr(tff_worker, "_EXEC_WITH_PARENT", "import sys; sys.exit('deliberate')")
    with pytest.raises(RuntimeError, match="did not start.*exit code 1(?s:.*)deliberate"):
        tff_worker.LocalWorker().connect()


def test_clients_run_on_the_worker(worker):
    @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
    def mean(values):
        return tff.federated_mean(values)

    assert within(60, mean, [1.0, 2.0, 6.0]) == 3.0
    assert within(60, mean, [1.0, 2.0]) == 1.5  # another number of clients


@pytest.mark.parametrize("clients, threads", [(None, 1), (1, "all"), (-1, "all")])
def test_clients_share_the_cores(clients, threads, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    made = tff_worker.LocalWorker(clients)
    made.connect()
    environment = psutil.Process(made.process.pid).environ()
    made.stop()
    assert environment["TF_NUM_INTRAOP_THREADS"] == ("4" if threads == "all" else "1")
    assert environment["MALLOC_ARENA_MAX"] == "1"
