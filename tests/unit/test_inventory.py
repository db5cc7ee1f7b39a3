# SPDX-License-Identifier: Apache-2.0
"""sysfs and rtnetlink put together: what is seen whole is told, everything else has a reason."""

import pytest

from sriov_agent.core.fields import ZERO_MAC
from sriov_agent.core.model import RELEASED, VfSettings
from sriov_agent.exceptions import Refused, Unavailable, Unsupported
from sriov_agent.host.inventory import Inventory, held_by
from sriov_agent.host.rtnl import Link
from sriov_agent.host.sysfs import Function, Sysfs
from tests.fakes.sysfs import DOWN, UP, SysfsTree
from tests.frozen import replace
from tests.topology import PF_A, PF_B, port_mac, vf_address

MAC = port_mac(1)


class Rtnetlink:
    """The kernel's links; ``lacking`` and ``refusing`` are settings by name."""

    def __init__(self):
        self.devices = {
            name: Link(
                index=index,
                name=name,
                mac=f"52:54:00:aa:00:0{index}",
                carrier=True,
                carrier_changes=1,
            )
            for index, name in enumerate(["lo", "ens1", "ens2"], 1)
        }
        for name in ("ens1", "ens2"):
            self.give(name, [RELEASED] * 4)
        self.lacking, self.refusing = set(), set()
        self.answers = True

    def give(self, name, vfs, num_vfs=None):
        count = len(vfs) if num_vfs is None else num_vfs
        self.devices[name] = replace(self.devices[name], vfs=tuple(vfs), num_vfs=count)

    def links(self):
        if not self.answers:
            raise Unavailable("RTM_GETLINK failed")
        return dict(self.devices)

    def link(self, name):
        return self.links().get(name)

    def set_vfs(self, link, changes):
        name = next(name for name, device in self.devices.items() if device.index == link.index)
        vfs, refused = list(self.devices[name].vfs), {}
        for index, change in changes:
            for setting, value in change.items().items():
                if setting in self.lacking:
                    refused[index, setting] = Unsupported(setting)
                elif setting in self.refusing:
                    refused[index, setting] = Refused(setting)
                else:
                    vfs[index] = replace(vfs[index], **{setting: value})
        self.give(name, vfs)
        return refused


@pytest.fixture
def tree(tmp_path):
    tree = SysfsTree(tmp_path / "sys")
    tree.add_pf(PF_A)
    tree.add_pf(PF_B)
    return tree


@pytest.fixture
def kernel():
    return Rtnetlink()


@pytest.fixture
def inventory(tree, kernel):
    return Inventory([("physnet2", "ens1"), ("physnet3", PF_B)], kernel, Sysfs(tree.root))


def test_pfs_are_seen_with_their_vfs(inventory, kernel):
    kernel.give("ens1", [replace(RELEASED, trust=True), *[RELEASED] * 3])
    pfs, errors = inventory.pfs()

    assert errors == {}
    assert list(pfs) == [PF_A, PF_B]
    pf = pfs[PF_A]
    assert (pf.address, pf.netdev, pf.physical_network) == (PF_A, "ens1", "physnet2")
    assert (pf.mac, pf.carrier, pf.total_vfs) == ("52:54:00:aa:00:02", True, 7)
    assert [vf.address for vf in pf.vfs] == [vf_address(PF_A, index) for index in range(4)]
    assert [vf.settings.trust for vf in pf.vfs] == [True, False, False, False]
    assert {(vf.pf, vf.driver, vf.held_by) for vf in pf.vfs} == {(PF_A, "igbvf", "")}
    assert [vf.netdev for vf in pf.vfs] == ["ens1v0", "ens1v1", "ens1v2", "ens1v3"]


def only_the_other(inventory, why):
    pfs, errors = inventory.pfs()
    assert list(pfs) == [PF_B]
    assert list(errors) == [f"pf {PF_A}"]
    assert why in errors[f"pf {PF_A}"]
    return True


def test_a_pf_that_vanishes_is_an_error_and_the_others_stay(inventory, tree, kernel):
    inventory.pfs()
    tree.remove_pf(PF_A)
    del kernel.devices["ens1"]
    assert only_the_other(inventory, "no network device")


def test_a_pf_that_was_renamed_stays_the_same_pf(inventory, tree, kernel):
    inventory.pfs()
    tree.rename_netdev(PF_A, "ens1", "uplink0")
    kernel.devices["uplink0"] = replace(kernel.devices.pop("ens1"), name="uplink0")
    pfs, errors = inventory.pfs()
    assert errors == {}
    assert pfs[PF_A].netdev == "uplink0"


def test_a_pf_that_was_never_seen_is_told_by_the_name_it_was_given(tree, kernel):
    inventory = Inventory([("physnet2", "ens9"), ("physnet3", PF_B)], kernel, Sysfs(tree.root))
    pfs, errors = inventory.pfs()
    assert list(pfs) == [PF_B]
    assert errors == {"pf ens9": "there is no network device 'ens9'"}


def test_a_pf_that_is_missing_at_the_start_holds_up_no_other_and_is_seen_when_it_comes(
    tree, kernel
):
    tree.remove_pf(PF_A)
    link = kernel.devices.pop("ens1")
    mapped = [("physnet2", "ens1"), ("physnet2", PF_A), ("physnet3", PF_B)]
    for mappings in (mapped[::2], mapped[1:]):
        pfs, errors = Inventory(mappings, kernel, Sysfs(tree.root)).pfs()
        assert list(pfs) == [PF_B]
        assert list(errors) == [f"pf {mappings[0][1]}"]

    inventory = Inventory(mapped[::2], kernel, Sysfs(tree.root))
    inventory.pfs()
    tree.add_pf(PF_A)
    kernel.devices["ens1"] = link
    assert [list(found) for found in inventory.pfs()] == [[PF_A, PF_B], []]


def test_a_pf_that_vanishes_and_comes_back_is_seen_again(inventory, tree, kernel):
    inventory.pfs()
    tree.remove_pf(PF_A)
    link = kernel.devices.pop("ens1")
    only_the_other(inventory, "no network device")
    tree.add_pf(PF_A)
    kernel.devices["ens1"] = replace(link, index=17)
    assert [list(found) for found in inventory.pfs()] == [[PF_A, PF_B], []]
    assert inventory.set_vfs(PF_A, [(1, VfSettings(vlan=15))]) == {}
    assert kernel.devices["ens1"].vfs[1].vlan == 15


def test_vfs_that_are_made_after_the_start_are_seen(tree, kernel):
    tree.remove_pf(PF_A)
    tree.add_pf(PF_A, num_vfs=0)
    kernel.give("ens1", [])
    inventory = Inventory([("physnet2", "ens1"), ("physnet3", PF_B)], kernel, Sysfs(tree.root))
    assert [len(pf.vfs) for pf in inventory.pfs()[0].values()] == [0, 4]

    (tree.device(PF_A) / "sriov_numvfs").write_text("3\n")
    for index in range(3):
        tree.add_vf(PF_A, index)
    kernel.give("ens1", [RELEASED] * 3)
    pfs, errors = inventory.pfs()
    assert errors == {}
    assert [vf.address for vf in pfs[PF_A].vfs] == [vf_address(PF_A, index) for index in range(3)]


def test_vfs_that_are_numbered_anew_are_known_by_their_addresses(inventory, tree, kernel):
    """As on a NIC whose VFs have another stride after its firmware was set up anew."""
    inventory.pfs()
    kernel.give("ens1", [replace(RELEASED, vlan=10 + index) for index in range(4)])
    links = [tree.device(PF_A) / f"virtfn{index}" for index in range(4)]
    for link, target in zip(links, [link.resolve() for link in reversed(links)], strict=True):
        link.unlink()
        link.symlink_to(target)
    pfs, errors = inventory.pfs()
    assert errors == {}
    assert {vf.address: (vf.index, vf.settings.vlan) for vf in pfs[PF_A].vfs} == {
        vf_address(PF_A, 3 - index): (index, 10 + index) for index in range(4)
    }


def test_a_pf_that_refuses_its_settings_touches_no_other(inventory, kernel):
    inventory.pfs()
    kernel.refusing, kernel.lacking = {"vlan"}, {"trust"}
    asked = [(0, VfSettings(vlan=15, trust=True))]
    assert set(inventory.set_vfs(PF_A, asked)) == {(0, "vlan"), (0, "trust")}
    kernel.refusing, kernel.lacking = set(), set()
    assert inventory.set_vfs(PF_B, asked) == {}
    assert inventory.pfs()[0][PF_B].unsupported == frozenset()


def test_a_vf_that_is_excluded_is_seen_and_held_whatever_uses_it(tree, kernel):
    tree.set_flags("ens1v1", UP)
    excluded = {vf_address(PF_A, 1), vf_address(PF_A, 2), vf_address(PF_A, 99)}
    mapped = [("physnet2", "ens1"), ("physnet3", PF_B)]
    inventory = Inventory(mapped, kernel, Sysfs(tree.root), excluded=excluded)
    pfs, errors = inventory.pfs()
    assert errors == {}
    assert [vf.excluded for vf in pfs[PF_A].vfs] == [False, True, True, False]
    why = "excluded by [sriov_nic] exclude_devices"
    assert [vf.held_by for vf in pfs[PF_A].vfs] == ["", why, why, ""]
    assert {vf.held_by for vf in pfs[PF_B].vfs} == {""}


def test_a_pf_that_turns_up_later_is_seen(tree, kernel):
    tree.remove_pf(PF_A)
    inventory = Inventory([("physnet2", "ens1")], kernel, Sysfs(tree.root))
    assert inventory.pfs()[0] == {}
    tree.add_pf(PF_A)
    assert list(inventory.pfs()[0]) == [PF_A]


def test_a_pf_that_the_kernel_does_not_list_is_an_error(inventory, kernel):
    inventory.pfs()
    del kernel.devices["ens1"]
    assert only_the_other(inventory, "the kernel has no network device ens1")


@pytest.mark.parametrize("count", [0, 3, 5])
def test_vfs_that_came_or_went_between_two_looks_are_unknown(inventory, kernel, count):
    kernel.give("ens1", [RELEASED] * count)
    assert only_the_other(inventory, f"4 VFs in sysfs, {count} in rtnetlink")


def test_vfs_that_the_kernel_did_not_list_are_unknown(inventory, kernel):
    kernel.give("ens1", [RELEASED] * 3, num_vfs=4)
    assert only_the_other(inventory, "3 of 4")


def test_a_vf_that_is_missing_is_that_pfs_error(inventory, tree):
    (tree.device(PF_A) / "virtfn1").unlink()
    assert only_the_other(inventory, "virtfn1")


def test_when_the_kernel_does_not_answer_every_pf_is_unknown(inventory, kernel):
    inventory.pfs()
    kernel.answers = False
    pfs, errors = inventory.pfs()
    assert pfs == {}
    assert errors == {f"pf {PF_A}": "RTM_GETLINK failed", f"pf {PF_B}": "RTM_GETLINK failed"}


def test_a_pf_that_is_configured_twice_is_told(tree, kernel):
    twice = [("physnet1", "ens1"), ("physnet2", PF_A)]
    pfs, errors = Inventory(twice, kernel, Sysfs(tree.root)).pfs()
    assert pfs[PF_A].physical_network == "physnet1"
    assert errors == {f"pf {PF_A}": f"PF {PF_A} is configured twice, the second time as {PF_A}"}


def test_a_setting_that_the_driver_lacks_is_remembered_for_its_pf(inventory, kernel):
    inventory.pfs()
    kernel.lacking, kernel.refusing = {"trust"}, {"mac"}
    refused = inventory.set_vfs(PF_A, [(1, VfSettings(mac=MAC, vlan=15, trust=True))])

    assert set(refused) == {(1, "mac"), (1, "trust")}
    pfs, _ = inventory.pfs()
    assert pfs[PF_A].vfs[1].settings == replace(RELEASED, vlan=15)
    assert pfs[PF_A].unsupported == {"trust"}
    assert pfs[PF_B].unsupported == frozenset()

    kernel.lacking = {"link_state"}
    inventory.set_vfs(PF_A, [(0, VfSettings(link_state="disable"))])
    assert inventory.pfs()[0][PF_A].unsupported == {"trust", "link_state"}


def test_a_pf_that_was_not_seen_is_not_set(inventory):
    with pytest.raises(Unavailable, match=PF_A):
        inventory.set_vfs(PF_A, [(0, VfSettings(vlan=15))])


def test_the_use_of_a_vf_is_told(inventory, tree, kernel):
    tree.set_flags("ens1v0", UP)
    tree.remove_netdev(vf_address(PF_A, 1), "ens1v1", moved=True)
    kernel.give("ens1", [RELEASED, RELEASED, replace(RELEASED, vlan=7), RELEASED])
    pfs, _ = inventory.pfs()
    assert [vf.held_by for vf in pfs[PF_A].vfs] == [
        "netdev ens1v0 is up",
        "its netdev is in another network namespace",
        "VLAN 7 is set",
        "",
    ]


def function(driver, netdev="ens1v0", used=""):
    return Function(
        address=vf_address(PF_A, 0),
        index=0,
        driver=driver,
        netdev=netdev,
        net=netdev is not None or used == "moved",
        used="" if used == "moved" else used,
    )


WITH_NETDEV = function("igbvf")
PASSED_THROUGH = function("vfio-pci", netdev=None)
UNBOUND = function(None, netdev=None)


@pytest.mark.parametrize(
    ("seen", "settings", "holder"),
    [
        (WITH_NETDEV, RELEASED, ""),
        (WITH_NETDEV, replace(RELEASED, mac=MAC), ""),
        (WITH_NETDEV, replace(RELEASED, vlan=15), "VLAN 15 is set"),
        (WITH_NETDEV, replace(RELEASED, trust=True, max_tx_rate=5), ""),
        (function("igbvf", used="netdev ens1v0 is up"), RELEASED, "netdev ens1v0 is up"),
        (
            function("igbvf", used="netdev ens1v0 is up"),
            replace(RELEASED, vlan=15),
            "netdev ens1v0 is up",
        ),
        (
            function("igbvf", netdev=None, used="moved"),
            RELEASED,
            "its netdev is in another network namespace",
        ),
        (PASSED_THROUGH, RELEASED, ""),
        (PASSED_THROUGH, replace(RELEASED, mac=None), ""),
        (PASSED_THROUGH, replace(RELEASED, mac=ZERO_MAC, vlan=15), "VLAN 15 is set"),
        (PASSED_THROUGH, replace(RELEASED, mac=MAC), f"driver vfio-pci and MAC {MAC} set"),
        (UNBOUND, RELEASED, ""),
        (UNBOUND, replace(RELEASED, mac=MAC), f"driver none and MAC {MAC} set"),
        (UNBOUND, VfSettings(), ""),
    ],
)
def test_who_holds_a_vf(seen, settings, holder):
    assert held_by(seen, settings) == holder


@pytest.fixture
def bonded(kernel):
    """ens1 and ens2 with the same master; what kind of master is the caller's to say."""

    def master(kind):
        kernel.devices["bond0"] = Link(index=9, name="bond0", mac="", carrier=True, kind=kind)
        for name in ("ens1", "ens2"):
            kernel.devices[name] = replace(kernel.devices[name], master=9)

    return master


@pytest.mark.parametrize("kind", ["bond", "team"])
def test_a_pf_is_seen_with_what_it_is_bonded_with(inventory, bonded, kind):
    bonded(kind)
    pfs, errors = inventory.pfs()
    assert errors == {}
    [mate] = pfs[PF_A].bonded_with
    assert (mate.address, mate.netdev, mate.mac) == (PF_B, "ens2", "52:54:00:aa:00:03")
    assert (mate.up, mate.carrier, mate.carrier_changes) == (True, True, 1)
    assert [uplink.address for uplink in pfs[PF_B].uplinks()] == [PF_B, PF_A]


@pytest.mark.parametrize("kind", ["bridge", "openvswitch", ""])
def test_two_ports_of_a_bridge_are_not_bonded(inventory, bonded, kind):
    bonded(kind)
    pfs, _ = inventory.pfs()
    assert {pf.bonded_with for pf in pfs.values()} == {()}


def test_an_uplink_that_is_no_pci_device_goes_by_its_name(tree, kernel, inventory, bonded):
    bonded("bond")
    kernel.devices["veth0"] = Link(index=10, name="veth0", mac="", carrier=True, master=9)
    (tree.root / "class/net/veth0").mkdir()
    pfs, _ = inventory.pfs()
    assert {mate.address for mate in pfs[PF_A].bonded_with} == {PF_B, "veth0"}


@pytest.mark.parametrize(
    ("driver", "flags", "remedy"),
    [
        ("i40e", {"disable-fw-lldp": False}, "ethtool --set-priv-flags ens1 disable-fw-lldp on"),
        ("i40e", {"disable-fw-lldp": True}, ""),
        ("ice", {"fw-lldp-agent": True}, "ethtool --set-priv-flags ens1 fw-lldp-agent off"),
        ("ice", {"fw-lldp-agent": False}, ""),
        ("ice", {}, ""),
        ("igb", {"fw-lldp-agent": True}, ""),
    ],
)
def test_firmware_that_keeps_lldp_frames_is_told_with_what_mends_it(
    tree, kernel, driver, flags, remedy
):
    tree.bind(PF_A, driver)
    inventory = Inventory([("physnet2", "ens1")], kernel, Sysfs(tree.root), lambda _: flags)
    pfs, _ = inventory.pfs()
    assert pfs[PF_A].firmware_lldp == remedy


def take(kernel, name, index=0):
    """Somebody sets a VLAN on a VF."""
    vfs = list(kernel.devices[name].vfs)
    vfs[index] = replace(vfs[index], vlan=7)
    kernel.give(name, vfs)


def held(pfs):
    """The PFs of which somebody holds a VF."""
    return [address for address, pf in pfs.items() if any(vf.held_by for vf in pf.vfs)]


@pytest.fixture
def changed(inventory, kernel):
    """An inventory that has seen both PFs before somebody took a VF of each."""
    inventory.pfs()
    for name in ("ens1", "ens2"):
        take(kernel, name)
    return inventory


def test_all_pfs_are_looked_at_unless_some_are_named(changed):
    assert held(changed.pfs()[0]) == [PF_A, PF_B]


def test_what_is_not_looked_at_again_is_as_it_was_seen_last(changed):
    assert held(changed.pfs([PF_B])[0]) == [PF_B]
    assert held(changed.pfs([])[0]) == [PF_B]
    assert held(changed.pfs([PF_A])[0]) == [PF_A, PF_B]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("netdev", ["ens1", "ens1v0"])
def test_what_the_kernel_told_of_is_looked_at_again(changed, netdev, times):
    for _ in range(times):
        changed.changed(netdev, "")
    assert held(changed.pfs([])[0]) == [PF_A]


@pytest.mark.parametrize(
    ("netdev", "kind"),
    [("", ""), ("ens9", ""), ("bond0", "bond"), ("macvtap0", "macvtap"), ("ens1", "team")],
)
def test_what_may_be_of_any_pf_has_all_looked_at_again(changed, netdev, kind):
    changed.changed(netdev, kind)
    assert held(changed.pfs([])[0]) == [PF_A, PF_B]


@pytest.mark.parametrize("kind", ["veth", "tun", "bridge", "vxlan"])
def test_virtual_devices_tell_nothing_of_a_pf(changed, kind):
    changed.changed("tap0", kind)
    assert held(changed.pfs([])[0]) == []


def test_the_use_of_a_vf_is_read_again_when_the_kernel_told_of_its_netdev(inventory, tree):
    inventory.pfs()
    tree.set_flags("ens1v0", UP)
    assert held(inventory.pfs([PF_A])[0]) == []
    inventory.changed("ens1", "")
    assert held(inventory.pfs([PF_A])[0]) == []
    inventory.changed("ens1v0", "")
    assert held(inventory.pfs([PF_A])[0]) == [PF_A]
    tree.set_flags("ens1v0", DOWN)
    assert held(inventory.pfs()[0]) == []


def test_a_vf_without_a_netdev_is_always_read_for_nobody_tells_of_it(inventory, tree):
    vf = vf_address(PF_A, 0)
    tree.remove_netdev(vf, "ens1v0")
    tree.bind(vf, "vfio-pci")
    inventory.pfs()
    tree.bind(vf, None)
    assert inventory.pfs([PF_A])[0][PF_A].vfs[0].driver is None
    tree.bind(vf, "igbvf")
    tree.add_netdev(vf, "ens1v0")
    assert inventory.pfs([PF_A])[0][PF_A].vfs[0].netdev == "ens1v0"


def test_a_netdev_that_is_gone_or_renamed_is_known_no_more(inventory, tree):
    inventory.pfs()
    tree.rename_netdev(vf_address(PF_A, 0), "ens1v0", "theirs")
    inventory.changed("theirs", "")
    assert inventory.pfs([])[0][PF_A].vfs[0].netdev == "theirs"
    tree.remove_netdev(vf_address(PF_A, 0), "theirs")
    inventory.changed("theirs", "")
    assert inventory.pfs([])[0][PF_A].vfs[0].netdev is None


def test_a_pf_that_was_not_seen_is_always_looked_at(inventory, kernel):
    kernel.give("ens1", [RELEASED], num_vfs=4)
    assert list(inventory.pfs()[0]) == [PF_B]
    kernel.give("ens1", [RELEASED] * 4)
    assert inventory.pfs([])[0].keys() == {PF_A, PF_B}


def test_one_pf_is_looked_at_with_what_it_is_bonded_with(inventory, bonded):
    bonded("bond")
    whole, _ = inventory.pfs()
    assert inventory.pfs([PF_A])[0] == whole
    assert whole[PF_A].bonded_with
