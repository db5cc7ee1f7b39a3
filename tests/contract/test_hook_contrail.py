# SPDX-License-Identifier: Apache-2.0
"""The ``contrail`` hook against a fake Contrail: real HTTP, both releases, both fabric styles."""

import contextlib
import itertools
import json
import logging
import random
import ssl
import subprocess
import sys
import threading
import uuid

import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.core.model import LldpId, Segment, SwitchPort
from sriov_agent.exceptions import ConfigError, Refused, Unavailable
from sriov_agent.hook.contrail import ContrailHook
from tests.fakes.contrail import (
    ConfigApi,
    Fabric,
    Flavour,
    Interface,
    Keystone,
    Network,
    Switch,
    Topology,
    User,
)
from tests.frozen import replace

HOST = "compute-1"
GLOBAL = "default-global-system-config"
PF1, PF2, PF3 = "0000:3b:00.0", "0000:3b:00.1", "0000:af:00.0"
NET_A, NET_B, NET_C = (str(uuid.uuid5(uuid.NAMESPACE_DNS, name)) for name in "ABC")
NETWORKS = {NET_A: "A", NET_B: "B", NET_C: "C"}
A100, B200, C300 = Segment(100, NET_A), Segment(200, NET_B), Segment(300, NET_C)
UNTAGGED = Segment(300, NET_C, tagged=False)
VMI, VPG = "virtual-machine-interface", "virtual-port-group"
VMIS, VPGS = f"/{VMI}s", f"/{VPG}s"


def interfaces(leaf, ports):
    yield Interface("et-0/0/48:0", "600")
    for at in range(ports):
        yield Interface(f"xe-0/0/{at}", str(530 + at), (f"00:11:22:33:4{leaf}:{at:02x}",))


def leaf(number, fabric="fab1", ports=4):
    return Switch(
        f"leaf{number}",
        fabric,
        tuple(interfaces(number, ports)),
        hostname=f"leaf{number}.example.net",
        chassis_mac=f"00:11:22:33:4{number}:ff",
    )


def topology(enterprise=None):
    bare = Switch("bare", None, (Interface("xe-0/0/0", "1"),))
    return Topology(
        fabrics=(Fabric("fab1", enterprise), Fabric("fab2")),
        switches=(leaf(1), leaf(2), leaf(9, "fab2"), bare),
        projects=("admin", "tenant1"),
        networks=tuple(Network(f"net{name}", "tenant1", id_) for id_, name in NETWORKS.items()),
    )


def link(port="xe-0/0/1", leaf=1, pf=PF1, **changes):
    return SwitchPort(
        **{
            "pf": pf,
            "chassis_id": LldpId("mac", f"00:11:22:33:4{leaf}:ff"),
            "port_id": LldpId("ifname", port),
            "system_name": f"leaf{leaf}",
            "port_description": port,
            **changes,
        }
    )


PORT1, PORT2, PORT3 = link(), link("xe-0/0/2", pf=PF2), link("xe-0/0/3", pf=PF3)
LEAF2 = link(leaf=2, pf=PF2)


class Time:
    """A clock that only sleeping and the test move."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def hook(*apis, host=HOST, time=None, **settings):
    conf = options.register(cfg.ConfigOpts())
    conf([])
    conf.set_override("host", host)
    urls = [api if isinstance(api, str) else api.url for api in apis]
    for name, value in {"api_servers": urls, "timeout": 5.0, **settings}.items():
        conf.set_override(name, value, "hook_contrail")
    time = time or Time()
    return ContrailHook(conf, clock=time, sleep=time.sleep, chance=lambda: 0.5)


def only(**wanted):
    """Wishes by the names of links below."""
    names = {"one": PORT1, "two": PORT2, "three": PORT3, "leaf2": LEAF2}
    return {names[name]: frozenset(segments) for name, segments in wanted.items()}


def opened(api, at=PORT1):
    """What the device manager would configure at a link, as segments."""
    networks = {f"default-domain:tenant1:net{name}": id_ for id_, name in NETWORKS.items()}
    vlans = api.open_vlans(at.system_name, at.port_id.value)
    return sorted(Segment(vlan.id, networks[vlan.network], vlan.tagged) for vlan in vlans)


def names(api, type_=VMI):
    return sorted(one["fq_name"][-1] for one in api.objects(type_))


def members(api, name):
    uuid_ = api.uuid(VPG, GLOBAL, "fab1", name)
    refs = api.object(uuid_).get("physical_interface_refs", ())
    return sorted(tuple(ref["to"][1:]) for ref in refs)


def pairs(**values):
    return {"key_value_pair": [{"key": key, "value": value} for key, value in values.items()]}


def unpaired(field):
    return {pair["key"]: pair["value"] for pair in field["key_value_pair"]}


def foreign_vpg(api, name="theirs", **fields):
    body = {"fq_name": [GLOBAL, "fab1", name], "parent_type": "fabric", **fields}
    return api.create(VPG, body)


def foreign_vmi(api, segment, ports=(("leaf1", "xe-0/0/1"),), vpg="theirs", **fields):
    links = [{"switch_info": s, "port_id": p, "fabric": "fab1"} for s, p in ports]
    bindings = {
        "vnic_type": "baremetal",
        "vpg": vpg,
        "profile": json.dumps({"local_link_information": links}),
    }
    name = NETWORKS[segment.network_id]
    body = {
        "fq_name": ["default-domain", "admin", f"theirs-{uuid.uuid4()}"],
        "parent_type": "project",
        "virtual_network_refs": [{"to": ["default-domain", "tenant1", f"net{name}"]}],
        **fields,
    }
    if segment.tagged:
        body["virtual_machine_interface_properties"] = {"sub_interface_vlan_tag": segment.vlan}
    else:
        bindings["tor_port_vlan_id"] = str(segment.vlan)
    body["virtual_machine_interface_bindings"] = pairs(**bindings)
    return api.create(VMI, body)


def no_secret(text):
    return not any(secret in text for secret in ("s3cret", "appsecret"))


WORLDS = {
    f"{flavour.value}-{style}": (flavour, enterprise)
    for flavour in Flavour
    for style, enterprise in (("service-provider", None), ("enterprise", True))
}


@pytest.fixture(params=WORLDS.values(), ids=WORLDS)
def api(request):
    flavour, enterprise = request.param
    with ConfigApi(flavour) as api:
        api.load(topology(enterprise))
        yield api


@pytest.fixture
def one_api():
    with ConfigApi() as api:
        api.load(topology())
        yield api


# --- opening and closing ---


def test_a_vlan_is_opened_and_seen(api):
    driver = hook(api)
    assert driver.read([PORT1]) == {PORT1: frozenset()}
    assert driver.apply(PORT1, only(one={A100})) == {A100}
    assert opened(api) == [A100]
    assert driver.read([PORT1]) == {PORT1: frozenset({A100})}
    assert names(api, VPG) == ["sriov_leaf1_xe-0/0/1"]
    assert names(api) == [f"sriov_{NET_A}_100_sriov_leaf1_xe-0/0/1"]


def test_what_is_made_carries_the_mark(one_api):
    hook(one_api).apply(PORT1, only(one={A100}))
    for one in (*one_api.objects(VMI), *one_api.objects(VPG)):
        assert one["id_perms"]["creator"] == "sriov-agent"
        assert unpaired(one["annotations"])["sriov-agent-host"] == HOST
    ((vmi),) = one_api.objects(VMI)
    values = unpaired(vmi["virtual_machine_interface_bindings"])
    assert values["vpg"] == "sriov_leaf1_xe-0/0/1"
    (at,) = json.loads(values["profile"])["local_link_information"]
    assert at["fabric"] == "fab1"
    assert at["switch_id"] == "00:11:22:33:41:ff"


def test_twice_is_once(api):
    driver = hook(api)
    driver.apply(PORT1, only(one={A100, B200}))
    before = sorted(one["uuid"] for one in api.objects(VMI))
    api.forget()
    assert driver.apply(PORT1, only(one={A100, B200})) == {A100, B200}
    assert hook(api).apply(PORT1, only(one={A100, B200})) == {A100, B200}
    assert sorted(one["uuid"] for one in api.objects(VMI)) == before
    assert not [c for c in api.calls() if c.method in {"POST", "PUT", "DELETE"}]


def test_the_last_vlan_takes_the_port_group_along(api):
    driver = hook(api)
    driver.apply(PORT1, only(one={A100, B200}))
    assert driver.apply(PORT1, only(one={B200})) == {B200}
    assert names(api, VPG) == ["sriov_leaf1_xe-0/0/1"]
    for _ in range(2):
        assert driver.apply(PORT1, only(one=())) == frozenset()
        assert api.objects(VMI) == api.objects(VPG) == []
    assert opened(api) == []


def test_a_link_that_is_not_in_what_is_wanted_is_closed(one_api):
    driver = hook(one_api)
    driver.apply(PORT1, only(one={A100}))
    assert driver.apply(PORT1, {}) == frozenset()
    assert one_api.objects(VMI) == []


def test_another_vlan_of_the_network_replaces_the_first(api):
    driver = hook(api)
    driver.apply(PORT1, only(one={A100}))
    other = Segment(150, NET_A)
    assert driver.apply(PORT1, only(one={other})) == {other}
    assert opened(api) == [other]
    assert not api.calls("PUT")


def test_untagged_beside_tagged(api):
    driver = hook(api)
    assert driver.apply(PORT1, only(one={A100, UNTAGGED})) == {A100, UNTAGGED}
    assert opened(api) == [A100, UNTAGGED]
    assert driver.apply(PORT1, only(one={A100})) == {A100}


def test_from_tagged_to_untagged_and_back(api):
    driver = hook(api)
    for segment in (C300, UNTAGGED, C300):
        assert driver.apply(PORT1, only(one={segment})) == {segment}
        assert opened(api) == [segment]


def test_two_ports_have_two_port_groups(api):
    driver = hook(api)
    wanted = only(one={A100}, two={A100})
    assert driver.apply(PORT1, wanted) == {A100}
    assert driver.apply(PORT2, wanted) == {A100}
    assert names(api, VPG) == ["sriov_leaf1_xe-0/0/1", "sriov_leaf1_xe-0/0/2"]
    assert members(api, "sriov_leaf1_xe-0/0/1") == [("leaf1", "xe-0/0/1")]
    assert driver.read([PORT1, PORT2]) == wanted
    assert driver.apply(PORT1, only(one=(), two={A100})) == frozenset()
    assert opened(api, PORT2) == [A100]


def test_two_links_on_one_switch_port_share_what_is_there(one_api):
    driver = hook(one_api)
    other = link(pf=PF2)
    wanted = {PORT1: frozenset({A100}), other: frozenset({A100, B200})}
    assert driver.apply(PORT1, wanted) == {A100}
    assert driver.apply(other, wanted) == {A100, B200}
    assert len(one_api.objects(VMI)) == 2
    assert driver.read([PORT1, other]) == wanted
    wanted = {PORT1: frozenset({A100}), other: frozenset()}
    assert driver.apply(other, wanted) == frozenset()
    assert driver.read([PORT1, other]) == wanted
    assert opened(one_api) == [A100]


def test_a_channelized_interface_is_named_as_contrail_names_it(one_api):
    at = link("et-0/0/48:0")
    assert hook(one_api).apply(at, {at: frozenset({A100})}) == {A100}
    assert members(one_api, "sriov_leaf1_et-0/0/48_0") == [("leaf1", "et-0/0/48_0")]


# --- what is refused before anything is changed ---

REFUSED = {
    "no network": ({Segment(100)}, "give the port a Neutron network"),
    "untagged without a VLAN": ({Segment(0, NET_A, tagged=False)}, "no untagged port without"),
    "VLAN 4095": ({Segment(4095, NET_A)}, "4094"),
    "two networks": ({A100, Segment(100, NET_B)}, f"(?s){NET_A}|{NET_B}"),
    "tagged and untagged": ({C300, UNTAGGED}, "cannot be tagged and untagged"),
    "two untagged": ({UNTAGGED, Segment(100, NET_A, tagged=False)}, "has one untagged VLAN"),
    "an unknown network": ({Segment(100, str(uuid.uuid4()))}, "no virtual-network"),
    "a network that is no uuid": ({Segment(100, "../fabrics")}, "UUID"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_and_nothing_changes(api, case):
    segments, why = case
    driver = hook(api)
    with pytest.raises(Refused, match=why) as refusal:
        driver.apply(PORT1, only(one=segments))
    assert "4095" in str(refusal.value) or "network" in str(refusal.value)
    assert not [c for c in api.calls() if c.path in {VMIS, VPGS} and c.method == "POST"]


def test_both_networks_are_named(one_api):
    driver = hook(one_api)
    driver.apply(PORT1, only(one={A100}))
    foreign_vmi(one_api, B200, vpg="sriov_leaf1_xe-0/0/1")
    with pytest.raises(Refused) as refusal:
        driver.apply(PORT1, only(one={A100, Segment(200, NET_C)}))
    text = str(refusal.value)
    assert NET_B in text
    assert NET_C in text
    assert "'leaf1' 'xe-0/0/1'" in text
    assert "VLAN 200" in text
    assert opened(one_api) == [A100, B200]


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (link(leaf=7), "not onboarded in Contrail yet"),
        (link("xe-7/7/7"), "not onboarded in Contrail yet"),
        (link("xe-0/0/0", system_name="bare", chassis_id=LldpId("local", "x")), "in no fabric"),
    ],
)
def test_what_is_not_onboarded_is_refused_by_name(one_api, at, why):
    driver = hook(one_api)
    with pytest.raises(Refused, match=why):
        driver.apply(at, {at: frozenset({A100})})
    assert driver.read([at, PORT1]) == {PORT1: frozenset()}
    assert driver.apply(at, {at: frozenset()}) == frozenset()


def test_a_switch_onboarded_meanwhile_is_found(one_api):
    time = Time()
    driver = hook(one_api, time=time)
    at = link(leaf=7)
    assert driver.read([PORT1, at]) == {PORT1: frozenset()}
    loaded = Topology(switches=(Switch("leaf7", "fab1", (Interface("xe-0/0/1"),)),), projects=())
    one_api.load(loaded)
    time.now += 60
    assert driver.apply(at, {at: frozenset({A100})}) == {A100}


# --- what others made ---


def test_the_port_group_that_is_there_is_used(api):
    foreign_vpg(api)
    foreign_vmi(api, B200)
    driver = hook(api)
    assert driver.apply(PORT1, only(one={A100})) == {A100}
    assert names(api, VPG) == ["theirs"]
    assert driver.read([PORT1]) == {PORT1: frozenset({A100})}
    assert driver.apply(PORT1, only(one=())) == frozenset()
    assert opened(api) == [B200]
    assert names(api, VPG) == ["theirs"]


def test_a_vlan_of_somebody_else_is_enough_and_stays(api):
    foreign_vpg(api)
    theirs = foreign_vmi(api, A100)
    driver = hook(api)
    assert driver.read([PORT1]) == {PORT1: frozenset()}
    assert driver.apply(PORT1, only(one={A100})) == {A100}
    assert driver.read([PORT1]) == {PORT1: frozenset({A100})}
    assert [one["uuid"] for one in api.objects(VMI)] == [theirs]
    assert driver.apply(PORT1, only(one=())) == frozenset()
    assert driver.read([PORT1]) == {PORT1: frozenset()}
    assert api.object(theirs)


def test_the_mark_of_another_host_is_not_ours(api):
    hook(api, host="compute-2").apply(PORT1, only(one={A100}))
    driver = hook(api)
    assert driver.apply(PORT1, only(one=())) == frozenset()
    assert driver.owned() == []
    assert opened(api) == [A100]
    assert driver.apply(PORT1, only(one={A100, B200})) == {A100, B200}
    assert driver.apply(PORT1, only(one=())) == frozenset()
    assert opened(api) == [A100]


def test_a_creator_without_our_annotation_is_not_ours(one_api):
    foreign_vpg(one_api)
    perms = {"enable": True, "creator": "sriov-agent"}
    foreign_vmi(one_api, A100, id_perms=perms)
    foreign_vmi(one_api, B200, annotations=pairs(**{"sriov-agent-host": HOST}))
    driver = hook(one_api)
    assert driver.apply(PORT1, only(one=())) == frozenset()
    assert len(one_api.objects(VMI)) == 2


def test_the_other_ports_of_somebody_elses_port_group_stay_in_it(api):
    foreign_vpg(api)
    ports = [("leaf1", "xe-0/0/1"), ("leaf2", "xe-0/0/1")]
    foreign_vmi(api, B200, ports)
    driver = hook(api)
    assert driver.apply(PORT1, only(one={A100})) == {A100}
    assert members(api, "theirs") == ports
    assert driver.apply(PORT1, only(one={A100})) == {A100}
    assert driver.read([PORT1]) == {PORT1: frozenset({A100})}


def test_two_pfs_on_a_port_group_that_an_operator_joined(api):
    foreign_vpg(api)
    foreign_vmi(api, C300, [("leaf1", "xe-0/0/1"), ("leaf2", "xe-0/0/1")])
    driver = hook(api)
    wanted = only(one={A100}, leaf2={A100, B200})
    for at in wanted:
        assert driver.apply(at, wanted) == wanted[at]
    assert driver.read(wanted) == wanted
    wanted = only(one={A100}, leaf2=())
    assert driver.apply(LEAF2, wanted) == frozenset()
    assert driver.read(wanted) == wanted
    assert opened(api) == [A100, C300]


def test_what_contrail_manages_itself_is_left_alone(api):
    foreign_vpg(api, annotations=pairs(usage="sriov-vm"))
    foreign_vmi(api, B200)
    before = api.snapshot()
    driver = hook(api)
    with pytest.raises(Refused, match="managed by Contrail"):
        driver.apply(PORT1, only(one={A100}))
    assert driver.apply(PORT1, only(one=())) == frozenset()
    assert api.snapshot() == before
    assert driver.read([PORT1]) == {PORT1: frozenset()}


def test_a_name_that_somebody_else_took_is_not_taken_over(one_api):
    foreign_vpg(one_api, "sriov_leaf1_xe-0/0/1")
    foreign_vmi(one_api, B200, [("leaf2", "xe-0/0/1")], "sriov_leaf1_xe-0/0/1")
    with pytest.raises(Refused, match="somebody else's"):
        hook(one_api).apply(PORT1, only(one={A100}))
    assert members(one_api, "sriov_leaf1_xe-0/0/1") == [("leaf2", "xe-0/0/1")]


def test_an_empty_port_group_of_that_name_will_do(one_api):
    foreign_vpg(one_api, "sriov_leaf1_xe-0/0/1")
    driver = hook(one_api)
    assert driver.apply(PORT1, only(one={A100})) == {A100}
    driver.apply(PORT1, only(one=()))
    assert names(one_api, VPG) == ["sriov_leaf1_xe-0/0/1"]


def test_a_port_detached_by_somebody_else_is_attached_again(one_api):
    driver = hook(one_api)
    driver.apply(PORT1, only(one={A100}))
    group = one_api.uuid(VPG, GLOBAL, "fab1", "sriov_leaf1_xe-0/0/1")
    (port,) = one_api.object(group)["physical_interface_refs"]
    body = {"type": VPG, "uuid": group, "ref-type": "physical-interface"}
    one_api.config.ref_update({**body, "ref-uuid": port["uuid"], "operation": "DELETE"})
    assert driver.read([PORT1]) == {PORT1: frozenset()}
    assert driver.apply(PORT1, only(one={A100})) == {A100}
    assert opened(one_api) == [A100]


# --- cabling ---


def test_a_cable_put_elsewhere(api):
    driver = hook(api)
    driver.apply(PORT1, only(one={A100}))
    moved = link("xe-0/0/3")
    wanted = {moved: frozenset({A100}), PORT1: frozenset()}
    assert driver.apply(moved, wanted) == {A100}
    assert driver.apply(PORT1, wanted) == frozenset()
    assert opened(api) == []
    assert opened(api, moved) == [A100]
    assert names(api, VPG) == ["sriov_leaf1_xe-0/0/3"]


BOND = {"bonds": [f"{PF1}+{PF2}"]}
BOND_NAME = f"sriov_{HOST}_{PF1}_{PF2}".replace(":", "-")
BOTH = [("leaf1", "xe-0/0/1"), ("leaf2", "xe-0/0/1")]


def test_a_bond_has_one_port_group_with_all_its_links(api):
    driver = hook(api, **BOND)
    wanted = only(one={A100, B200}, leaf2={A100})
    assert driver.apply(PORT1, wanted) == {A100, B200}
    assert driver.apply(LEAF2, wanted) == {A100}
    assert names(api, VPG) == [BOND_NAME]
    assert members(api, BOND_NAME) == BOTH
    assert driver.read(wanted) == wanted
    assert opened(api) == opened(api, LEAF2) == [A100, B200]
    for vmi in api.objects(VMI):
        values = unpaired(vmi["virtual_machine_interface_bindings"])
        assert len(json.loads(values["profile"])["local_link_information"]) == 2
    wanted = only(one=(), leaf2=())
    driver.apply(PORT1, wanted)
    driver.apply(LEAF2, wanted)
    assert api.objects(VMI) == api.objects(VPG) == []


def test_two_ports_become_a_bond_and_two_ports_again(api):
    wanted = only(one={A100}, leaf2={A100, B200})

    def passed(driver):
        """A pass of the agent: what is not as wanted is applied, until all is."""
        for _ in range(3):
            found = driver.read(wanted)
            wrong = [at for at in wanted if found[at] != wanted[at]]
            if not wrong:
                return
            for at in wrong:
                driver.apply(at, wanted)
        raise AssertionError(found)

    alone = ["sriov_leaf1_xe-0/0/1", "sriov_leaf2_xe-0/0/1"]
    passed(hook(api))
    assert names(api, VPG) == alone
    passed(hook(api, **BOND))
    assert names(api, VPG) == [BOND_NAME]
    assert members(api, BOND_NAME) == BOTH
    passed(hook(api))
    assert names(api, VPG) == alone
    assert members(api, alone[0]) == BOTH[:1]
    assert opened(api) == [A100]
    assert opened(api, LEAF2) == [A100, B200]


def test_one_cable_of_a_bond_is_put_elsewhere(api):
    driver = hook(api, **BOND)
    driver.apply(PORT1, only(one={A100, B200}, leaf2={A100, B200}))
    moved = link("xe-0/0/3", leaf=2, pf=PF2)
    both = frozenset({A100, B200})
    wanted = {PORT1: both, moved: both, LEAF2: frozenset()}
    assert driver.apply(moved, wanted) == both
    assert driver.apply(LEAF2, wanted) == frozenset()
    assert members(api, BOND_NAME) == [("leaf1", "xe-0/0/1"), ("leaf2", "xe-0/0/3")]
    assert driver.read(wanted) == wanted
    assert opened(api, LEAF2) == []


def test_the_old_cable_of_a_bond_is_closed_first(api):
    driver = hook(api, **BOND)
    driver.apply(PORT1, only(one={A100}, leaf2={A100}))
    moved = link("xe-0/0/3", leaf=2, pf=PF2)
    wanted = {PORT1: frozenset({A100}), moved: frozenset({A100})}
    assert driver.apply(LEAF2, wanted) == frozenset()
    assert driver.apply(moved, wanted) == {A100}
    assert members(api, BOND_NAME) == [("leaf1", "xe-0/0/1"), ("leaf2", "xe-0/0/3")]


def test_a_bonded_pf_without_ports_is_cabled_anew(api):
    """As the kernel's bond shows it: each PF has all links, and only one has ports."""
    driver = hook(api, **BOND)
    links = {(pf, n): link(leaf=n, pf=pf) for pf in (PF1, PF2) for n in (1, 2)}
    wanted = {at: frozenset({A100} if pf == PF1 else ()) for (pf, _), at in links.items()}
    for at, segments in wanted.items():
        assert driver.apply(at, wanted) == segments
    assert driver.read(wanted) == wanted
    assert members(api, BOND_NAME) == BOTH
    for pf in (PF1, PF2):
        wanted[links[pf, 2]] = frozenset()
        wanted[link("xe-0/0/3", 2, pf)] = frozenset({A100} if pf == PF1 else ())
    for at, segments in wanted.items():
        assert driver.apply(at, wanted) == segments
    assert driver.read(wanted) == wanted
    assert members(api, BOND_NAME) == [("leaf1", "xe-0/0/1"), ("leaf2", "xe-0/0/3")]
    assert set(driver.owned()) == {links[PF1, 1], link("xe-0/0/3", 2)}


def test_a_bond_that_cannot_be_placed_whole_is_not_made(one_api):
    driver = hook(one_api, **BOND)
    lost = link(leaf=7, pf=PF2)
    both = {PORT1: frozenset({A100}), lost: frozenset({A100})}
    for at in both:
        with pytest.raises(Refused, match="leaf7"):
            driver.apply(at, both)
    elsewhere = link(leaf=9, pf=PF2)
    with pytest.raises(Refused, match="two fabrics"):
        driver.apply(PORT1, {PORT1: frozenset({A100}), elsewhere: frozenset({A100})})
    assert one_api.objects(VPG) == []


def test_a_bond_over_two_port_groups_of_others_is_refused(one_api):
    for name, port in zip(("left", "right"), BOTH, strict=True):
        foreign_vpg(one_api, name)
        foreign_vmi(one_api, B200, [port], name)
    with pytest.raises(Refused, match=r"'left', which .* add 'leaf2'"):
        hook(one_api, **BOND).apply(PORT1, only(one={A100}, leaf2={A100}))


HOSTILE = {
    "quotes": "a\"1' \\",
    "newlines": "a\r\nX-Evil: 1\n",
    "escape": "\x1b]0;owned\x07",
    "query": "a?detail=true&x=../../fabrics",
    "JSON": '"}],"x":[{"',
    "non-ASCII": "bl\u00e4tter\u202e\U0001f33f",
    "NUL": "a\x00b",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_names_from_the_wire_are_only_data(one_api, text):
    named = link(chassis_id=LldpId("local", text), port_description=text)
    driver = hook(one_api)
    assert driver.apply(named, {named: frozenset({A100})}) == {A100}
    (found,) = hook(one_api).owned()
    assert found == named
    assert found.port_description == text
    assert driver.apply(named, {}) == frozenset()
    assert one_api.objects(VPG) == []
    unknown = link(system_name=text, chassis_id=LldpId("local", text))
    with pytest.raises(Refused) as refusal:
        driver.apply(unknown, {unknown: frozenset({A100})})
    assert str(refusal.value).isprintable()


def test_another_prefix_moves_nothing(api):
    hook(api).apply(PORT1, only(one={A100}))
    hook(api, **BOND).apply(LEAF2, only(leaf2={A100}))
    before = api.objects(VPG)
    for settings, at, wanted in (
        ({}, PORT1, only(one={A100})),
        (BOND, LEAF2, only(leaf2={A100})),
    ):
        driver = hook(api, vpg_prefix="other", **settings)
        assert driver.read([at]) == wanted
        assert driver.apply(at, wanted) == {A100}
    assert api.objects(VPG) == before


# --- lost memory ---


def test_what_an_agent_without_memory_left_is_found_and_closed(api):
    hook(api).apply(PORT1, only(one={A100, B200}))
    hook(api, host="compute-2").apply(LEAF2, only(leaf2={A100}))
    after = hook(api)
    assert after.owned() == [PORT1]
    assert after.apply(PORT1, only(one=())) == frozenset()
    assert hook(api).owned() == []
    assert opened(api, LEAF2) == [A100]


def test_an_empty_port_group_is_found_and_deleted(one_api):
    driver = hook(one_api)
    driver.apply(PORT1, only(one={A100}))
    (vmi,) = one_api.objects(VMI)
    one_api.delete(VMI, vmi["uuid"])
    assert driver.owned() == [PORT1]
    driver.apply(PORT1, {})
    assert one_api.objects(VPG) == []


def test_a_switch_that_is_gone_leaves_nothing_behind(one_api):
    driver = hook(one_api)
    driver.apply(PORT1, only(one={A100}))
    port = one_api.uuid("physical-interface", GLOBAL, "leaf1", "xe-0/0/1")
    with one_api.lock:
        one_api.config.objects.remove(port)
    for fresh in (driver, hook(one_api)):
        assert fresh.read([PORT1]) == {}
    assert hook(one_api).owned() == [PORT1]
    assert hook(one_api).apply(PORT1, {}) == frozenset()
    assert one_api.objects(VMI) == one_api.objects(VPG) == []


def test_a_host_whose_name_no_filter_can_take(one_api):
    driver = hook(one_api, host="compute,1 é")
    driver.apply(PORT1, only(one={A100}))
    assert driver.owned() == [PORT1]


# --- cost ---


def test_reading_is_cheap(one_api):
    driver = hook(one_api)
    wanted = only(one={A100, B200}, two={A100}, leaf2={A100})
    for at in wanted:
        driver.apply(at, wanted)
    one_api.forget()
    assert driver.read(wanted) == wanted
    assert len(one_api.calls()) == 3
    assert driver.read([]) == {}
    assert len(one_api.calls()) == 3


def test_look_ups_are_remembered_for_a_while(one_api):
    time = Time()
    driver = hook(one_api, time=time, cache_seconds=100)
    for wait, asked in ((0, 1), (99, 1), (2, 2)):
        time.now += wait
        driver.read([PORT1])
        assert len(one_api.calls("GET", "^/physical-routers$")) == asked


def test_a_fabric_imported_again_is_looked_up_again(one_api):
    time = Time()
    driver = hook(one_api, time=time)
    driver.apply(PORT1, only(one={A100}))
    one_api.restore(one_api.pristine)
    one_api.load(topology())
    assert driver.apply(PORT1, only(one={A100})) == {A100}


# --- faults ---


def test_a_connection_dropped_before_or_after_the_commit(api):
    for after, path in itertools.product((False, True), (VPGS, VMIS)):
        driver = hook(api)
        api.drop(method="POST", path=f"^{path}$", after=after)
        assert driver.apply(PORT1, only(one={A100})) == {A100}
        api.drop(method="DELETE", after=after)
        assert driver.apply(PORT1, only(one=())) == frozenset()
        assert api.objects(VMI) == api.objects(VPG) == []


def test_an_error_after_success(api):
    for status, path in itertools.product((500, 503, 504), (VPGS, VMIS)):
        driver = hook(api)
        api.fail(status, method="POST", path=f"^{path}$", after=True)
        assert driver.apply(PORT1, only(one={A100})) == {A100}
        api.fail(status, method="DELETE", after=True)
        assert driver.apply(PORT1, only(one=())) == frozenset()
        assert api.objects(VMI) == api.objects(VPG) == []


def test_504_is_read_before_it_is_tried_again(one_api):
    one_api.fail(504, method="POST", path=f"^{VMIS}$", after=True)
    hook(one_api).apply(PORT1, only(one={A100}))
    assert len(one_api.calls("POST", f"^{VMIS}$")) == 1
    one_api.fail(504, method="POST", path=f"^{VMIS}$")
    hook(one_api).apply(PORT1, only(one={B200}))
    assert opened(one_api) == [B200]


def test_500_is_tried_a_few_times(one_api):
    time = Time()
    one_api.fail(500, times=None, method="POST", path=f"^{VMIS}$", body="\x1b[2Jboom")
    with pytest.raises(Unavailable, match=r"HTTP 500 .*\\x1b"):
        hook(one_api, time=time).apply(PORT1, only(one={A100}))
    assert len(one_api.calls("POST", f"^{VMIS}$")) == 3
    assert len(time.slept) == 2


def test_no_answer_in_time(one_api):
    driver = hook(one_api, timeout=0.2)
    one_api.delay(0.6, times=None)
    with pytest.raises(Unavailable, match="timed out"):
        driver.read([PORT1])


def test_a_call_ends_even_if_every_answer_comes_slowly(one_api):
    time = Time()
    driver = hook(one_api, time=time)
    ids = {f"n{at}": str(uuid.UUID(int=at, version=4)) for at in range(1, 60)}
    one_api.load(
        Topology(projects=(), networks=tuple(Network(n, "tenant1", i) for n, i in ids.items()))
    )
    many = frozenset(Segment(at, id_) for at, id_ in enumerate(ids.values(), 1))
    respond = one_api.respond

    def slow(request):
        time.now += 1
        return respond(request)

    one_api.respond = slow
    with pytest.raises(Unavailable, match=r"\[hook_contrail\] timeout"):
        driver.apply(PORT1, {PORT1: many})
    assert 0 < len(one_api.objects(VMI)) < len(many)
    del one_api.respond
    assert driver.apply(PORT1, {PORT1: many}) == many


def test_a_server_that_restarts(api):
    driver = hook(api)
    driver.apply(PORT1, only(one={A100}))
    api.restart()
    assert driver.read([PORT1]) == {PORT1: frozenset({A100})}
    empty = api.pristine
    api.restart(empty)
    api.load(topology())
    assert driver.apply(PORT1, only(one={A100})) == {A100}
    assert opened(api) == [A100]


def test_a_server_that_is_down_is_left_alone_for_a_while(one_api):
    time = Time()
    driver = hook(one_api, time=time)
    driver.apply(PORT1, only(one={A100}))
    one_api.stop()
    for _ in range(6):
        with pytest.raises(Unavailable, match=r"Contrail API"):
            driver.read([PORT1])
        with pytest.raises(Unavailable, match=r"none of .* answers; tried again in"):
            driver.read([PORT1])
        time.now += 60
    one_api.start()
    assert driver.read([PORT1]) == {PORT1: frozenset({A100})}


def test_the_next_server_is_asked(one_api):
    with ConfigApi() as down:
        gone = down.url
    driver = hook(gone, one_api)
    assert driver.apply(PORT1, only(one={A100})) == {A100}
    with ConfigApi() as sick:
        sick.fail(502, times=None)
        driver = hook(sick, one_api)
        assert driver.read([PORT1]) == {PORT1: frozenset({A100})}
        assert driver.read([PORT1]) == {PORT1: frozenset({A100})}
        assert len(sick.calls()) == 1


def test_an_answer_that_is_none(one_api):
    driver = hook(one_api)
    for body in ("<html>", "[]", "null", '{"physical-routers": [{"physical-router": {}}]}'):
        one_api.heal()
        one_api.fail(200, times=None, body=body)
        with pytest.raises(Unavailable):
            hook(one_api).read([PORT1])
        with pytest.raises(Unavailable):
            hook(one_api).apply(PORT1, only(one={A100}))
    one_api.heal()
    assert driver.apply(PORT1, only(one={A100})) == {A100}


@pytest.mark.parametrize("status", [302, 403, 413])
def test_another_status_is_a_refusal_with_the_servers_words_escaped(one_api, status):
    one_api.fail(status, method="POST", path=f"^{VMIS}$", body="no\x1b[2J")
    with pytest.raises(Refused, match=rf"VLAN 100 .*HTTP {status}.*no\\x1b"):
        hook(one_api).apply(PORT1, only(one={A100}))
    assert one_api.objects(VPG) == []


def test_a_quota_names_the_project(one_api):
    one_api.set_quota("admin", VMI, 1)
    driver = hook(one_api)
    driver.apply(PORT1, only(one={A100}))
    with pytest.raises(Refused, match=r"VLAN 200 .*quota"):
        driver.apply(PORT1, only(one={A100, B200}))
    assert driver.read([PORT1]) == {PORT1: frozenset({A100})}
    one_api.set_quota("admin", VMI, -1)
    assert driver.apply(PORT1, only(one={A100, B200})) == {A100, B200}


def test_a_project_that_is_not_there_is_named(one_api):
    with pytest.raises(Refused, match=r"'default-domain:nobody'.*project"):
        hook(one_api, project="default-domain:nobody").apply(PORT1, only(one={A100}))
    assert one_api.objects(VPG) == []


def test_the_fabrics_rule_is_a_refusal(one_api):
    one_api.restore(one_api.pristine)
    one_api.load(topology(enterprise=True))
    driver = hook(one_api)
    driver.apply(PORT1, only(one={A100}))
    with pytest.raises(Refused, match=r"VLAN 150 .*HTTP 400"):
        driver.apply(PORT2, only(one={A100}, two={Segment(150, NET_A)}))
    assert names(one_api, VPG) == ["sriov_leaf1_xe-0/0/1"]


def test_a_port_group_deleted_while_it_is_used(one_api):
    driver = hook(one_api)
    respond, left = one_api.respond, [1]

    def racing(request):
        if request.method == "POST" and request.path == VMIS and left:
            left.pop()
            one_api.delete(VPG, one_api.uuid(VPG, GLOBAL, "fab1", "sriov_leaf1_xe-0/0/1"))
        return respond(request)

    one_api.respond = racing
    assert driver.apply(PORT1, only(one={A100})) == {A100}
    assert not left


def test_eight_hosts_at_once(api):
    api.load(Topology(switches=(leaf(5, ports=16),), projects=()))
    both = frozenset({A100, B200})
    results = {}

    def run(number):
        driver = hook(api, host=f"compute-{number}")
        first, second = (f"xe-0/0/{2 * number + at}" for at in (0, 1))
        ports = [link(first, 5), link(second, 5, PF2)]
        wanted = dict.fromkeys(ports, both)
        try:
            seen = [driver.apply(port, wanted) for port in ports]
            last = {ports[0]: frozenset({A100}), ports[1]: both}
            driver.apply(ports[0], last)
            results[number] = seen == [both, both] and driver.read(last) == last
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == dict.fromkeys(range(8), True)
    assert len(api.objects(VPG)) == 16
    assert len(api.objects(VMI)) == 8 * 3


# --- tokens ---


@pytest.fixture(params=["cloud-admin", "rbac"])
def secured(request):
    users = [
        User("agent", "s3cret", {"admin": ("admin",)}),
        User("weak", "s3cret", {"admin": ("member",)}),
    ]
    with (
        Keystone(users, credentials={"appid": "appsecret"}) as keystone,
        ConfigApi(aaa_mode=request.param, keystone=keystone) as api,
    ):
        api.load(topology())
        yield api, keystone


def login(keystone, **settings):
    return {
        "auth_url": keystone.auth_url,
        "username": "agent",
        "password": "s3cret",
        "project_name": "admin",
        **settings,
    }


def tokens(keystone):
    return len(keystone.calls("POST", "/v3/auth/tokens"))


def test_a_token_is_had_once(secured, caplog):
    caplog.set_level(logging.DEBUG)
    api, keystone = secured
    driver = hook(api, **login(keystone))
    assert driver.apply(PORT1, only(one={A100})) == {A100}
    assert driver.read([PORT1]) == {PORT1: frozenset({A100})}
    assert tokens(keystone) == 1
    assert no_secret(caplog.text)
    issued = {c.headers["X-Auth-Token"] for c in api.calls() if c.headers["X-Auth-Token"]}
    assert not any(token in caplog.text for token in issued)


def test_a_revoked_token_is_replaced_once(secured):
    api, keystone = secured
    driver = hook(api, **login(keystone))
    driver.read([PORT1])
    keystone.revoke_all()
    assert driver.apply(PORT1, only(one={A100})) == {A100}
    assert tokens(keystone) == 2


def test_an_application_credential(secured):
    api, keystone = secured
    given = {
        "auth_url": keystone.auth_url.removesuffix("/v3"),
        "application_credential_id": "appid",
        "application_credential_secret": "appsecret",
    }
    assert hook(api, **given).apply(PORT1, only(one={A100})) == {A100}


def test_what_is_wrong_with_the_credentials_is_said(secured, caplog):
    caplog.set_level(logging.DEBUG)
    api, keystone = secured
    with pytest.raises(Refused, match=r"set .* auth_url"):
        hook(api).read([PORT1])
    with pytest.raises(Refused, match=r"Keystone .*HTTP 401.*credentials") as refusal:
        hook(api, **login(keystone, password="s3cret-but-wrong")).read([PORT1])
    assert no_secret(str(refusal.value))
    with pytest.raises(Refused, match=r"HTTP 403.*role admin"):
        hook(api, **login(keystone, username="weak")).apply(PORT1, only(one={A100}))
    with Keystone([User("agent", "s3cret", {"admin": ("admin",)})]) as other:
        with pytest.raises(Refused, match="same Keystone"):
            hook(api, **login(other)).read([PORT1])
        other.fail(503, times=None)
        with pytest.raises(Unavailable, match=r"Keystone .*HTTP 503"):
            hook(api, **login(other)).read([PORT1])
    with pytest.raises(Unavailable, match="Keystone"):
        hook(api, **login(other)).read([PORT1])
    assert no_secret(caplog.text)


def test_without_authentication_keystone_is_not_asked(one_api):
    with Keystone() as keystone:
        hook(one_api, **login(keystone)).apply(PORT1, only(one={A100}))
        assert keystone.calls() == []


# --- configuration ---


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"api_servers": []}, "api_servers"),
        ({"api_servers": ["ftp://x"]}, "api_servers"),
        ({"api_servers": ["http://u:s3cret@x"]}, "api_servers"),
        ({"auth_url": "nonsense", "username": "x"}, "auth_url"),
        ({"auth_url": "http://x/v3"}, "auth_url"),
        ({"project": "admin"}, "project"),
        ({"vpg_prefix": "a:b"}, "vpg_prefix"),
        ({"switch_map": ["leaf1"]}, "switch_map"),
        ({"port_map": ["xe-0=xe-0"]}, "port_map"),
        ({"bonds": [PF1]}, "bonds"),
    ],
)
def test_an_option_that_cannot_work_is_named(settings, named):
    with pytest.raises(ConfigError, match=rf"\[hook_contrail\] {named}") as error:
        hook("http://127.0.0.1:1", **settings)
    assert no_secret(str(error.value))


def test_the_operators_map_is_used(one_api):
    at = link("uplink", system_name="core-x", chassis_id=LldpId("local", "c"), port_description="")
    wanted = {at: frozenset({A100})}
    maps = {"switch_map": ["core-x=leaf2"], "port_map": ["leaf2/uplink=xe-0/0/3"]}
    assert hook(one_api, **maps).apply(at, wanted) == {A100}
    assert opened(one_api, link("xe-0/0/3", leaf=2)) == [A100]


def test_without_keystoneauth1_the_extra_is_named():
    program = (
        "import sys; sys.modules['keystoneauth1'] = None\n"
        "from sriov_agent.hook.contrail.client import Api, Credentials\n"
        "Api(['http://127.0.0.1:1'], Credentials())"
    )
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "ConfigError" in ran.stderr
    assert "pip install 'sriov-agent[contrail]'" in ran.stderr


def test_the_servers_certificate_is_verified(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", key, "-out", cert]
    subprocess.run([*command.split(), *subject, *files], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    with ConfigApi(tls=tls) as api:
        api.load(topology())
        assert hook(api, ca_file=str(cert)).apply(PORT1, only(one={A100})) == {A100}
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            hook(api).read([PORT1])


# --- whatever happens, in the end it is as wanted ---

PLACES = [("xe-0/0/1", 1), ("xe-0/0/2", 1), ("xe-0/0/3", 1), ("xe-0/0/1", 2), ("xe-0/0/2", 2)]
SEGMENTS = [A100, B200, UNTAGGED]


class Story:
    """A host whose cables, wishes, bond and memory change while the API fails now and then."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.api = ConfigApi(self.random.choice(list(Flavour)))
        self.api.load(topology(self.random.choice([None, True])))
        self.time = Time()
        self.bonded = False
        self.theirs = None
        self.wanted = {}
        if self.random.random() < 0.4:
            port, number = self.random.choice(PLACES)
            foreign_vpg(self.api)
            self.theirs = (f"leaf{number}", port)
            self.foreign = foreign_vmi(self.api, self.random.choice(SEGMENTS), [self.theirs])

    def told(self):
        with self.api:
            self.restart()
            for _ in range(self.random.randint(2, 5)):
                self.change()
                self.harm()
                for _ in range(2):
                    self.passes()
                self.api.heal()
                bond = [at for at in self.wanted if self.bonded and at.pf != PF3]
                if self.theirs in {where(at) for at in bond}:
                    continue  # refused: the other half of the bond is not in their group
                assert any(self.passes() for _ in range(5)), "it does not come to rest"
                self.driver.apply(
                    link("xe-0/0/0"), self.wanted
                )  # a fresh one learns what is wanted
                assert any(self.passes() for _ in range(3)), "it does not stay at rest"
                self.driver.apply(link("xe-0/0/0"), self.wanted)  # empty groups go with the next
                self.check()
        assert not self.api.calls("PUT")

    def restart(self):
        self.driver = hook(self.api, time=self.time, **(BOND if self.bonded else {}))

    def change(self):
        if self.random.random() < 0.3:
            self.bonded = not self.bonded
            self.restart()
        elif self.random.random() < 0.3:
            self.restart()
        wishes = [
            frozenset(self.random.sample(SEGMENTS, self.random.randint(0, 3))) for _ in range(3)
        ]
        if self.bonded and self.random.random() < 0.7:
            wishes[1] = wishes[0]
        cables = self.random.sample(PLACES, 3)
        self.wanted = {
            link(*at, pf): segments
            for at, pf, segments in zip(cables, (PF1, PF2, PF3), wishes, strict=True)
        }

    def harm(self):
        for _ in range(self.random.randint(0, 4)):
            fault = {
                "times": self.random.randint(1, 3),
                "method": self.random.choice(["POST", "DELETE", "GET"]),
                "after": self.random.random() < 0.5,
            }
            if self.random.random() < 0.4:
                self.api.drop(**fault)
            else:
                self.api.fail(self.random.choice([500, 502, 503, 504]), **fault)

    def passes(self):
        """One pass of an agent; whether there was nothing to do."""
        self.time.now += 120
        try:
            links = list(dict.fromkeys([*self.wanted, *self.driver.owned()]))
            self.random.shuffle(links)
            found = self.driver.read(links)
        except Unavailable:
            return False
        wrong = [at for at in links if found.get(at) != self.wanted.get(at, frozenset())]
        for at in wrong:
            with contextlib.suppress(Refused, Unavailable):
                self.driver.apply(at, self.wanted)
        return not wrong

    def check(self):
        places = {where(at): segments for at, segments in self.wanted.items()}
        own = {one["uuid"] for one in self.api.objects(VMI)}
        if self.theirs:
            assert self.foreign in own
            own.remove(self.foreign)
        for at in (link(*place) for place in PLACES):
            assert places.get(where(at), set()) <= set(opened(self.api, at))
        for group in self.api.objects(VPG):
            ports = {tuple(ref["to"][1:]) for ref in group.get("physical_interface_refs", ())}
            mine = own & {ref["uuid"] for ref in group.get("virtual_machine_interface_refs", ())}
            own -= mine
            if group["fq_name"][-1] == "theirs":
                continue
            assert mine
            assert ports <= places.keys()
            assert self.bonded or len(ports) == 1
            wants = set().union(*(places[port] for port in ports))
            assert set(opened(self.api, link(*reversed_(next(iter(ports)))))) == wants
            for uuid_ in mine:
                values = unpaired(self.api.object(uuid_)["virtual_machine_interface_bindings"])
                listed = json.loads(values["profile"])["local_link_information"]
                assert {(at["switch_info"], at["port_id"]) for at in listed} == ports
        assert not own


def where(at):
    return at.system_name, at.port_id.value


def reversed_(port):
    return port[1], int(port[0].removeprefix("leaf"))


@pytest.mark.parametrize("seed", range(40))
def test_it_comes_to_rest_as_wanted(seed):
    Story(seed).told()


# --- rbac, without the role admin ---

#: What the role needs, by the type of object; ``fqname-to-id`` is everybody's from the start.
RIGHTS = {VMI: "CRD", VPG: "CRD", "physical-interface": "R", "physical-router": "R"}
RIGHTS |= {"virtual-network": "R"}
#: What has to be shared with the project, beside: 4 to read, 2 to write, 1 to refer to.
SHARED = {"fabric": 1, "physical-router": 4, "physical-interface": 5, "virtual-network": 5}


@pytest.fixture
def guarded():
    """An API with ``rbac``, and a user whose project is not the cloud's admin's."""
    users = [User("agent", "s3cret", {"sriov": ("sriov",)})]
    with Keystone(users) as keystone, ConfigApi(aaa_mode="rbac", keystone=keystone) as api:
        project = str(uuid.UUID(keystone.project_id("sriov")))
        known = topology()
        api.load(replace(known, projects=(*known.projects, ("sriov", project))))
        yield api, hook_of(api, keystone)


def hook_of(api, keystone):
    return hook(api, **login(keystone, project_name="sriov", project="default-domain:sriov"))


def share(api, without=""):
    for type_, access in SHARED.items():
        for one in api.objects(type_) if type_ != without else ():
            perms = {"perms2": {**one["perms2"], "global_access": access}}
            api.update(type_, one["uuid"], perms)


def test_a_role_that_has_the_rights_is_enough(guarded):
    api, driver = guarded
    for type_, operations in RIGHTS.items():
        api.allow("sriov", type_, operations)
    share(api)
    assert driver.apply(PORT1, only(one={A100, UNTAGGED})) == {A100, UNTAGGED}
    assert opened(api) == sorted({A100, UNTAGGED})
    assert driver.owned() == [PORT1]
    assert driver.apply(PORT1, only(one=set())) == set()
    assert names(api) == names(api, VPG) == []


@pytest.mark.parametrize("type_", RIGHTS)
def test_each_right_that_is_missing_is_told_and_nothing_is_half_done(guarded, type_):
    api, driver = guarded
    for allowed, operations in RIGHTS.items():
        if allowed != type_:
            api.allow("sriov", allowed, operations)
    share(api)
    with pytest.raises(Refused) as caught:
        driver.apply(PORT1, only(one={A100}))
    assert "rbac" in str(caught.value)
    assert opened(api) == []


@pytest.mark.parametrize("type_", SHARED)
def test_what_is_not_shared_is_as_if_it_were_not_there(guarded, type_):
    api, driver = guarded
    for allowed, operations in RIGHTS.items():
        api.allow("sriov", allowed, operations)
    share(api, without=type_)
    with pytest.raises((Refused, Unavailable)):
        driver.apply(PORT1, only(one={A100}))
    assert opened(api) == []
