# SPDX-License-Identifier: Apache-2.0
"""What ``exec`` makes of a program: its arguments, its answer, its end."""

import json
import os
import select

import pytest

from sriov_agent.exceptions import ConfigError, Refused, Unavailable
from sriov_agent.hook.loader import load
from tests.contract.test_hooks import configured, switch_port
from tests.topology import carried

ASKED = carried(15)
WANTED = {switch_port(): ASKED}
#: Enough for a shell to start on a busy machine.
TIMEOUT = 2


def hook(directory, command, timeout=60):
    text = f"[fabric]\nhook = exec\n[hook_exec]\ncommand = {command}\ntimeout = {timeout}\n"
    return load(configured(directory, text))


@pytest.fixture
def program(tmp_path):
    """A shell script as the device manager's program."""

    def write(script):
        path = tmp_path / "device-manager"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def witness(tmp_path):
    """A pipe that every process holds that wrote to it: it ends when they all have.

    ``said()`` returns what was written, once the last of them is gone; ``None`` if one stays.
    """
    path = tmp_path / "witness"
    os.mkfifo(path)
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def said():
        found = b""
        while select.select([end], [], [], 20)[0]:
            part = os.read(end, 4096)
            if not part:
                return found
            found += part
        return None

    yield path, said
    os.close(end)


def test_arguments_are_passed_as_they_are(tmp_path, program):
    path = program(
        f'for argument; do printf "%s\\n" "$argument"; done > {tmp_path}/arguments\n'
        f"""cat > {tmp_path}/request; echo '{{"vlans": [15]}}'"""
    )
    arguments = ["a b", "; touch owned", "`touch owned`", "$$(touch owned)", "*", "-n", "> owned"]
    found = hook(tmp_path, ",".join([str(path), *arguments])).apply(switch_port(), WANTED)
    assert found == ASKED
    seen = (tmp_path / "arguments").read_text().splitlines()
    assert seen == [argument.replace("$$", "$") for argument in arguments]
    assert json.loads((tmp_path / "request").read_text())["op"] == "apply"
    assert not list(tmp_path.rglob("owned"))


def test_what_lldp_said_is_no_argument(tmp_path, program):
    path = program(
        f'echo "$#" > {tmp_path}/count; env > {tmp_path}/environment; echo \'{{"vlans": []}}\''
    )
    hook(tmp_path, path).apply(switch_port(name="$(touch owned)"), WANTED)
    assert (tmp_path / "count").read_text() == "0\n"
    assert "touch owned" not in (tmp_path / "environment").read_text()


def test_a_program_need_not_read_its_input(tmp_path, program):
    path = program("""exec <&-; echo '{"links": []}'""")
    many = [switch_port(port_id=("ifname", f"swp{n}" * 100)) for n in range(500)]
    assert hook(tmp_path, path).read(many) == {}


def test_a_refusal_gives_its_first_line_escaped(tmp_path, program):
    path = program(r"""printf 'no VLAN\033[2J <b>\tfree\nTraceback: secret\n' >&2; exit 3""")
    with pytest.raises(Refused) as refusal:
        hook(tmp_path, path).apply(switch_port(), WANTED)
    assert "exit status 3: 'no VLAN\\x1b[2J <b>\\tfree'" in str(refusal.value)
    assert str(refusal.value).isprintable()
    assert "secret" not in str(refusal.value)


def test_a_refusal_is_one_even_with_an_answer(tmp_path, program):
    path = program("""echo '{"vlans": [15]}'; exit 1""")
    with pytest.raises(Refused, match="exit status 1"):
        hook(tmp_path, path).apply(switch_port(), WANTED)


def test_a_long_refusal_is_shortened(tmp_path, program):
    path = program("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1")
    with pytest.raises(Refused) as refusal:
        hook(tmp_path, path).apply(switch_port(), WANTED)
    assert len(str(refusal.value)) < 400


def test_a_program_that_is_killed_is_a_refusal(tmp_path, program):
    with pytest.raises(Refused, match="exit status -9"):
        hook(tmp_path, program("kill -9 $$")).apply(switch_port(), WANTED)


def test_a_program_that_takes_too_long_is_killed_with_its_children(tmp_path, program, witness):
    pipe, said = witness
    path = program(f"exec 3>{pipe}; sleep 600 & sh -c 'sleep 600 & wait' & echo up >&3; wait")
    with pytest.raises(Unavailable, match=f"no answer in {TIMEOUT}"):
        hook(tmp_path, path, TIMEOUT).apply(switch_port(), WANTED)
    assert said() == b"up\n"


def test_a_child_that_holds_the_answer_back_is_killed(tmp_path, program, witness):
    pipe, said = witness
    path = program(f"""exec 3>{pipe}; echo up >&3; echo '{{"vlans": [15]}}'; sleep 600 &""")
    with pytest.raises(Unavailable, match="no answer"):
        hook(tmp_path, path, TIMEOUT).apply(switch_port(), WANTED)
    assert said() == b"up\n"


def test_an_answer_ends_what_the_program_left_behind(tmp_path, program, witness):
    pipe, said = witness
    path = program(
        f"exec 3>{pipe}; echo up >&3; sleep 600 > /dev/null 2>&1 & echo '{{\"vlans\": [15]}}'"
    )
    assert hook(tmp_path, path).apply(switch_port(), WANTED) == ASKED
    assert said() == b"up\n"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "ok",
        "{",
        "[15]",
        "null",
        "{}",
        '{"vlans": 15}',
        '{"vlans": {"15": true}}',
        '{"vlans": ["15"]}',
        '{"vlans": [15.0]}',
        '{"vlans": [true]}',
        '{"vlans": [0]}',
        '{"vlans": [4095]}',
        '{"vlans": [NaN]}',
        '{"vlans": [15]} {"vlans": [16]}',
        '{"vlans": [15], "note": "\xff"}',
        "[" * 100_000,
    ],
    ids=lambda answer: answer[:30] or "empty",
)
def test_garbage_is_refused(tmp_path, program, answer):
    (tmp_path / "answer").write_bytes(answer.encode("latin-1"))
    with pytest.raises(Refused, match="answer"):
        hook(tmp_path, program(f"cat {tmp_path}/answer")).apply(switch_port(), WANTED)


@pytest.mark.parametrize("answer", ['{"vlans": [15]}', '{"links": {}}', '{"links": "all"}'])
def test_an_answer_to_read_has_links(tmp_path, program, answer):
    with pytest.raises(Refused, match="'links'"):
        hook(tmp_path, program(f"echo '{answer}'")).read([switch_port()])


def test_links_that_were_not_asked_for_are_passed_over(tmp_path, program):
    answer = {
        "links": [
            None,
            {},
            {"pf": "0000:3b:00.0", "switch": "leaf1", "port": 1, "vlans": [15]},
            {"pf": [], "switch": {"chassis_id": {}}, "port": {"id": None}, "vlans": [15]},
        ]
    }
    path = program(f"echo '{json.dumps(answer)}'")
    assert hook(tmp_path, path).read([switch_port()]) == {}


def test_a_huge_answer_is_refused(tmp_path, program):
    path = program("""printf '{"vlans": [15]}'; head -c 2000000 /dev/zero | tr '\\0' ' '""")
    with pytest.raises(Refused, match="answer over"):
        hook(tmp_path, path).apply(switch_port(), WANTED)


def test_a_program_that_cannot_be_run_did_not_answer(tmp_path, program):
    with pytest.raises(Unavailable, match="nosuch"):
        hook(tmp_path, tmp_path / "nosuch").apply(switch_port(), WANTED)
    with pytest.raises(Unavailable, match="device manager"):
        hook(tmp_path, tmp_path).apply(switch_port(), WANTED)
    path = program("exit 0")
    path.chmod(0o644)
    with pytest.raises(Unavailable, match="Permission denied"):
        hook(tmp_path, path).apply(switch_port(), WANTED)


def test_each_request_runs_the_program_that_is_there_then(tmp_path, program):
    path = program("exit 1")
    loaded = hook(tmp_path, path)
    with pytest.raises(Refused):
        loaded.apply(switch_port(), WANTED)
    program("""echo '{"vlans": [15]}'""")
    assert loaded.apply(switch_port(), WANTED) == ASKED


@pytest.mark.parametrize("command", ["", "device-manager", "./device-manager,apply", "~/manager"])
def test_a_program_is_named_by_its_absolute_path(tmp_path, command):
    with pytest.raises(ConfigError, match=r"\[hook_exec\] command: expected the absolute path"):
        hook(tmp_path, command)
