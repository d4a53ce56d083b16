"""TFF's worker process: how it starts, how it ends, and whether it still answers.

TFF starts its ``worker_binary`` on the first computation and stops it from a ``__del__`` that does
not run when Python exits or is killed, so that 400 MB stay behind. Here the kernel ends the worker
with its parent, however the parent ends (Linux: ``prctl(PR_SET_PDEATHSIG)``). TFF's own worker can
be reached, and told to run anything, from the whole network; this one listens on a Unix socket in a
directory that only its owner can enter (:mod:`fedbook.runtime.patched_binary`).
"""

import concurrent.futures
import functools
import os
import pathlib
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import weakref
from collections.abc import Callable
from typing import IO, Any

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
_RECONNECT = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
# glibc gives a process 8 arenas a core, and memory that one thread frees in its arena is
# lost to the others: over 100 rounds the worker grew by a quarter. With one it stays level.
_ARENAS = {"MALLOC_ARENA_MAX": "1"}
_START_SECONDS = 60.0
_ANSWER_SECONDS = 30
# How an HTTP/2 client, which gRPC is, opens a connection; the server answers with its settings.
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_IMPORTED_BY = os.getpid()


def require_own_process() -> None:
    """Refuses to go on in a fork, which has no copy of the threads that TFF and gRPC wait for.

    Raises:
      RuntimeError: if this process was forked after it imported this module.
    """
    if os.getpid() != _IMPORTED_BY:
        raise RuntimeError(
            "TFF cannot run in a process that was forked after fedbook was imported, which is how "
            "multiprocessing starts processes on Linux before Python 3.14. Start them with "
            'multiprocessing.get_context("spawn"), for example '
            'ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")).'
        )


class LocalWorker:
    """A worker process on this machine, started when first needed.

    It may be used from any thread, and lives on when the thread that started it ends. Its working
    directory is the private directory of its socket, so a computation that names files has to give
    their absolute paths.

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
        self._connecting = threading.Lock()
        self._was_silent = False  # the reason why :meth:`kill_if_silent` killed the process

    def is_alive(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def connect(self) -> tff.framework.RemoteExecutorGrpcStub:
        """Returns a stub that talks to the process, which is started unless it is alive.

        Raises:
          RuntimeError: if no worker answers within 60 s, if the worker or its socket has no safe
            place on this machine, or if this process is a fork.
        """
        require_own_process()
        with self._connecting:
            path = self.socket if self.is_alive() else None
            # In an address, spaces and letters beyond ASCII stand as %20 and the like.
            address = "unix:" + urllib.parse.quote(os.fsencode(path or self._start()))
            channel = grpc.insecure_channel(address, _channel_options())
            if not _is_ready(channel, _START_SECONDS, self.is_alive):
                failure = f"TFF's worker did not start. {self.describe_end()}"
                self.stop()  # so that the next call starts another one
                raise RuntimeError(failure)
        return tff.framework.RemoteExecutorGrpcStub(channel)

    def kill(self) -> None:
        """Kills the process, if one is running, from any thread; what waits for it fails at once.

        Unlike :meth:`stop`, it leaves the directory and the log in place.
        """
        process = self.process
        if process is not None:
            process.kill()

    def kill_if_silent(self) -> None:
        """Kills the process if it runs but has not greeted a new connection for 30 s.

        gRPC's own threads greet, so a worker that is busy with a long computation does so at once;
        one that is stopped (SIGSTOP) or swapped out does not. gRPC's keepalive cannot tell: a
        server counts pings that come more often than every five minutes as abuse.
        """
        process, path = self.process, self.socket
        if process is not None and path is not None and not _greets(path, _ANSWER_SECONDS):
            self._was_silent = True
            process.kill()

    def describe_end(self) -> str:
        """What is known of the last process: exit code and last lines of its log."""
        if self.process is None or self._log is None:
            return "It was never started."
        code = self.process.poll()
        state = "It is running" if code is None else f"It ended with exit code {code}"
        if self._was_silent:
            state = f"It did not answer for {_ANSWER_SECONDS} s and was killed"
        if self._log.closed:
            return f"{state}."
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
        self._was_silent = False
        self._directory = SocketDirectory()
        self.socket = self._directory.socket
        # Not the parent's stdout: the worker would keep a pipe open, and Jupyter
        # would show its log between the reader's results.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (it is closed with the worker)
        launcher = [sys.executable, "-I", "-S", "-c", _EXEC_WITH_PARENT, str(os.getpid())]
        concurrency = f"--max_concurrent_computation_calls={self._concurrency}"
        start = functools.partial(
            subprocess.Popen,
            [*launcher, binary, f"--port={self.socket.name}", concurrency],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd=self._directory.path,
            env=self._environment | os.environ,
        )
        self.process = _starter().run(start)
        self._end = weakref.finalize(self, _end, self.process, self._log)
        # When Python exits, the kernel ends the worker last: gRPC's threads would notice an
        # earlier end and try to report it, which an interpreter that shuts down cannot do.
        self._end.atexit = False
        return self.socket


class _Starter:
    """A thread that lives as long as Python, and starts the workers.

    What Linux calls the parent whose end ends the worker is the thread that started it.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="fedbook-starter", daemon=True).start()

    def run(self, call: Callable[[], Any]) -> Any:
        result: concurrent.futures.Future = concurrent.futures.Future()
        self._calls.put((call, result))
        return result.result()

    def _serve(self) -> None:
        while True:
            call, result = self._calls.get()
            try:
                result.set_result(call())
            except Exception as error:  # it is raised in the thread that waits
                result.set_exception(error)


@functools.cache
def _starter() -> _Starter:
    return _Starter()


def _channel_options() -> list[tuple[str, int]]:
    names = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
    return [*((name, _MAX_MESSAGE_BYTES) for name in names), *_RECONNECT]


def _greets(path: pathlib.Path, seconds: int) -> bool:
    """Whether a server greets; also True if there is none, which gRPC notices by itself."""
    with socket.socket(socket.AF_UNIX) as connection:
        # Second by second: when this process has been stopped too (Ctrl-Z), that takes only one.
        connection.settimeout(1.0)
        try:
            connection.connect(os.fspath(path))
            connection.sendall(_HTTP2_GREETING)
        except TimeoutError:
            return False
        except OSError:
            return True
        for _ in range(seconds):
            try:
                connection.recv(1)
                return True
            except TimeoutError:
                continue
            except OSError:  # it has ended meanwhile
                return True
    return False


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
