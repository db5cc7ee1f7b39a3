# SPDX-License-Identifier: Apache-2.0
"""``sriovctl doctor`` on a real NIC: what it says is wrong is, and its own command mends it.

And ``sriovctl topology``: what is drawn is there.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.agent import TOPOLOGY, Host
from tools.demo.witness import run

SEEN_SECONDS = 90
RULES = Path("/etc/udev/rules.d/70-sriov.rules")


@pytest.fixture(scope="module")
def pf():
    return json.loads(TOPOLOGY.read_text())["pfs"][0]


@pytest.fixture
def host(tmp_path, pf):
    return Host(tmp_path, [pf["pci"]])


def doctor(host):
    """Every finding by its check, and the exit status."""
    status, out, err = host.ctl("doctor", "-f", "json")
    assert err == ""
    return status, {row["check"]: row for row in json.loads(out)}


def state(host, check):
    return doctor(host)[1][check]["state"]


def wait_until(seen):
    deadline = time.monotonic() + SEEN_SECONDS
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def mended(host, check):
    """Run what mends it."""
    run("sh", "-c", doctor(host)[1][check]["mend"])


def test_a_pf_that_is_down_is_brought_up_by_what_mends_it(host, pf):
    name = pf["netdev"]
    found = doctor(host)[1]
    assert (found[f"{name} link"]["state"], found[f"{name} vfs"]["state"]) == ("ok", "ok")
    assert found[f"{name} firmware lldp"]["state"] == "ok"
    assert found[f"{name} driver"]["found"].startswith("igb")
    wait_until(lambda: state(host, f"{name} lldp") == "ok")
    assert pf["leaf"] in doctor(host)[1][f"{name} lldp"]["found"]
    run("ip", "link", "set", name, "down")
    status, found = doctor(host)
    assert (status, found[f"{name} link"]["state"], found[f"{name} lldp"]["state"]) == (
        *(2, "error", "error"),
    )
    mended(host, f"{name} link")
    wait_until(lambda: state(host, f"{name} link") == "ok")
    wait_until(lambda: state(host, f"{name} lldp") == "ok")


def test_vfs_that_nothing_makes_at_boot_get_a_rule(host, pf):
    check = f"{pf['netdev']} persistent"
    assert not RULES.exists()
    assert state(host, check) == "warning"
    try:
        mended(host, check)
        found = doctor(host)[1][check]
        assert (found["state"], str(RULES) in found["found"]) == ("ok", True)
    finally:
        RULES.unlink(missing_ok=True)


def test_the_agent_and_its_rights_are_seen(host):
    _, found = doctor(host)
    assert (found["agent"]["state"], found["agent rights"]["state"]) == ("warning", "unknown")
    with host.agent():
        wait_until(lambda: state(host, "agent") == "ok")
        _, found = doctor(host)
        assert found["agent rights"]["found"].startswith("user 0 has CAP_NET_ADMIN")
        assert found["device manager"]["state"] in ("ok", "unknown")


def test_the_older_agent_is_seen(host, tmp_path):
    assert state(host, "other agent") == "ok"
    older = tmp_path / "neutron-sriov-nic-agent"
    older.write_text("import time\ntime.sleep(600)\n")
    process = subprocess.Popen([sys.executable, older])
    try:
        wait_until(lambda: state(host, "other agent") == "error")
        assert str(process.pid) in doctor(host)[1]["other agent"]["found"]
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: state(host, "other agent") == "ok")


def test_the_host_is_drawn_as_it_is(host, pf):
    with host.agent():
        port = host.create("drawn", "--vlan", "15")
        (drawn,) = json.loads(host.do("topology", "-f", "json"))["pfs"]
        assert (drawn["netdev"], drawn["carrier"]) == (pf["netdev"], True)
        assert [(at["switch"], at["switch_port"]) for at in drawn["links"]] == [
            (pf["leaf"], pf["port"])
        ]
        assert (len(drawn["vfs"]), drawn["vfs"][port["vf_index"]]) == (len(pf["vfs"]), "met")
        assert [(each["name"], each["vlans"]) for each in drawn["ports"]] == [("drawn", [15])]
        host.delete("drawn")
