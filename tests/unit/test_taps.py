# SPDX-License-Identifier: Apache-2.0
"""Host taps and mirrors on a bridge of the kernel: what is decided, done, seen and taken back."""

import threading

import pytest

from sriov_agent.core.tap_actions import (
    AddAddress,
    Join,
    MakeVeth,
    SetUp,
    SetVlan,
)
from sriov_agent.core.taps import Tap, Taps, Tee, free_name
from sriov_agent.exceptions import InvalidField, Unavailable
from sriov_agent.sources.ports import Ports
from sriov_agent.sources.taps import TapRegistry
from sriov_agent.sources.vlans import Registry
from sriov_agent.store import Store
from sriov_agent.taps import TapReconciler
from tests.fakes.taps import NoOpenVswitch, TapKernel
from tests.topology import port_id


class Host:
    """A host with the bridge br0, where a guest's vnet0 is in VLAN 101."""

    def __init__(self, directory):
        self.directory = directory
        self.kernel, self.ovs = TapKernel(), NoOpenVswitch()
        self.kernel.add("br0", kind="bridge", filtering=True, mtu=9000, up=True)
        self.kernel.add("vnet0", kind="tun", master="br0", vlans=frozenset({(101, True, True)}))
        self.numbers = iter(range(1, 1000))
        self.open()

    def open(self, kernel="its own"):
        """The agent starts, with what it finds."""
        ports = Ports(self.directory / "ports.db")
        self.registry, self.store = TapRegistry(ports), Store(self.directory / "agent.db")
        self.vlans = Registry(ports)
        self.agent = TapReconciler(
            source=self.registry,
            kernel=self.kernel if kernel else None,
            openvswitch=self.ovs,
            record=self.store,
        )

    def create(self, vlan=101, **given):
        given = {"bridge": "br0", **given}
        return self.registry.create(port_id(next(self.numbers)), vlan=vlan, **given)

    def mirror(self, name="watch", source="vnet0", tap="tap101"):
        mirror_id = port_id(next(self.numbers))
        return self.registry.create_mirror(mirror_id, name, source=source, tap=tap)

    def reconcile(self):
        return self.agent.reconcile()

    def states(self):
        return {(each.noun, each.name): each.state for each in self.store.taps()}


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def end_of(host, tap):
    return host.kernel.netdevs[tap.end]


def test_a_tap_is_the_hosts_leg_in_its_vlan_alone(host):
    tap = host.create("DMZ", addresses=["10.0.0.1/24", "2001:DB8::1/64"])
    assert (tap.name, tap.vlan) == ("tap101", 101)
    assert host.reconcile() == []
    leg, end = host.kernel.netdevs["tap101"], end_of(host, tap)
    assert (leg.peer, leg.up, leg.addresses) == (end.name, True, {"10.0.0.1/24", "2001:db8::1/64"})
    assert (end.master, end.vlans, end.up, end.mtu) == ("br0", {(101, True, True)}, True, 9000)
    assert host.states() == {("tap", "tap101"): "met"}
    before = list(host.kernel.done)
    assert host.reconcile() == []
    assert host.kernel.done == before


def test_nothing_passes_before_it_is_in_its_vlan(host):
    tap = host.create()
    host.reconcile()
    done = [each for each in host.kernel.done if getattr(each, "netdev", tap.end) == tap.end]
    kinds = [type(each) for each in done]
    assert kinds.index(MakeVeth) < kinds.index(Join) < kinds.index(SetVlan) < kinds.index(SetUp)


@pytest.mark.parametrize("crashes_at", range(8))
def test_a_pass_goes_on_from_wherever_the_last_one_stopped(host, crashes_at):
    tap = host.create("DMZ", addresses=["10.0.0.1/24"])
    apply, count = host.kernel.apply, iter(range(100))

    class Crash(BaseException):
        pass

    def crashing(action):
        if next(count) == crashes_at:
            raise Crash
        apply(action)

    host.kernel.apply = crashing
    with pytest.raises(Crash):
        host.reconcile()
    host.kernel.apply = apply
    host.open()
    assert host.reconcile() == []
    assert end_of(host, tap).vlans == {(101, True, True)}
    host.registry.change(lambda wanted: wanted.without_tap("tap101"))
    assert host.reconcile() == []
    assert host.kernel.netdevs.keys() == {"br0", "vnet0"}


@pytest.mark.parametrize("crashes_at", range(1, 8))
def test_what_was_half_made_and_is_not_wanted_any_more_goes(host, crashes_at):
    host.create("DMZ", addresses=["10.0.0.1/24"])
    apply, count = host.kernel.apply, iter(range(100))

    def crashing(action):
        if next(count) == crashes_at:
            raise KeyboardInterrupt
        apply(action)

    host.kernel.apply = crashing
    with pytest.raises(KeyboardInterrupt):
        host.reconcile()
    host.kernel.apply = apply
    host.registry.change(lambda wanted: wanted.without_tap("tap101"))
    host.open()
    assert host.reconcile() == []
    assert host.kernel.netdevs.keys() == {"br0", "vnet0"}
    assert host.states() == {}


def test_a_reboot_takes_all_of_it_and_the_next_start_makes_it_again(host):
    tap = host.create(addresses=["10.0.0.1/24"])
    host.mirror()
    assert host.reconcile() == []
    host.kernel = TapKernel()
    host.open()
    (why, _) = host.reconcile()
    assert why.startswith("tap tap101: the kernel has no bridge br0")
    host.kernel.add("br0", kind="bridge", filtering=True)
    host.kernel.add("vnet0", kind="tun", master="br0")
    assert host.reconcile() == []
    assert end_of(host, tap).vlans == {(101, True, True)}
    assert {(tee.source, tee.direction, tee.to) for tee in host.kernel.tees} == {
        ("vnet0", "ingress", tap.end),
        ("vnet0", "egress", tap.end),
    }


def test_what_others_changed_is_set_again(host):
    tap = host.create(addresses=["10.0.0.1/24"])
    host.reconcile()
    host.kernel.change(tap.end, vlans=frozenset({(7, True, True), (8, False, False)}))
    host.kernel.change("tap101", up=False, addresses=frozenset({"192.0.2.1/32"}))
    assert host.reconcile() == []
    assert end_of(host, tap).vlans == {(101, True, True)}
    assert host.kernel.netdevs["tap101"].up
    assert host.kernel.netdevs["tap101"].addresses == {"192.0.2.1/32", "10.0.0.1/24"}


def test_a_tap_that_is_made_anew_has_nothing_of_the_one_before(host):
    host.create(addresses=["10.0.0.1/24"])
    host.reconcile()
    host.registry.change(lambda wanted: wanted.without_tap("tap101"))
    new = host.create(102, name="tap101", addresses=["10.0.0.2/24"])
    assert host.reconcile() == []
    assert host.kernel.netdevs["tap101"].addresses == {"10.0.0.2/24"}
    assert end_of(host, new).vlans == {(102, True, True)}
    assert len(host.kernel.netdevs) == 4


@pytest.mark.parametrize("kind", ["veth", "tun", ""])
def test_an_interface_of_somebody_else_is_left(host, kind):
    host.kernel.add("tap101", kind=kind, alias="mine")
    theirs = host.kernel.netdevs["tap101"]
    host.create(name="tap101")
    (why,) = host.reconcile()
    assert why == (
        "tap tap101: name 'tap101': there is an interface of this name that is no tap of ours: "
        "it is left"
    )
    assert host.kernel.netdevs["tap101"] == theirs
    host.registry.change(lambda wanted: wanted.without_tap("tap101"))
    assert host.reconcile() == []
    assert host.kernel.netdevs["tap101"] == theirs


def test_what_only_looks_like_ours_is_left(host):
    host.create()
    host.reconcile()
    host.kernel.add("sv0123456789ab", kind="veth", peer="x", alias="mine")
    host.kernel.add("sv0123456789ac", kind="dummy", alias="sriov-agent tap y")
    host.reconcile()
    assert {"sv0123456789ab", "sv0123456789ac"} <= host.kernel.netdevs.keys()


def test_a_lost_record_is_made_good_by_the_marks(host):
    host.create()
    host.reconcile()
    host.registry.change(lambda wanted: wanted.without_tap("tap101"))
    host.store.save_taps([])
    host.open()
    assert host.reconcile() == []
    assert host.kernel.netdevs.keys() == {"br0", "vnet0"}


def test_a_tap_in_another_namespace_stays_in_its_vlan(host):
    tap = host.create()
    host.reconcile()
    host.kernel.netdevs.pop("tap101")
    host.kernel.change(tap.end, peer="", vlans=frozenset())
    assert host.reconcile() == []
    assert end_of(host, tap).vlans == {(101, True, True)}
    host.registry.change(lambda wanted: wanted.without_tap("tap101"))
    assert host.reconcile() == []
    assert host.kernel.netdevs.keys() == {"br0", "vnet0"}


def test_of_a_tap_in_another_namespace_addresses_are_unknown(host):
    tap = host.create(addresses=["10.0.0.1/24"])
    host.reconcile()
    host.kernel.netdevs.pop("tap101")
    host.kernel.change(tap.end, peer="")
    (why,) = host.reconcile()
    assert "another network namespace" in why


@pytest.mark.parametrize(
    ("bridge", "said"),
    [
        ("br1", "does not tell VLANs apart: ip link set br1 type bridge vlan_filtering 1"),
        ("eth0", "the kernel has no bridge eth0, and Open vSwitch does not answer"),
        ("nosuch", "No such file or directory"),
    ],
)
def test_what_can_have_no_taps_is_said(host, bridge, said):
    host.kernel.add("br1", kind="bridge")
    host.kernel.add("eth0")
    host.create(bridge=bridge)
    (why,) = host.reconcile()
    assert why.startswith("tap tap101: ")
    assert said in why
    host.ovs.there = True
    (why,) = host.reconcile()
    assert bridge in why


def test_what_the_kernel_refuses_is_said_and_the_rest_done(host):
    tap = host.create(addresses=["10.0.0.1/24"])
    host.kernel.refuses = (AddAddress,)
    assert host.reconcile() == [
        "tap tap101: the kernel refuses to give tap101 the address 10.0.0.1/24: "
        "Operation not permitted"
    ]
    assert host.states() == {("tap", "tap101"): "unmet"}
    assert end_of(host, tap).up
    host.kernel.refuses = ()
    assert host.reconcile() == []
    assert host.states() == {("tap", "tap101"): "met"}


def test_a_tap_that_cannot_be_removed_is_releasing(host):
    tap = host.create("DMZ")
    host.reconcile()
    host.registry.change(lambda wanted: wanted.without_tap("tap101"))
    host.kernel.remove = lambda name: None
    (why,) = host.reconcile()
    assert why == f"tap tap101: not seen: remove the interface {tap.end}"
    assert host.states() == {("tap", "tap101"): "releasing"}
    del host.kernel.remove
    assert host.reconcile() == []
    assert host.states() == {}


def test_a_mirror_shows_both_directions_and_goes_before_its_tap(host):
    tap = host.create()
    host.mirror()
    assert host.reconcile() == []
    assert host.states() == {("tap", "tap101"): "met", ("mirror", "watch"): "met"}
    assert {(tee.source, tee.direction, tee.to) for tee in host.kernel.tees} == {
        ("vnet0", "ingress", tap.end),
        ("vnet0", "egress", tap.end),
    }
    with pytest.raises(InvalidField, match="in use by mirrors: watch"):
        host.registry.change(lambda wanted: wanted.without_tap("tap101"))
    host.registry.change(lambda wanted: wanted.without_mirror("watch").without_tap("tap101"))
    assert host.reconcile() == []
    assert (host.kernel.tees, host.kernel.netdevs.keys()) == (set(), {"br0", "vnet0"})


def test_a_tap_is_mirrored_at_the_bridge(host):
    source, tap = host.create(), host.create(102)
    host.mirror(source="tap101", tap="tap102")
    assert host.reconcile() == []
    assert {(tee.source, tee.to) for tee in host.kernel.tees} == {(source.end, tap.end)}


def test_a_source_that_comes_and_goes_is_mirrored_when_it_is_there(host):
    host.create()
    host.mirror(source="vnet1")
    (why,) = host.reconcile()
    assert why == "mirror watch: source 'vnet1': not a port of bridge br0"
    host.kernel.add("vnet1", kind="tun", master="br0")
    assert host.reconcile() == []
    assert len(host.kernel.tees) == 2
    host.kernel.change("vnet1", master="")
    assert len(host.reconcile()) == 1
    assert host.kernel.tees == set()


def test_what_was_mirrored_to_a_tap_that_somebody_removed_is_mended(host):
    tap = host.create()
    host.mirror()
    host.reconcile()
    host.kernel.remove(tap.end)
    assert {tee.to for tee in host.kernel.tees} == {""}
    assert host.reconcile() == []
    assert {tee.to for tee in host.kernel.tees} == {tap.end}


def test_without_the_library_taps_are_unmet_and_nothing_else_is(host):
    host.open(kernel=None)
    assert host.reconcile() == []
    host.create()
    with pytest.raises(Unavailable, match="pyroute2"):
        host.reconcile()


def test_an_alias_that_a_tap_is_in_stays(host):
    host.create("DMZ")
    with pytest.raises(InvalidField, match="in use by taps: tap101"):
        host.vlans.change(lambda vlans: vlans.without_alias("DMZ"))
    assert host.vlans.vlans().taps == {101: ("tap101",)}
    host.registry.change(lambda wanted: wanted.without_tap("tap101"))
    assert "DMZ" not in host.vlans.change(lambda vlans: vlans.without_alias("DMZ")).aliases


def test_a_vlan_that_a_tap_has_by_number_is_no_new_alias(host):
    host.create(101)
    assert host.create("DMZ").vlan == 102
    assert 101 in host.vlans.vlans().blacklist


def test_what_cannot_be_takes_no_vlan(host):
    host.create("DMZ", name="leg")
    with pytest.raises(InvalidField, match="there is a tap of this name"):
        host.create("CORE", name="leg")
    assert host.vlans.vlans().aliases == {"DMZ": 101}


def test_two_at_once_never_take_the_same_name_or_vlan(host):
    made, start = [], threading.Barrier(8)

    def create(number):
        registry = TapRegistry(Ports(host.directory / "ports.db"))
        start.wait()
        made.append(registry.create(port_id(500 + number), "br0", "DMZ"))
        made.append(registry.create(port_id(600 + number), "br0", f"NET{number}"))

    threads = [threading.Thread(target=create, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tap.name for tap in made}) == 16
    assert len({tap.vlan for tap in made}) == 9
    assert host.registry.taps().taps.keys() == {tap.name for tap in made}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": "0123456789abcdef"}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "all"}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "-x"}, "name"),
        ({"name": "sv0123456789ab"}, "name"),
        ({"bridge": "br/0"}, "bridge"),
        ({"bridge": ""}, "bridge"),
        ({"vlan": 0}, "vlan"),
        ({"vlan": 4095}, "vlan"),
        ({"addresses": ["10.0.0.1"]}, "ip"),
        ({"addresses": ["10.0.0.256/24"]}, "ip"),
        ({"addresses": ["fe80::1%eth0/64"]}, "ip"),
        ({"addresses": ["224.0.0.1/24"]}, "ip"),
        ({"addresses": ["0.0.0.0/0"]}, "ip"),
    ],
)
def test_what_can_be_no_tap_is_refused(host, given, field):
    with pytest.raises(InvalidField) as refused:
        host.create(**given)
    assert refused.value.field == field
    assert host.registry.taps() == Taps()


def test_an_address_is_of_one_tap(host):
    host.create(addresses=["10.0.0.1/24"])
    with pytest.raises(InvalidField, match="already the address of tap tap101"):
        host.create(addresses=["10.0.0.1/16"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tap": "nosuch"}, "no such tap"),
        ({"source": "tap101"}, "not mirrored in its turn"),
        ({"name": "1st"}, "an alias is a letter"),
        ({"source": "a/b"}, "an interface is letters"),
    ],
)
def test_what_can_be_no_mirror_is_refused(host, given, said):
    host.create()
    with pytest.raises(InvalidField, match=said):
        host.mirror(**given)


def test_mirrors_do_not_go_round(host):
    for vlan in (101, 102, 103):
        host.create(vlan)
    host.mirror("one", "tap101", "tap102")
    with pytest.raises(InvalidField, match="not mirrored in its turn"):
        host.mirror("two", "tap102", "tap103")
    with pytest.raises(InvalidField, match="no mirror's end"):
        host.mirror("two", "tap103", "tap101")
    with pytest.raises(InvalidField, match="mirror one does this already"):
        host.mirror("two", "tap101", "tap102")
    with pytest.raises(InvalidField, match="there is a mirror of this name"):
        host.mirror("one", "vnet0", "tap102")


def test_free_names():
    assert free_name(101, []) == "tap101"
    assert free_name(4094, ["tap4094", "tap4094-2"]) == "tap4094-3"
    assert len(free_name(4094, {f"tap4094-{n}" for n in range(1000)} | {"tap4094"})) <= 15


def test_filters_of_ours_that_nothing_is_wanted_of_go(host):
    host.create()
    host.kernel.tees = {Tee(source="vnet0", direction="ingress", to="", pref=1)}
    assert host.reconcile() == []
    assert host.kernel.tees == set()


def test_bridges_ends_are_told_by_their_ids():
    tap = Tap(tap_id=port_id(1), name="leg", bridge="br0", vlan=5)
    other = Tap(tap_id=port_id(2), name="leg", bridge="br0", vlan=5)
    assert tap.end != other.end
    assert len(tap.end) <= 15
