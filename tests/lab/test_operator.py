# SPDX-License-Identifier: Apache-2.0
"""``sriovctl doctor`` on a real NIC: what it says is wrong is, and its own command mends it.

And ``sriovctl topology``: what is drawn is there; ``sriovctl port delete --wait``: what it waited
for is so.

What the guest cannot be is tried elsewhere, in ``tests/unit/test_doctor.py``: a machine without an
IOMMU is the one that the tests run on, or else a directory; a NIC whose firmware keeps LLDP frames
is a recorded answer of one; a server whose clock is another is one that says so.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.agent import Host
from tests.lab.nested import LIBVIRTD_CONF
from tests.lab.waiting import until
from tools.demo import witness
from tools.demo.witness import run

RULES = Path("/etc/udev/rules.d/70-sriov.rules")
LOADED = Path("/etc/modules-load.d/vfio.conf")
#: ``struct timex`` of ``adjtimex(2)``, as far as the fields that are set here.
ADJ_MAXERROR, ADJ_STATUS, TIMEX_BYTES = 0x4, 0x10, 208


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


def mended(host, check):
    """Run what mends it."""
    run("sh", "-c", doctor(host)[1][check]["mend"])


def test_a_pf_that_is_down_is_brought_up_by_what_mends_it(host, pf):
    name = pf["netdev"]
    found = doctor(host)[1]
    assert (found[f"{name} link"]["state"], found[f"{name} vfs"]["state"]) == ("ok", "ok")
    assert found[f"{name} firmware lldp"]["state"] == "ok"
    assert found[f"{name} driver"]["found"].startswith("igb")
    until(lambda: state(host, f"{name} lldp") == "ok")
    assert pf["leaf"] in doctor(host)[1][f"{name} lldp"]["found"]
    run("ip", "link", "set", name, "down")
    status, found = doctor(host)
    assert (status, found[f"{name} link"]["state"], found[f"{name} lldp"]["state"]) == (
        *(2, "error", "error"),
    )
    mended(host, f"{name} link")
    until(lambda: state(host, f"{name} link") == "ok")
    until(lambda: state(host, f"{name} lldp") == "ok")


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
        until(lambda: state(host, "agent") == "ok")
        _, found = doctor(host)
        assert found["agent rights"]["found"].startswith("user 0 has CAP_NET_ADMIN")
        assert found["device manager"]["state"] in ("ok", "unknown")


def test_the_older_agent_is_seen(host, tmp_path):
    assert state(host, "other agent") == "ok"
    older = tmp_path / "neutron-sriov-nic-agent"
    older.write_text("import time\ntime.sleep(600)\n")
    process = subprocess.Popen([sys.executable, older])
    try:
        until(lambda: state(host, "other agent") == "error")
        assert str(process.pid) in doctor(host)[1]["other agent"]["found"]
    finally:
        process.kill()
        process.wait()
    until(lambda: state(host, "other agent") == "ok")


def test_the_iommu_of_the_guest_is_seen(host):
    found = doctor(host)[1]["iommu"]
    groups = len(os.listdir("/sys/kernel/iommu_groups"))
    assert groups > 0
    assert (found["state"], found["found"]) == ("ok", f"on, {groups} groups")


def test_vfio_is_loaded_by_what_mends_it_and_at_the_next_boot(host):
    if Path("/sys/bus/pci/drivers/vfio-pci").exists():
        run("modprobe", "-r", "vfio-pci")
    assert not LOADED.exists()
    assert state(host, "vfio") == "warning"
    try:
        mended(host, "vfio")
        assert state(host, "vfio") == "ok"
        assert LOADED.read_text() == "vfio-pci\n"
    finally:
        LOADED.unlink(missing_ok=True)


def test_a_libvirt_that_listens_is_told_from_one_that_has_crashed(host, tmp_path):
    if not shutil.which("libvirtd"):
        pytest.skip("libvirtd is not here: see make test")
    assert state(host, "libvirt") == "warning"
    config = tmp_path / "libvirtd.conf"
    config.write_text(LIBVIRTD_CONF.format(log=tmp_path / "libvirtd.log"))
    process = subprocess.Popen(["libvirtd", "--config", config], stderr=subprocess.DEVNULL)
    try:
        until(lambda: state(host, "libvirt") == "ok")
        found = doctor(host)[1]["libvirt"]["found"]
        assert found == "listens on /run/libvirt/libvirt-sock"
    finally:
        process.kill()
        process.wait()
    assert Path("/run/libvirt/libvirt-sock").is_socket()
    assert state(host, "libvirt") == "warning"


def set_maxerror(microseconds):
    """As whoever synchronizes the clock does it."""
    timex = (ctypes.c_long * (TIMEX_BYTES // ctypes.sizeof(ctypes.c_long)))()
    timex[0], timex[3] = ADJ_MAXERROR | ADJ_STATUS, microseconds
    assert ctypes.CDLL(None).adjtimex(timex) >= 0


def test_the_kernels_word_on_its_clock_is_told(host):
    try:
        set_maxerror(1000)
        found = doctor(host)[1]["clock"]
        assert (found["state"], found["found"]) == ("ok", "synchronized, the kernel says")
    finally:
        set_maxerror(16_000_000)
    found = doctor(host)[1]["clock"]
    assert (found["state"], "chrony" in found["mend"]) == ("warning", True)


def vlans_of(pf):
    """What the leaf itself says is open on the PF's port."""
    return witness.open_vlans(pf["leaf"], pf["port"])


def test_a_port_that_was_waited_for_is_gone_from_the_switch(host, pf):
    with host.agent():
        host.create("one", "--vlan", "77")
        host.create("two", "--vlan", "77")
        assert 77 in vlans_of(pf)
        host.delete("one")
        assert 77 in vlans_of(pf)
        host.delete("two")
        assert 77 not in vlans_of(pf)


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
