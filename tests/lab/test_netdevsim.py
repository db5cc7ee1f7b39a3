# SPDX-License-Identifier: Apache-2.0
"""A real kernel whose driver knows every VF setting, with more VFs than an attribute can hold."""

import subprocess
from pathlib import Path

import pytest

from sriov_agent.core.model import RELEASED, LinkState, VfSettings
from sriov_agent.host.links import links
from sriov_agent.host.netlink import Netlink

BUS = Path("/sys/bus/netdevsim")
DEBUG = Path("/sys/kernel/debug")
ID = 7
MANY = 1024
ASKED = VfSettings(
    mac="02:5a:00:00:00:01",
    vlan=15,
    qos=3,
    spoofchk=True,
    trust=True,
    link_state=LinkState.DISABLE,
    min_tx_rate=100,
    max_tx_rate=1000,
)


@pytest.fixture(scope="module")
def netdev():
    """The name of a device with MANY VFs."""
    if subprocess.run(["modprobe", "netdevsim"], check=False, capture_output=True).returncode:
        pytest.skip("the lab's kernel has no netdevsim: run 'tools/lab setup --netdevsim'")
    if not (DEBUG / "netdevsim").exists():
        subprocess.run(["mount", "-t", "debugfs", "none", DEBUG], check=True)
    (BUS / "new_device").write_text(f"{ID} 1")
    device = BUS / f"devices/netdevsim{ID}"
    (DEBUG / f"netdevsim/netdevsim{ID}/max_vfs").write_text(str(MANY))
    (device / "sriov_numvfs").write_text(str(MANY))
    subprocess.run(["udevadm", "settle"], check=True)
    [net] = (device / "net").iterdir()
    yield net.name
    (BUS / "del_device").write_text(str(ID))


def vfs(netdev):
    return links()[netdev].all_vfs()


def test_all_vfs_are_read_however_many_there_are(netdev):
    assert len(vfs(netdev)) == MANY


@pytest.mark.parametrize("index", [0, MANY - 1])
def test_every_setting_is_set_seen_and_released_and_no_other_vf_is_touched(netdev, index):
    before = vfs(netdev)
    with Netlink() as netlink:
        link = links()[netdev]
        assert netlink.set_vfs(link, [(index, ASKED)]) == {}
        after = vfs(netdev)
        assert ASKED.differing(after[index]).items() == {}
        assert [n for n in range(MANY) if before[n] != after[n]] == [index]

        assert netlink.set_vfs(link, [(index, RELEASED)]) == {}
        assert RELEASED.differing(vfs(netdev)[index]).items() == {}


def test_one_message_sets_many_vfs(netdev):
    changes = [
        (index, VfSettings(vlan=1 + index, qos=0, link_state=LinkState.ENABLE))
        for index in range(0, MANY, 8)
    ]
    with Netlink() as netlink:
        link = links()[netdev]
        assert netlink.set_vfs(link, changes) == {}
        seen = vfs(netdev)
        assert [seen[index].vlan for index, _ in changes] == [1 + index for index, _ in changes]
        assert {seen[index].link_state for index, _ in changes} == {LinkState.ENABLE}
        assert sum(bool(vf.vlan) for vf in seen) == len(changes)
        assert netlink.set_vfs(link, [(index, RELEASED) for index, _ in changes]) == {}


@pytest.mark.parametrize(
    "asked", [VfSettings(vlan=15, qos=8), VfSettings(min_tx_rate=9, max_tx_rate=3)]
)
def test_what_cannot_be_is_refused_by_its_name(netdev, asked):
    with Netlink() as netlink:
        refused = netlink.set_vfs(links()[netdev], [(1, asked)])
    assert {index for index, _ in refused} == {1}
    assert {name for _, name in refused} <= asked.items().keys()
