# SPDX-License-Identifier: Apache-2.0
"""The command of ``linux-bridge`` in a real shell, and what it makes of what iproute2 lists.

With a bridge of a kernel it is tested by tests/lab/test_switch_linux_bridge.py.
"""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sriov_agent.exceptions import ConfigError
from sriov_agent.fabric.model import PortVlans
from sriov_agent.fabric.switch.base import Login
from sriov_agent.fabric.switch.linux_bridge import (
    LOCKED,
    TOO_LATE,
    LinuxBridge,
    Port,
    bridge_ports,
    transaction,
)

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIr1WJu8cFmTtkdQbPGAHpWjDDzh4yzXK8kLdJ0p0K9y"
EDIT = "vlan add dev swp1 vid 100\n# end"


@pytest.fixture
def run(tmp_path):
    """Runs a transaction with a ``bridge`` that writes down what it is given."""
    for name, script in {
        "bridge": f"case $1 in -batch) cat >{tmp_path}/given;; *) echo '[]';; esac",
        "ip": "echo '[]'",
        "sudo": f'echo "as root: $@" >{tmp_path}/sudo; [ "$1" = -n ] && shift && exec "$@"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def run(edit, seconds=60, sudo=False, keep=None, shell="sh"):
        command = transaction(str(tmp_path / "lock"), seconds, sudo)
        ended = subprocess.run(
            [shell, "-c", command],
            env=environment,
            **({"stdin": keep} if keep is not None else {"input": edit.encode()}),
            capture_output=True,
            check=False,
        )
        given = tmp_path / "given"
        return ended.returncode, ended.stdout.split(), given.read_text() if given.exists() else None

    return run


@pytest.mark.parametrize("shell", [shell for shell in ("sh", "bash", "zsh") if shutil.which(shell)])
def test_an_edit_is_given_to_bridge_between_two_readings(run, shell):
    assert run(EDIT, shell=shell) == (0, [b"[]"] * 4, f"{EDIT}\n")


@pytest.mark.parametrize("length", range(len(EDIT)))
def test_an_edit_that_was_cut_short_is_none(run, length):
    assert run(EDIT[:length]) == (0, [b"[]"] * 2, None)


def test_what_is_in_an_edit_is_not_run(run, tmp_path):
    edit = (
        f"$(touch {tmp_path}/owned)\n`touch {tmp_path}/owned`; touch {tmp_path}/owned\\n'\"\n# end"
    )
    assert run(edit)[2] == f"{edit}\n"
    assert not (tmp_path / "owned").exists()


def test_one_at_a_time(run, tmp_path):
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(EDIT) == (LOCKED, [], None)
    assert run(EDIT)[0] == 0


def test_an_edit_that_does_not_come_lets_go_of_the_lock(run):
    reading, writing = os.pipe()
    try:
        assert run("", seconds=1, keep=reading) == (TOO_LATE, [b"[]"] * 2, None)
    finally:
        os.close(reading)
        os.close(writing)
    assert run(EDIT)[0] == 0


def test_only_the_edit_needs_root(run, tmp_path):
    assert run(EDIT, sudo=True)[2] == f"{EDIT}\n"
    assert (tmp_path / "sudo").read_text() == "as root: -n bridge -batch -\n"


def link(name, kind="", slave="", master="", **data):
    info = {"info_kind": kind, "info_slave_kind": slave, "info_data": data}
    info = {key: value for key, value in info.items() if value}
    found = {"ifname": name, "linkinfo": info, "master": master}
    return {key: value for key, value in found.items() if value}


def test_ports_of_bridges_and_members_of_their_aggregates():
    links = [
        {"ifname": "lo"},
        {},
        link("br0", "bridge", vlan_filtering=1),
        link("br1", "bridge", vlan_filtering=0),
        link("swp1", slave="bridge", master="br0"),
        link("swp2", slave="bridge", master="br1"),
        link("swp3", slave="bridge", master="br0"),
        link("bond0", "bond", slave="bridge", master="br0"),
        link("swp4", slave="bond", master="bond0"),
        link("bond1", "bond"),
        link("swp5", slave="bond", master="bond1"),
        link("swp6"),
    ]
    vlans = [
        {
            "ifname": "swp1",
            "vlans": [
                {"vlan": 1, "flags": ["PVID", "Egress Untagged"]},
                {"vlan": 5, "vlanEnd": 7},
                {"vlan": 9, "flags": ["Egress Untagged"]},
                {"vlan": 11},
            ],
        },
        {"ifname": "bond0", "vlans": [{"vlan": 3, "flags": ["PVID"]}]},
        {"ifname": "br0", "vlans": [{"vlan": 1}]},
    ]
    bond = PortVlans(vlans=frozenset({3}), native=3)
    assert bridge_ports(vlans, links) == {
        "swp1": Port(PortVlans(vlans=frozenset({5, 6, 7, 11}), native=1), frozenset({1, 9})),
        "swp2": Port(PortVlans(every=True)),
        "swp3": Port(PortVlans()),
        "bond0": Port(bond),
        "swp4": Port(PortVlans(vlans=bond.vlans, native=3, lag="bond0")),
    }


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"host_key": ""}, "host_key"),
        ({"password": ""}, "key_file"),
        ({"options": {"sudo": "maybe"}}, "sudo"),
        ({"options": {"lock_file": "/run/lock; reboot"}}, "lock_file"),
        ({"options": {"lock_file": "lock"}}, "lock_file"),
    ],
)
def test_what_the_operator_has_to_mend(changes, option):
    login = {"name": "leaf1", "address": "192.0.2.1", "host_key": HOST_KEY, "password": "secret"}
    with pytest.raises(ConfigError, match=rf"\[switch:leaf1\] {option}"):
        LinuxBridge(Login(**login | changes))


def test_a_key_that_is_none_is_not_shown(tmp_path):
    key_file = Path(tmp_path, "key")
    key_file.write_text("correct-horse-battery")
    login = Login(name="leaf1", address="192.0.2.1", host_key=HOST_KEY, key_file=key_file)
    with pytest.raises(ConfigError, match=r"\[switch:leaf1\] key_file") as raised:
        LinuxBridge(login).read(["swp1"])
    assert "battery" not in str(raised.value)
