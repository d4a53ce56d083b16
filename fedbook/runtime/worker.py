"""The context that runs TFF's computations on a worker process, and what it does when one fails.

A worker that has ended, or that no longer answers, is replaced by a new one and the computation is
repeated; one that is interrupted (Ctrl-C) ends with its worker, so that the next computation need
not wait for it. All that this needs is TFF's public API.
"""

import asyncio
import concurrent.futures
import contextvars
import dataclasses
import subprocess
import threading
import weakref

import grpc
import tensorflow_federated as tff

from fedbook.runtime.worker_process import LocalWorker, require_own_process

_PROBE_SECONDS = 10.0  # a call asks its worker for a sign of life this often
_DEATHS_PER_CALL = 3


@dataclasses.dataclass
class _Call:
    """One computation that a :class:`WorkerContext` runs, and the processes that it has used."""

    processes: list[subprocess.Popen] = dataclasses.field(default_factory=list)
    is_interrupted: bool = False


_CALL: contextvars.ContextVar[_Call] = contextvars.ContextVar("call")


class WorkerExecutorFactory(tff.framework.ExecutorFactory):
    """Creates TFF executors on a worker for a :class:`WorkerContext`.

    TFF repeats a call for as long as the connection to its worker breaks. A computation that itself
    ends the worker (out of memory, say) would be repeated for ever; after three ends in one call
    this factory raises instead.
    """

    def __init__(self, worker: LocalWorker):
        self._worker = worker
        self._executors: tff.framework.ResourceManagingExecutorFactory | None = None
        self._process: subprocess.Popen | None = None  # the one that the executors belong to

    def create_executor(self, cardinalities) -> tff.framework.RemoteExecutor:
        """Returns an executor for ``{placement: number of participants}``.

        Raises:
          RuntimeError: if three workers ended during this call, or if none can be started.
          asyncio.CancelledError: if the call was interrupted.
        """
        call, executors = _CALL.get(), self._executors
        if executors is None or not self._is_current():
            if len(call.processes) >= _DEATHS_PER_CALL:
                raise RuntimeError(
                    f"TFF's worker ended {_DEATHS_PER_CALL} times while it ran this computation: "
                    "most often there was not enough memory (use fewer or smaller clients per "
                    "round). " + self._worker.describe_end()
                )
            executors = self._connect()
        if call.is_interrupted:
            raise asyncio.CancelledError
        if self._process is not None and self._process not in call.processes:
            call.processes.append(self._process)
        return executors.create_executor(cardinalities)

    def clean_up_executor(self, cardinalities) -> None:
        """Forgets the executor for `cardinalities`; TFF calls this after an error."""
        if self._executors is not None and self._is_current():
            self._executors.clean_up_executor(cardinalities)

    def _is_current(self) -> bool:
        return self._process is self._worker.process and self._worker.is_alive()

    def _connect(self) -> tff.framework.ResourceManagingExecutorFactory:
        stub = self._worker.connect()

        def create(cardinalities):
            cardinalities.setdefault(tff.CLIENTS, 0)
            executor = tff.framework.RemoteExecutor(stub)
            executor.set_cardinalities(cardinalities)
            return executor

        self._executors = tff.framework.ResourceManagingExecutorFactory(create)
        self._process = self._worker.process
        return self._executors


class WorkerContext(tff.framework.SyncContext):
    """Runs TFF computations on a :class:`LocalWorker`; several threads may share it."""

    def __init__(self, worker: LocalWorker, compiler):
        """Starts nothing yet but a thread, which the calls to the worker block.

        Args:
          worker: where to run.
          compiler: a function from a ``tff.framework.ConcreteComputation`` to another, which the
            worker can run.
        """
        self._worker = worker
        self._context = tff.framework.AsyncExecutionContext(
            executor_fn=WorkerExecutorFactory(worker),
            compiler_fn=compiler,
            transform_args=tff.tensorflow.transform_args,
            transform_result=tff.tensorflow.transform_result,
        )
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        end = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)
        end.atexit = False

    def invoke(self, comp, arg):
        """Runs `comp` on `arg` and returns the result; TFF calls this.

        A worker that does not answer for 30 s is killed, which is noticed within 40 s in all.

        Raises:
          RuntimeError: if the worker ended three times, cannot be started or had not enough memory,
            if the argument or the result takes more than 2 GB, or if this process is a fork.
          grpc.RpcError: if the computation itself failed.
        """
        require_own_process()
        call = _Call()
        future = asyncio.run_coroutine_threadsafe(self._run(call, comp, arg), self._loop)
        try:
            while not concurrent.futures.wait([future], _PROBE_SECONDS).done:
                self._worker.kill_if_silent()
            return future.result()
        except grpc.RpcError as error:
            explanation = _explain(error.details() or "")
            if explanation is None:
                raise
            raise RuntimeError(explanation) from error
        finally:
            if not future.done():  # Ctrl-C, or another exception from a signal
                call.is_interrupted = True
                future.cancel()
                self._worker.kill()  # or the thread would be blocked until it is ready

    async def _run(self, call: _Call, comp, arg):
        _CALL.set(call)
        try:
            return await self._context.invoke(comp, arg)
        except Exception:
            if call.is_interrupted:  # nobody waits for it, and asyncio would print it
                return None
            raise


def create_execution_context(
    worker: LocalWorker | None = None, *, simulate_secure_sums: bool = False
) -> WorkerContext:
    """Returns a context that runs TFF computations on `worker`.

    Args:
      worker: where to run; a new :class:`LocalWorker` by default. Make the result the default with
        ``tff.framework.set_default_context``.
      simulate_secure_sums: whether to compute TFF's secure sums too, which the worker cannot: in
        the clear, with the numbers that a secure sum would give.
    """
    compiler = _compile_in_the_clear if simulate_secure_sums else _compile
    return WorkerContext(worker or LocalWorker(), compiler)


def refuse_threads_without_context() -> None:
    """Makes TFF say what to do when a computation is called in a thread that has no context."""
    found = []

    def look() -> None:
        found.append(tff.framework.get_context_stack().current)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    # All threads that have set no context share this one, whose own message says that it is a
    # mistake in TFF.
    found[0].invoke = _refuse_thread


def _refuse_thread(comp, arg):
    raise RuntimeError(
        "This thread has no TFF context, because a context belongs to the thread that set it. "
        "In the main thread, write `context = tff.framework.get_context_stack().current`; in this "
        "one, call `tff.framework.set_default_context(context)` first (with ThreadPoolExecutor: "
        "initializer=tff.framework.set_default_context, initargs=(context,))."
    )


# Parts of gRPC's and TFF's messages -> what a reader can do.
_TOO_LARGE = (
    "The argument or the result of this computation takes more than 2 GB, the most that one "
    "message between TFF and its worker can hold. Use fewer clients per round, fewer examples per "
    "client, or a smaller model."
)
_NO_MEMORY = (
    "TFF's worker did not have enough memory for this computation. Use fewer or smaller clients "
    "per round, smaller batches, or a smaller model."
)
_EXPLANATIONS = {
    "Sent message larger than max": _TOO_LARGE,
    "Received message larger than max": _TOO_LARGE,
    "Exception serializing request": _TOO_LARGE,  # Protocol Buffers, beyond 2 GiB
    "OOM when allocating": _NO_MEMORY,
    "bad_alloc": _NO_MEMORY,
    "Unexpected error in RPC handling": _NO_MEMORY,  # how gRPC's server reports std::bad_alloc
}


def _explain(details: str) -> str | None:
    for part, explanation in _EXPLANATIONS.items():
        if part in details:
            return f"{explanation} The worker's message: {details[:300]}"
    return None


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
