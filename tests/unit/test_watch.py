# SPDX-License-Identifier: Apache-2.0
"""Network devices of a real kernel, in a network namespace of the test's own, being watched."""

import contextlib
import ctypes
import os
import queue
import shutil
import subprocess
import threading

import pytest

from sriov_agent.host.watch import LinkWatch

PATIENCE = 30
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def in_namespace():
    """Move this thread into a network namespace of its own.

    :raises OSError: if that may not be done
    """
    if LIBC.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Namespace:
    """A thread in a network namespace, which does what it is given."""

    def __init__(self):
        self._work = queue.SimpleQueue()
        self._done = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        error = self._done.get(timeout=PATIENCE)
        if error:
            raise error

    def _run(self):
        try:
            in_namespace()
        except OSError as error:
            self._done.put(error)
            return
        self._done.put(None)
        while work := self._work.get():
            try:
                self._done.put((work(), None))
            except Exception as error:
                self._done.put((None, error))

    def do(self, work):
        self._work.put(work)
        result, error = self._done.get(timeout=PATIENCE)
        if error:
            raise error
        return result

    def ip(self, *arguments):
        command = ["ip", *arguments]
        self.do(lambda: subprocess.run(command, check=True, capture_output=True, text=True))

    def close(self):
        self._work.put(None)
        self._thread.join(PATIENCE)


@pytest.fixture
def namespace():
    if not shutil.which("ip"):
        pytest.skip("iproute2 is not installed")
    try:
        namespace = Namespace()
    except OSError as error:
        pytest.skip(f"no network namespace can be made: {error}")
    with contextlib.closing(namespace):
        yield namespace


@pytest.fixture
def pair(namespace):
    try:
        namespace.ip("link", "add", "d0", "type", "veth", "peer", "name", "e0")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no veth device can be made: {error.stderr}")
    return namespace


@pytest.fixture
def watched(pair):
    """(the namespace, what the watch told of it)."""
    heard = queue.SimpleQueue()
    watch = LinkWatch(lambda name, kind: heard.put((name, kind)))
    # A thread that is started has its starter's namespace.
    pair.do(watch.start)
    wait_until_it_hears(pair, heard)
    yield pair, heard
    watch.stop()


def wait_until_it_hears(namespace, heard):
    for mtu in range(1000, 1000 + 10 * PATIENCE):
        namespace.ip("link", "set", "d0", "mtu", str(mtu))
        with contextlib.suppress(queue.Empty):
            heard.get(timeout=0.1)
            break
    else:
        pytest.fail("nothing is heard")
    with contextlib.suppress(queue.Empty):
        while True:
            heard.get(timeout=0.2)


def until(heard, expected):
    while heard.get(timeout=PATIENCE) != expected:
        pass


def test_a_device_that_changes_is_told_by_name_and_type(watched):
    namespace, heard = watched
    namespace.ip("link", "set", "d0", "up")
    until(heard, ("d0", "veth"))


def test_a_device_that_comes_and_goes_is_told(watched):
    namespace, heard = watched
    namespace.ip("link", "add", "d1", "type", "veth")
    until(heard, ("d1", "veth"))
    namespace.ip("link", "delete", "d1")
    until(heard, ("d1", "veth"))


def test_a_device_that_is_renamed_is_told_by_its_new_name(watched):
    namespace, heard = watched
    namespace.ip("link", "set", "d0", "name", "d9")
    until(heard, ("d9", "veth"))


def test_what_happens_in_another_namespace_is_not_told(watched):
    _, heard = watched
    with contextlib.closing(Namespace()) as other:
        other.ip("link", "add", "d2", "type", "veth")
    with pytest.raises(queue.Empty):
        heard.get(timeout=0.3)


def test_many_at_once_are_told_or_said_to_be_lost(pair):
    """The first one waits: meanwhile the kernel drops what the socket cannot hold."""
    heard, go_on = queue.SimpleQueue(), threading.Event()

    def changed(name, kind):
        heard.put((name, kind))
        assert go_on.wait(PATIENCE)

    watch = LinkWatch(changed)
    pair.do(watch.start)
    batch = "".join(f"link set d0 mtu {1000 + n % 400}\n" for n in range(3000))
    pair.do(
        lambda: subprocess.run(
            ["ip", "-batch", "-"], input=batch, check=True, capture_output=True, text=True
        )
    )
    go_on.set()
    until(heard, ("", ""))
    pair.ip("link", "set", "d0", "mtu", "999")
    until(heard, ("d0", "veth"))
    watch.stop()


@pytest.mark.parametrize("started", [True, False])
def test_it_stops_and_leaves_nothing_open(started):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        watch = LinkWatch(lambda name, kind: None)
        if started:
            watch.start()
        watch.stop()
    assert "link watch" not in {thread.name for thread in threading.enumerate()}
    assert len(os.listdir("/proc/self/fd")) < before + 25
