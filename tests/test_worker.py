"""The worker: nobody else reaches it, it ends with its parent, and a dead one is replaced.

Marked Linux-only by nature: so is TFF.
"""

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

import jupyter_client
import numpy as np
import psutil
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook.runtime import patched_binary, worker
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
    monkeypatch.setattr(worker, "_EXEC_WITH_PARENT", "import sys; sys.exit('deliberate')")
    with pytest.raises(RuntimeError, match="did not start.*exit code 1(?s:.*)deliberate"):
        worker.LocalWorker().connect()


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
