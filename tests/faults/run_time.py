"""What goes wrong while a worker runs, tried with its real settings and real signals.

Ends by itself, within a minute. The tests of the worker have shorter settings.

python tests/faults/run_time.py (in the book's own virtual environment)
"""

import os
import signal
import threading
import time

import fedbook  # isort: skip  (before TensorFlow)
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.runtime import worker, worker_process

assert fedbook.__version__
LONG = 2_500_000  # steps that take about 20 s on a core of its own


@tff.tensorflow.computation(np.int32)
def count(n):
    """Takes n steps and returns n."""
    return tf.while_loop(lambda i: i < n, lambda i: i + 1, [0])[0]


def main() -> None:
    local = worker.LocalWorker()
    tff.framework.set_default_context(worker.create_execution_context(local))
    assert count(1) == 1
    a_long_computation_is_left_alone(local)
    a_stopped_worker_is_noticed_in_time(local)
    an_interrupt_frees_the_next_call(local)
    local.stop()


def a_long_computation_is_left_alone(local: worker.LocalWorker) -> None:
    usual = worker._PROBE_SECONDS, worker_process._ANSWER_SECONDS
    worker._PROBE_SECONDS, worker_process._ANSWER_SECONDS = 0.5, 1
    process, started = local.process, time.monotonic()
    probes = []
    kill_if_silent = local.kill_if_silent
    local.kill_if_silent = lambda: probes.append(kill_if_silent())
    assert count(LONG) == LONG
    local.kill_if_silent = kill_if_silent
    worker._PROBE_SECONDS, worker_process._ANSWER_SECONDS = usual
    assert local.process is process and local.is_alive()
    assert len(probes) >= 3, len(probes)
    print(f"{time.monotonic() - started:.0f} s of work, {len(probes)} signs of life: left alone")


def a_stopped_worker_is_noticed_in_time(local: worker.LocalWorker) -> None:
    worker_process._ANSWER_SECONDS, usual = 5, worker_process._ANSWER_SECONDS
    process = local.process
    # The call takes seconds on any machine, so that it is stopped in the middle, and it is
    # repeated whole, on a machine that may have other work.
    steps, most = LONG // 2, worker._PROBE_SECONDS + worker_process._ANSWER_SECONDS + 45
    threading.Timer(0.5, process.send_signal, [signal.SIGSTOP]).start()
    started = time.monotonic()
    assert count(steps) == steps
    took = time.monotonic() - started
    worker_process._ANSWER_SECONDS = usual
    assert local.process is not process and process.poll() == -signal.SIGKILL
    assert worker._PROBE_SECONDS < took < most, took
    print(f"stopped in the middle of a call: repeated by another worker after {took:.0f} s")


def an_interrupt_frees_the_next_call(local: worker.LocalWorker) -> None:
    threading.Timer(1.0, os.kill, [os.getpid(), signal.SIGINT]).start()
    try:
        count(2_000_000_000)
    except KeyboardInterrupt:
        started = time.monotonic()
        assert count(2) == 2
    took = time.monotonic() - started
    assert took < 10, took
    print(f"after Ctrl-C the next call took {took:.1f} s")


if __name__ == "__main__":
    # In the background of a script a program inherits an ignored Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
