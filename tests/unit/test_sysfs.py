# SPDX-License-Identifier: Apache-2.0
"""PFs and VFs read from a tree that is laid out like ``/sys``."""

import pytest

from sriov_agent.exceptions import Unavailable
from sriov_agent.host.sysfs import Function, Sysfs
from tests.fakes.sysfs import UP, SysfsTree
from tests.topology import PF_A, PF_B, vf_address


@pytest.fixture
def tree(tmp_path):
    tree = SysfsTree(tmp_path / "sys")
    tree.add_pf(PF_A)
    return tree


@pytest.fixture
def sysfs(tree):
    return Sysfs(tree.root)


@pytest.mark.parametrize("device", ["ens1", PF_A, PF_A.upper(), f" {PF_A}"])
def test_a_pf_is_found_by_name_and_by_address(sysfs, device):
    assert sysfs.pf_address(device) == PF_A


def test_a_pf_that_was_renamed_is_found_by_its_address_and_has_its_new_name(tree, sysfs):
    tree.rename_netdev(PF_A, "ens1", "uplink0")
    assert sysfs.netdev(PF_A) == "uplink0"
    assert sysfs.pf_address("uplink0") == PF_A
    with pytest.raises(Unavailable, match="no network device 'ens1'"):
        sysfs.pf_address("ens1")


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("ens9", "there is no network device 'ens9'"),
        ("../net/ens1", "there is no network device"),
        ("ens1/", "there is no network device"),
        ("..", "there is no network device"),
        ("\x1b[2J", "there is no network device"),
        ("0000:99:00.0", "no SR-IOV physical function"),
        ("ens1v0", "ens1v0 is no SR-IOV physical function"),
        (vf_address(PF_A, 0), "no SR-IOV physical function"),
    ],
)
def test_what_is_no_pf_is_unknown(sysfs, device, why):
    with pytest.raises(Unavailable) as caught:
        sysfs.pf_address(device)
    assert why in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("moved", [True, False])
def test_a_pf_without_a_netdev_here_is_unknown(tree, sysfs, moved):
    tree.remove_netdev(PF_A, "ens1", moved=moved)
    with pytest.raises(Unavailable, match="no network device in this network namespace"):
        sysfs.netdev(PF_A)


def test_a_pf_with_two_netdevs_is_not_guessed_at(tree, sysfs):
    tree.add_netdev(PF_A, "ens1d1")
    with pytest.raises(Unavailable):
        sysfs.netdev(PF_A)


def test_how_many_vfs_there_can_be(tree, sysfs):
    assert sysfs.total_vfs(PF_A) == 7
    (tree.device(PF_A) / "sriov_totalvfs").write_text("\n")
    with pytest.raises(Unavailable, match=PF_A):
        sysfs.total_vfs(PF_A)
    with pytest.raises(Unavailable, match=PF_B):
        sysfs.total_vfs(PF_B)


def test_vfs_come_by_number_and_not_by_name(tmp_path):
    tree = SysfsTree(tmp_path / "sys")
    tree.add_pf(PF_A, num_vfs=12, total_vfs=63)
    functions = Sysfs(tree.root).vfs(PF_A)

    assert [function.index for function in functions] == list(range(12))
    assert [f.address for f in functions] == [vf_address(PF_A, index) for index in range(12)]


def test_an_unused_vf(sysfs):
    assert sysfs.vfs(PF_A)[1] == Function(
        address=vf_address(PF_A, 1), index=1, driver="igbvf", netdev="ens1v1", net=True, used=""
    )


def test_a_pf_without_vfs_has_none(tmp_path):
    tree = SysfsTree(tmp_path / "sys")
    tree.add_pf(PF_A, num_vfs=0)
    assert Sysfs(tree.root).vfs(PF_A) == ()


@pytest.mark.parametrize("index", [0, 2])
def test_a_vf_that_is_missing_is_unknown(tree, sysfs, index):
    (tree.device(PF_A) / f"virtfn{index}").unlink()
    with pytest.raises(Unavailable, match=f"virtfn{index}"):
        sysfs.vfs(PF_A)


def test_what_sysfs_should_never_show_is_unknown(tree, sysfs):
    (tree.root / "class/net/ens1v1/flags").write_text("")
    with pytest.raises(Unavailable, match=PF_A):
        sysfs.vfs(PF_A)
    tree.set_flags("ens1v1", 0)
    (tree.device(PF_A) / "sriov_numvfs").write_text("\n")
    with pytest.raises(Unavailable, match=PF_A):
        sysfs.vfs(PF_A)


def test_a_pf_that_is_gone_is_unknown_and_not_without_vfs(tree, sysfs):
    tree.remove_pf(PF_A)
    for call in (sysfs.vfs, sysfs.netdev, sysfs.total_vfs):
        with pytest.raises(Unavailable, match=PF_A):
            call(PF_A)


@pytest.mark.parametrize("driver", [None, "vfio-pci"])
def test_a_vf_whose_driver_makes_no_netdev(tree, sysfs, driver):
    vf = vf_address(PF_A, 1)
    tree.remove_netdev(vf, "ens1v1")
    tree.bind(vf, driver)
    seen = sysfs.vfs(PF_A)[1]
    assert (seen.driver, seen.netdev, seen.net, seen.used) == (driver, None, False, "")


def test_a_vf_whose_netdev_is_in_another_network_namespace(tree, sysfs):
    tree.remove_netdev(vf_address(PF_A, 1), "ens1v1", moved=True)
    seen = sysfs.vfs(PF_A)[1]
    assert (seen.driver, seen.netdev, seen.net, seen.used) == ("igbvf", None, True, "")


def test_a_netdev_that_is_up_is_used(tree, sysfs):
    tree.set_flags("ens1v1", UP)
    assert [function.used for function in sysfs.vfs(PF_A)] == ["", "netdev ens1v1 is up", "", ""]


def test_a_netdev_that_is_a_port_of_something_is_used_also_while_it_is_down(tree, sysfs):
    tree.enslave("ens1v1", "br0")
    assert sysfs.vfs(PF_A)[1].used == "netdev ens1v1 is a port of br0"
