"""The worker: nobody else reaches it, it ends with its parent, and a dead one is replaced.

Marked Linux-only by nature: so is TFF.
"""

import gc
import multiprocessing
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

import grpc
import jupyter_client
import numpy as np
import psutil
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.runtime import patched_binary, worker, worker_process
from fedbook.runtime.socket_directory import SocketDirectory

START = """
import os, signal
import fedbook, psutil, tensorflow_federated as tff

assert tff.tensorflow.computation(lambda: 10)() == 10
for child in psutil.Process().children():
    print(child.pid, child.cwd(), flush=True)
"""
ENDINGS = {
    "normally": "",
    "by an exception": "raise SystemError('deliberate')",
    "by SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "by SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
}


def is_running(pid: int) -> bool:
    try:
        # A zombie has ended; only its exit code was not read yet.
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_ends(pid: int, within: float = 5.0):
    deadline = time.monotonic() + within
    while is_running(pid):
        assert time.monotonic() < deadline, f"worker {pid} is still there after {within} s"
        time.sleep(0.05)


def within(seconds: int, call, *args):
    """Calls, and fails the test if the call hangs.

    Not in a thread: TFF's contexts are per thread.
    """

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
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
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
    ((pid, directory),) = (line.split(maxsplit=1) for line in out.splitlines())
    assert_ends(int(pid))
    assert err == "" or (ending == "by an exception" and "deliberate" in err)
    if ending.startswith("by SIG"):  # then the next worker tidies up
        os.utime(directory, (0, 0))
        SocketDirectory().remove()
    assert not os.path.exists(directory)


@pytest.mark.parametrize("end", ["shut down", "killed"])
def test_no_worker_outlives_its_kernel(end):
    manager = jupyter_client.KernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        printed = []
        client.execute_interactive(
            START, timeout=180, output_hook=lambda m: printed.append(m["content"])
        )
        pid = int("".join(content.get("text", "") for content in printed).split()[0])
        assert is_running(pid)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=end == "killed")
    assert_ends(pid)


@pytest.fixture
def local_worker():
    """A worker of its own for each test, as TFF's context while the test runs."""
    before = tff.framework.get_context_stack().current
    made = worker.LocalWorker()
    tff.framework.set_default_context(worker.create_execution_context(made))
    yield made
    made.stop()
    tff.framework.set_default_context(before)


@tff.tensorflow.computation(np.int32)
def count(n):
    """Takes n steps, about 8 s a million, and returns n."""
    return tf.while_loop(lambda i: i < n, lambda i: i + 1, [0])[0]


def test_a_worker_killed_between_calls_is_replaced(local_worker):
    assert within(60, count, 5) == 5
    first = local_worker.process
    first.kill()
    first.wait()
    assert within(60, count, 6) == 6
    assert local_worker.process is not first


def test_a_worker_killed_during_a_call_is_replaced_and_the_call_repeated(local_worker):
    steps = 200_000
    assert within(60, count, 1) == 1
    first = local_worker.process
    killer = threading.Timer(0.3, first.kill)
    killer.start()
    assert within(120, count, steps) == steps
    killer.join()
    assert first.poll() == -signal.SIGKILL
    assert local_worker.process is not first


def test_a_computation_that_ends_every_worker_raises(local_worker):
    @tff.tensorflow.computation
    def abort():
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="deliberate")]):
            return tf.constant(1)

    with pytest.raises(RuntimeError, match="worker ended 3 times(?s:.*)deliberate"):
        within(120, abort)
    assert within(60, count, 7) == 7  # and the next call works again


def test_an_error_in_a_computation_leaves_the_worker_alone(local_worker):
    @tff.tensorflow.computation(np.int32)
    def positive(n):
        with tf.control_dependencies([tf.debugging.assert_positive(n, message="deliberate")]):
            return tf.identity(n)

    assert within(60, positive, 1) == 1
    first = local_worker.process
    with pytest.raises(Exception, match="deliberate"):
        within(60, positive, -1)
    assert within(60, positive, 2) == 2
    assert local_worker.process is first and local_worker.is_alive()


def test_a_worker_that_cannot_start_raises_with_its_exit_code(monkeypatch):
    monkeypatch.setattr(worker_process, "_EXEC_WITH_PARENT", "import sys; sys.exit('deliberate')")
    with pytest.raises(RuntimeError, match="did not start.*exit code 1(?s:.*)deliberate"):
        worker.LocalWorker().connect()


def test_a_worker_that_did_not_start_is_started_by_the_next_call(local_worker, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(worker_process, "_EXEC_WITH_PARENT", "import sys; sys.exit('deliberate')")
        for _ in range(2):
            with pytest.raises(RuntimeError, match="did not start(?s:.*)deliberate"):
                within(60, count, 1)
    assert within(60, count, 2) == 2


def test_a_worker_that_does_not_answer_at_its_start_is_not_kept(local_worker, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(worker_process, "_EXEC_WITH_PARENT", "import time; time.sleep(60)")
        patch.setattr(worker_process, "_START_SECONDS", 0.5)
        with pytest.raises(RuntimeError, match="did not start. It is running"):
            within(60, count, 1)
        assert not local_worker.is_alive()
    assert within(60, count, 2) == 2


def in_thread(call):
    """Calls in a thread that ends at once, and returns the result or the exception."""
    found = []

    def run():
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("start", ["connect", "compute"])
def test_a_worker_outlives_the_thread_that_started_it(local_worker, start):
    def compute():
        tff.framework.set_default_context(worker.create_execution_context(local_worker))
        return count(3)

    first = in_thread(local_worker.connect if start == "connect" else compute)
    assert not isinstance(first, Exception), first
    process = local_worker.process
    gc.collect()  # the context of the thread, and with it the thread of the context
    time.sleep(0.5)
    assert local_worker.is_alive()
    assert within(60, count, 4) == 4
    assert local_worker.process is process


def test_a_thread_without_a_context_says_what_to_do(local_worker):
    assert "call `tff.framework.set_default_context(context)`" in str(in_thread(lambda: count(1)))
    context = tff.framework.get_context_stack().current

    def as_the_message_says():
        tff.framework.set_default_context(context)
        return count(2)

    assert in_thread(as_the_message_says) == 2


def compute_in_fork(connection):
    try:
        connection.send(count(1))
    except Exception as error:
        connection.send(str(error))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of any fork
def test_a_fork_is_refused_at_once(local_worker):
    assert within(60, count, 1) == 1
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=compute_in_fork, args=[there])
    child.start()
    try:
        assert here.poll(10), "the child hangs"
        assert 'multiprocessing.get_context("spawn")' in here.recv()
    finally:
        child.kill()
        child.join()
    assert within(60, count, 2) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_end_of_a_fork_leaves_the_socket_in_place(local_worker):
    local_worker.connect()
    child = multiprocessing.get_context("fork").Process(target=local_worker._directory.remove)
    child.start()
    child.join()
    assert child.exitcode == 0 and local_worker.socket.exists()


def test_a_worker_that_stops_answering_is_replaced(local_worker, monkeypatch):
    monkeypatch.setattr(worker, "_PROBE_SECONDS", 0.5)
    monkeypatch.setattr(worker_process, "_ANSWER_SECONDS", 1)
    assert within(60, count, 1) == 1
    first = local_worker.process
    first.send_signal(signal.SIGSTOP)
    assert within(30, count, 2) == 2
    assert local_worker.process is not first and first.poll() == -signal.SIGKILL


def test_a_worker_that_never_answers_raises(local_worker, monkeypatch):
    monkeypatch.setattr(worker, "_PROBE_SECONDS", 0.5)
    monkeypatch.setattr(worker_process, "_ANSWER_SECONDS", 1)
    connect = local_worker.connect

    def connect_and_stop():
        stub = connect()
        local_worker.process.send_signal(signal.SIGSTOP)
        return stub

    monkeypatch.setattr(local_worker, "connect", connect_and_stop)
    with pytest.raises(RuntimeError, match="ended 3 times(?s:.*)did not answer for 1 s"):
        within(60, count, 1)


@pytest.mark.parametrize("stopped", [False, True])
def test_the_next_call_works_after_an_interrupt(local_worker, stopped, capfd):
    # In the background of a script a program inherits an ignored Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert within(60, count, 1) == 1
    if stopped:
        local_worker.process.send_signal(signal.SIGSTOP)
    interrupt = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        within(60, count, 10_000_000)
    assert within(20, count, 2) == 2
    interrupt.join()
    gc.collect()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("size", ["argument", "result"])
def test_a_message_over_the_limit_says_what_to_do(local_worker, size, monkeypatch):
    monkeypatch.setattr(worker_process, "_MAX_MESSAGE_BYTES", 1_000_000)

    @tff.tensorflow.computation(tff.TensorType(np.float32, [None]))
    def total(values):
        return tf.reduce_sum(values)

    @tff.tensorflow.computation(np.int32)
    def zeros(n):
        return tf.zeros([n])

    call, argument = {
        "argument": (total, np.zeros(400_000, np.float32)),
        "result": (zeros, 400_000),
    }[size]
    with pytest.raises(RuntimeError, match="takes more than 2 GB.*Use fewer clients"):
        within(60, call, argument)
    assert within(60, total, np.ones(3, np.float32)) == 3


@pytest.mark.parametrize(
    "details, explanation",
    [
        ("Exception serializing request!", "takes more than 2 GB"),
        ("Failed to run: OOM when allocating tensor with shape[9]", "not have enough memory"),
        ("Unexpected error in RPC handling", "not have enough memory"),
        ("Failed to run: std::bad_alloc", "not have enough memory"),
    ],
)
def test_what_the_worker_reports_is_explained(local_worker, details, explanation, monkeypatch):
    class Failure(grpc.RpcError):
        def details(self):
            return details

    def fail(cardinalities):
        raise Failure

    context = tff.framework.get_context_stack().current
    monkeypatch.setattr(worker.WorkerExecutorFactory, "create_executor", lambda *_: fail(None))
    with pytest.raises(RuntimeError, match=f"{explanation}.*{details[:15]}"):
        context.invoke(count, None)


def test_clients_run_on_the_worker(local_worker):
    @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
    def mean(values):
        return tff.federated_mean(values)

    assert within(60, mean, [1.0, 2.0, 6.0]) == 3.0
    assert within(60, mean, [1.0, 2.0]) == 1.5  # another number of clients


@pytest.mark.parametrize("clients, threads", [(None, 1), (1, "all"), (-1, "all")])
def test_clients_share_the_cores(clients, threads, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    made = worker.LocalWorker(clients)
    made.connect()
    environment = psutil.Process(made.process.pid).environ()
    made.stop()
    assert environment["TF_NUM_INTRAOP_THREADS"] == ("4" if threads == "all" else "1")
    assert environment["MALLOC_ARENA_MAX"] == "1"


def listening(processes) -> list[str]:
    """The TCP addresses, in the kernel's hexadecimal, at which one of the processes listens."""
    inodes = set()
    for process in processes:
        for descriptor in pathlib.Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                target = os.readlink(descriptor)
            except FileNotFoundError:  # closed meanwhile
                continue
            if target.startswith("socket:["):
                inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in pathlib.Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:  # 0A = listening
                found.append(fields[1])
    return found


def test_nothing_listens_on_tcp_while_a_computation_runs(local_worker):
    assert within(60, count, 1) == 1
    me, found = psutil.Process(), []

    def look():
        processes = [me, *me.children(recursive=True)]
        assert local_worker.process.pid in {process.pid for process in processes}
        found.append(listening(processes))

    timer = threading.Timer(0.3, look)
    timer.start()
    assert within(120, count, 200_000) == 200_000
    timer.join()
    assert found == [[]]


@pytest.mark.parametrize(
    "family, address", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_the_check_sees_a_socket_that_listens_on_tcp(family, address):
    with socket.socket(family) as opened:
        try:
            opened.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        opened.listen()
        assert len(listening([psutil.Process()])) == 1


# Gives up its rights after the import, for which the other user may lack the right.
AS_USER = """
import os, socket, sys
user, path = int(sys.argv[1]), sys.argv[2]
if os.geteuid() != user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
for name, action in {
    "connect": lambda: socket.socket(socket.AF_UNIX).connect(path),
    "list": lambda: os.listdir(os.path.dirname(path)),
}.items():
    try:
        action()
    except OSError as error:
        print(name, type(error).__name__)
    else:
        print(name, "works")
"""
NOBODY = 65534


def as_user(user: int, path: pathlib.Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", AS_USER, str(user), path],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_socket_is_in_a_private_directory(local_worker):
    local_worker.connect()
    assert stat.S_ISSOCK(local_worker.socket.stat().st_mode)
    assert stat.S_IMODE(local_worker.socket.parent.stat().st_mode) == 0o700
    assert as_user(os.geteuid(), local_worker.socket) == ["connect works", "list works"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as a second user")
def test_a_second_user_cannot_connect(local_worker, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")  # which the second user can enter
    local_worker.connect()
    path = local_worker.socket
    assert as_user(NOBODY, path) == ["connect PermissionError", "list PermissionError"]
    # The control: with the directory and the socket open, the same user gets in.
    path.chmod(0o777)
    assert as_user(NOBODY, path) == ["connect PermissionError", "list PermissionError"]
    path.parent.chmod(0o755)
    assert as_user(NOBODY, path) == ["connect works", "list works"]


@pytest.mark.parametrize("name", ["a space", "größer %20?#", "x" * 120])
def test_the_worker_runs_in_folders_of_any_name(name, local_worker, tmp_path, monkeypatch):
    # Relative, as XDG_CACHE_HOME and TMPDIR may be too.
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", name)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", name)
    try:
        assert within(60, count, 5) == 5
        program = psutil.Process(local_worker.process.pid).exe()
        assert program.startswith(str(tmp_path / name / "fedbook"))
        parent = local_worker.socket.parent.parent
        # pytest's own folder may be too long for a socket already.
        fits = len(os.fsencode(tmp_path / name / "fedbook-worker-12345678" / "1")) <= 107
        assert parent == (tmp_path / name if fits else pathlib.Path("/tmp"))
    finally:
        local_worker.stop()
        shutil.rmtree(tmp_path / name)  # 300 MB


def test_a_stopped_worker_leaves_no_directory(local_worker):
    local_worker.connect()
    directory = local_worker.socket.parent
    local_worker.stop()
    assert not directory.exists()


def test_no_worker_starts_without_its_patched_program(local_worker, monkeypatch):
    def refuse():
        raise RuntimeError("deliberate")

    monkeypatch.setattr(patched_binary, "find_or_make", refuse)
    with pytest.raises(RuntimeError, match="deliberate"):
        within(60, count, 1)
    assert local_worker.process is None
