# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong, every command of ``sriovctl`` says it in one sentence and by its status."""

import contextlib
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from sriov_agent.core.report import Report
from tests.ctl import run
from tests.topology import LEAF_A, carried
from tests.unit.test_ctl_commands import COMMANDS, examples
from tests.unit.test_sriovctl import Host, one_sentence
from tests.users import as_nobody

HOSTILE = r"a\u001b[2J\u0007\u202e\nb"
ANSWERS = {
    "ends": b"",
    "no-line": b"{",
    "no-text": b"\xff\xfe\n",
    "a-list": b"[1]\n",
    "nothing": b"null\n",
    "deep": b"[" * 100_000 + b"\n",
    "no-rows": b"{}\n",
    "rows-of-none": b'{"rows": 5}\n',
    "rows-of-numbers": b'{"rows": [5, null]}\n',
    "an-error": f'{{"error": "{HOSTILE}"}}\n'.encode(),
    "no-sentence": b'{"error": {"a": ["\\u001b"]}}\n',
    "hostile-rows": (
        f'{{"rows": [{{"switch": "{HOSTILE}", "port": ["{HOSTILE}"], "error": "{HOSTILE}",'
        f' "host": 7, "heard": "{HOSTILE}"}}, {{"switch": null}}]}}\n'
    ).encode(),
    "hostile-counters": f'{{"heartbeats.answered_at": "{HOSTILE}"}}\n'.encode(),
}
#: They read no file of the agent and ask nobody.
ALONE = ("vpp script", "vpp xml")


@contextlib.contextmanager
def answering(*paths, answer):
    """Somebody who listens on these sockets, and says the same to whatever is asked."""
    listening = []
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listening.append(listener)
        threading.Thread(target=_answer, args=(listener, answer), daemon=True).start()
    try:
        yield
    finally:
        for listener in listening:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def _answer(listener, answer):
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.makefile("rb").readline()
                connection.sendall(answer)


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    with host.config.open("a") as config:
        config.write(
            f"[device_manager]\nstate_path = {tmp_path}/manager\nswitches = leaf1\n"
            "[switch:leaf1]\ndriver = linux-bridge\naddress = 127.0.0.1:9\nports = swp1\n"
            f"[libvirt]\nuri = qemu+unix:///system?socket={tmp_path}/no-libvirt\n"
            "[neutron]\nauth_type = none\nendpoint_override = http://127.0.0.1:9\n"
        )
    return host


def typed(words):
    """The arguments of the first example of a command; what waits does so shortly."""
    line = re.split(r" [|>] ", examples(words)[0])[0]
    arguments = shlex.split(line)[1:]
    return [
        "0.1" if before == "--wait" else word
        for before, word in zip(["", *arguments], arguments, strict=False)
    ]


def said(host, words, *extra):
    """What an example says: nothing that a terminal acts on, and, if it fails, one sentence."""
    status, out, err = host(*typed(words), *extra)
    assert status in (0, 1) or words == "doctor"
    assert all(line.isprintable() for line in out.split("\n"))
    assert "Traceback" not in err
    assert "sriovctl itself failed" not in err
    warnings = [line for line in err.splitlines() if not line.startswith("PF ")]
    assert all(line.isprintable() for line in warnings)
    assert len(warnings) <= 1
    return status, out, err


@pytest.mark.parametrize("words", COMMANDS)
def test_on_a_host_where_nothing_runs_there_is_one_sentence(host, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, out, err = said(host, words)
    assert bool(err) == (status == 1 and words != "doctor")
    assert out or err or status == 0


@pytest.mark.parametrize("words", COMMANDS)
def test_a_record_that_is_none_is_named(host, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("agent.db", "ports.db"):
        path = host.config.parent / "state" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("no database" * 100)
    said(host, words)


ASKING = (
    "doctor",
    "fabric drift",
    "fabric host list",
    "fabric sync",
    "fabric hosts",
    "switch show",
)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("words", ASKING)
def test_an_answer_that_is_none_is_told_and_shown_escaped(host, words, answer):
    sockets = (host.config.parent / "state/agent.sock", host.config.parent / "manager/manager.sock")
    with host.config.open("a") as config:
        config.write("[agent]\nsource = ml2\n[DEFAULT]\ntransport_url = rabbit://127.0.0.1:9/\n")
    with answering(*sockets, answer=answer):
        extra = () if words in ("doctor", "switch show") else ("-f", "table")
        arguments = [word for word in typed(words) if word not in ("--dry-run", "leaf1")]
        _, out, err = host(*arguments, *extra)
    assert "Traceback" not in err
    assert "itself failed" not in err
    assert all(line.isprintable() for line in [*out.split("\n"), *err.split("\n")])
    assert len(err.splitlines()) <= 1


def test_what_is_a_fault_of_sriovctl_is_said_to_be_and_debug_shows_where(host):
    host.store.save(Report(), {})
    with contextlib.closing(sqlite3.connect(host.store.database.path)) as db:
        db.execute("INSERT INTO status VALUES ('x', 'a\x1b[2J')")
        db.commit()
    status, out, err = host("port", "list")
    assert (status, out) == (1, "")
    assert "--debug" in one_sentence(err, "sriovctl itself failed", "JSONDecodeError")
    status, out, err = run("--debug", "--config-file", str(host.config), "port", "list")
    assert status == 1
    assert "Traceback" in err
    assert all(line.isprintable() for line in err.split("\n"))


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["port", "list"], 0),
        (["port", "show", "nosuch"], 1),
        (["port", "show"], 2),
        (["port", "list", "-f", "no-such-form"], 2),
        (["port", "nosuch"], 2),
        (["nosuch"], 2),
        (["doctor"], 2),
    ],
)
def test_the_exit_status_is_that_of_the_documentation(host, arguments, status):
    assert host(*arguments)[0] == status


def test_a_pipe_that_nobody_reads_any_more_ends_it_without_a_word(host):
    for number in range(3):
        host.create(f"web{number}")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", _MAIN, "--config-file", host.config, "port", "list"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


_MAIN = "import sys; from sriov_agent.cmd.ctl.app import main; sys.exit(main())"


@pytest.fixture
def public():
    """A directory that everybody gets to."""
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(
    ("arguments", "reads"),
    [
        (["port", "list"], True),
        (["port", "show", "web1"], True),
        (["vlan", "list"], True),
        (["agent", "show"], True),
        (["topology"], True),
        (["port", "create", "--physical-network", "physnet2"], False),
        (["port", "delete", "web1"], False),
        (["vlan", "create", "DMZ"], False),
        (["fabric", "sync"], False),
        (["fabric", "host", "list"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_another_user_may_read_what_is_readable_and_is_told_to_be_root(public, arguments, reads):
    host = Host(public)
    with host.config.open("a") as config:
        config.write(f"[device_manager]\nstate_path = {public}/state\n")
    host.store.save(Report(fabric={LEAF_A: carried(15)}), {})
    host.create("web1")
    sockets = [public / "state" / name for name in ("agent.sock", "manager.sock")]
    with answering(*sockets, answer=b"{}\n"):
        for path in sockets:
            path.chmod(0o600)
        for mode, readable in ((0o755, reads), (0o700, False)):
            (public / "state").chmod(mode)
            said = as_nobody(lambda: host(*arguments))
            if readable:
                assert said.startswith("(0, '"), said
                assert arguments != ["agent", "show"] or re.search(r"running +\| None", said), said
                continue
            assert said.startswith("(1, ''"), said
            assert "may not" in said
            assert "be root" in said
            assert "Traceback" not in said
    assert [port.document["name"] for port in host.ports.all()] == ["web1"]
    assert "DMZ" not in host.do("vlan", "list")
