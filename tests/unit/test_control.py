# SPDX-License-Identifier: Apache-2.0
"""The agent's local socket, with both of its ends."""

import json
import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from sriov_agent.control import Control, ask
from sriov_agent.exceptions import Refused, Unavailable
from tests.users import as_nobody

PATIENCE = 30


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "agent.sock"


@pytest.fixture
def control(path):
    control = Control(path, {})
    control.start()
    yield control
    control.stop()


def test_what_is_asked_for_is_done_before_it_is_answered(control):
    done = []
    control.operations = {"reconcile": lambda: done.append(1)}
    ask(control.path, "reconcile", PATIENCE)
    assert done == [1]


def test_why_it_cannot_be_done_is_told(control):
    def fail():
        raise Unavailable("the pass is not over")

    control.operations = {"reconcile": fail}
    with pytest.raises(Refused, match="the pass is not over"):
        ask(control.path, "reconcile", PATIENCE)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"op": "stop"}', b'{"op": {}}', b"[" * 60000],
    ids=lambda line: repr(line[:12]),
)
def test_what_is_no_request_is_refused_and_the_next_is_answered(control, line):
    control.operations = {"reconcile": lambda: None}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(control.path))
        connection.sendall(line + b"\n")
        assert "no such operation" in json.loads(connection.makefile().readline())["error"]
    ask(control.path, "reconcile", PATIENCE)


def test_without_an_agent_there_is_a_sentence(path):
    with pytest.raises(Unavailable, match="does it run"):
        ask(path, "reconcile", PATIENCE)


def test_root_or_the_group_alone_may_write_to_it_and_it_goes_with_the_agent(path):
    control = Control(path, {})
    control.start()
    assert stat.S_IMODE(path.stat().st_mode) == (0o660 if os.getegid() else 0o600)
    control.stop()
    assert not path.exists()


def test_a_socket_that_was_left_behind_is_replaced(path, control):
    path.rename(path.with_suffix(".kept"))
    path.write_text("left")
    second = Control(path, {"reconcile": lambda: None})
    second.start()
    ask(path, "reconcile", PATIENCE)
    second.stop()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (0o666, "user 65534 may not ask the agent: be root"),
        (0o600, "user 65534 may not ask sriov-agent on {}: be root, or in its group"),
    ],
)
def test_another_user_is_refused_whatever_the_mode_of_the_socket(mode, said):
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        done = []
        control = Control(Path(directory) / "agent.sock", {"reconcile": lambda: done.append(1)})
        control.start()
        try:
            control.path.chmod(mode)
            refused = as_nobody(lambda: refusal(control.path))
            assert refused == repr(said.format(control.path))
        finally:
            control.stop()
        assert done == []


def refusal(path):
    """Why the agent refuses to do something."""
    with pytest.raises(Refused) as refused:
        ask(path, "reconcile", PATIENCE)
    return str(refused.value)
