"""TFF's worker: the process that runs the computations, and how it ends.

TFF starts its ``worker_binary`` on the first computation and stops it from a ``__del__`` that does
not run when Python exits or is killed, so that 400 MB stay behind. Here the kernel ends the worker
with its parent, however the parent ends (Linux: ``prctl(PR_SET_PDEATHSIG)``), and a worker that has
ended is started again. TFF's own worker can be reached, and told to run anything, from the whole
network; this one listens on a Unix socket in a directory that only its owner can enter
(:mod:`fedbook.runtime.patched_binary`). All else is TFF's public API.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.parse
import weakref
from typing import IO

import grpc
import tensorflow_federated as tff

from fedbook.runtime import patched_binary
from fedbook.runtime.socket_directory import SocketDirectory

# Runs between fork and exec in an interpreter of its own: Popen's preexec_fn
# would run Python in a forked copy of a process full of threads.
_EXEC_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):  # the parent ended before the line above
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""

_MAX_MESSAGE_BYTES = 2 * 1000**3  # TFF's own limit
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
# glibc gives a process 8 arenas a core, and memory that one thread frees in its arena is
# lost to the others: over 100 rounds the worker grew by a quarter. With one it stays level.
_ARENAS = {"MALLOC_ARENA_MAX": "1"}
_START_SECONDS = 60.0
_DEATHS_PER_CALL = 3


class LocalWorker:
    """A worker process on this machine, started when first needed.

    Its working directory is the private directory of its socket, so a computation that names files
    has to give their absolute paths.

    Attributes:
      process: the ``subprocess.Popen`` of the worker, or None before the start.
      socket: the path of the Unix socket that it listens on, or None before the start.
    """

    def __init__(self, max_concurrent_computation_calls: int | None = None):
        """Describes the worker; nothing starts yet.

        Args:
          max_concurrent_computation_calls: how many clients are computed at the same time; by
            default as many as there are cores (more take more memory and are no faster), -1 for no
            limit. Each client's operations get an equal share of the cores.
        """
        cores = len(os.sched_getaffinity(0))
        self._concurrency = max_concurrent_computation_calls or cores
        # Threads that divide one small matrix product cost a quarter of the CPU time of a round.
        threads = max(1, cores // self._concurrency) if self._concurrency > 0 else cores
        self._environment = _ARENAS | {"TF_NUM_INTRAOP_THREADS": str(threads)}
        self.process: subprocess.Popen | None = None
        self.socket: pathlib.Path | None = None
        self._directory: SocketDirectory | None = None
        self._log: IO[bytes] | None = None
        self._end = lambda: None

    def is_alive(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def connect(self) -> tff.framework.RemoteExecutorGrpcStub:
        """Starts a process and returns a stub that talks to it.

        Raises:
          RuntimeError: if no worker answers within 60 s, or if the worker or its socket
            has no safe place on this machine.
        """
        # In an address, spaces and letters beyond ASCII stand as %20 and the like.
        address = "unix:" + urllib.parse.quote(os.fsencode(self._start()))
        channel = grpc.insecure_channel(address, _CHANNEL_OPTIONS)
        if not _is_ready(channel, _START_SECONDS, self.is_alive):
            raise RuntimeError(f"TFF's worker did not start. {self.describe_end()}")
        return tff.framework.RemoteExecutorGrpcStub(channel)

    def describe_end(self) -> str:
        """What is known of the last process: exit code and last lines of its log."""
        if self.process is None or self._log is None:
            return "It was never started."
        code = self.process.poll()
        state = "It is running" if code is None else f"It ended with exit code {code}"
        log = self._log.fileno()  # pread leaves the offset, which the worker shares, where it is
        tail = os.pread(log, 2000, max(0, os.fstat(log).st_size - 2000))
        return f"{state}; the end of its log:\n{tail.decode(errors='replace')}"

    def stop(self) -> None:
        """Ends the process, if one is running; so does the end of this object."""
        self._end()
        if self._directory is not None:
            self._directory.remove()

    def _start(self) -> pathlib.Path:
        binary = patched_binary.find_or_make()
        self.stop()
        self._directory = SocketDirectory()
        self.socket = self._directory.socket
        # Not the parent's stdout: the worker would keep a pipe open, and Jupyter
        # would show its log between the reader's results.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (it is closed with the worker)
        launcher = [sys.executable, "-I", "-S", "-c", _EXEC_WITH_PARENT, str(os.getpid())]
        concurrency = f"--max_concurrent_computation_calls={self._concurrency}"
        self.process = subprocess.Popen(
            [*launcher, binary, f"--port={self.socket.name}", concurrency],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd=self._directory.path,
            env=self._environment | os.environ,
        )
        self._end = weakref.finalize(self, _end, self.process, self._log)
        # When Python exits, the kernel ends the worker last: gRPC's threads would notice an
        # earlier end and try to report it, which an interpreter that shuts down cannot do.
        self._end.atexit = False
        return self.socket


class WorkerExecutorFactory(tff.framework.ExecutorFactory):
    """Creates TFF executors on a worker, and gives up on one that keeps ending.

    TFF repeats a call for as long as the connection to its worker breaks. A computation that itself
    ends the worker (out of memory, say) would be repeated for ever; after three ends in a row this
    factory raises instead.
    """

    def __init__(self, worker: LocalWorker):
        self._worker = worker
        self._executors: tff.framework.ResourceManagingExecutorFactory | None = None
        self._deaths = 0  # since the last call that did not fail
        self._failed = False

    def create_executor(self, cardinalities) -> tff.framework.RemoteExecutor:
        """Returns an executor for ``{placement: number of participants}``.

        Raises:
          RuntimeError: if the worker ended during three calls in a row.
        """
        if not self._failed:
            self._deaths = 0
        self._failed = False
        if self._deaths >= _DEATHS_PER_CALL:
            self._deaths = 0
            raise RuntimeError(
                f"TFF's worker ended {_DEATHS_PER_CALL} times while it ran this computation: "
                "most often there was not enough memory (use fewer or smaller clients per round). "
                + self._worker.describe_end()
            )
        if self._executors is None or not self._worker.is_alive():
            self._executors = self._connect()
        return self._executors.create_executor(cardinalities)

    def clean_up_executor(self, cardinalities) -> None:
        """Forgets the executor for `cardinalities`; TFF calls this after an error."""
        self._failed = True
        if not self._worker.is_alive():
            self._deaths += 1
        elif self._executors is not None:
            self._executors.clean_up_executor(cardinalities)

    def _connect(self) -> tff.framework.ResourceManagingExecutorFactory:
        stub = self._worker.connect()

        def create(cardinalities):
            cardinalities.setdefault(tff.CLIENTS, 0)
            executor = tff.framework.RemoteExecutor(stub)
            executor.set_cardinalities(cardinalities)
            return executor

        return tff.framework.ResourceManagingExecutorFactory(create)


def create_execution_context(
    worker: LocalWorker | None = None, *, simulate_secure_sums: bool = False
) -> tff.framework.SyncExecutionContext:
    """Returns a context that runs TFF computations on `worker`.

    Args:
      worker: where to run; a new :class:`LocalWorker` by default. Make the result the default with
        ``tff.framework.set_default_context``.
      simulate_secure_sums: whether to compute TFF's secure sums too, which the worker cannot: in
        the clear, with the numbers that a secure sum would give.
    """
    return tff.framework.SyncExecutionContext(
        executor_fn=WorkerExecutorFactory(worker or LocalWorker()),
        compiler_fn=_compile_in_the_clear if simulate_secure_sums else _compile,
        transform_args=tff.tensorflow.transform_args,
        transform_result=tff.tensorflow.transform_result,
    )


def _compile(computation: tff.framework.ConcreteComputation) -> tff.framework.ConcreteComputation:
    """TFF's native compiler without its Grappler pass.

    On a CPU the pass makes no round faster, takes 0.5 s of the first one, and logs to stderr
    whatever TF_CPP_MIN_LOG_LEVEL says.
    """
    body, _ = tff.tensorflow.replace_intrinsics_with_bodies(computation.to_building_block())
    stack = tff.framework.get_context_stack()
    bare = tff.framework.ConcreteComputation(computation_proto=body.proto, context_stack=stack)
    return tff.backends.native.transform_to_native_form(bare)


def _compile_in_the_clear(computation):
    return _compile(tff.backends.test.replace_secure_intrinsics_with_bodies(computation))


def _end(process: subprocess.Popen, log) -> None:
    process.kill()
    process.wait()
    log.close()


def _is_ready(channel: grpc.Channel, seconds: float, is_alive) -> bool:
    ready = grpc.channel_ready_future(channel)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and is_alive():
        try:
            ready.result(timeout=0.1)
            return True
        except grpc.FutureTimeoutError:
            continue
    ready.cancel()
    return False
