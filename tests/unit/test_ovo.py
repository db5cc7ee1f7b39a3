# SPDX-License-Identifier: Apache-2.0
"""Versioned objects as Neutron pushed them, and everything that they could be instead."""

import pytest
from hypothesis import given

from sriov_agent.exceptions import InvalidField
from sriov_agent.sources import payload
from sriov_agent.sources.ml2 import ovo
from tests.ovo import (
    JSON,
    NETWORK_ID,
    POLICY_ID,
    fields,
    limit,
    named,
    policy,
    port,
    pushed,
    spoiled,
)
from tests.topology import HOST

DIRECT = "push_Port_v1.11_updated_hw_veb_DOWN"
BY_NOVA = "push_Port_v1.11_updated_hw_veb_slot_DOWN"
MIGRATING = "push_Port_v1.11_updated_multi_binding"


def read_port(primitive, host):
    found = ovo.data(primitive, "Port")
    said = payload.read_port(ovo.api_port(found), host)
    return ovo.with_segment(said, ovo.segment(found, host))


def test_a_port_that_was_bound_by_the_operator():
    said = read_port(pushed(DIRECT), HOST)
    assert (said.port_id, said.revision_number, said.bound) == (
        "e55497ab-e25f-4153-9e43-cd48aa78217e",
        3,
        True,
    )
    assert said.network_id == NETWORK_ID
    assert said.document == {
        "mac": "fa:16:3e:31:59:07",
        "name": "p-host",
        "link_state": "auto",
        "spoofchk": True,
        "vnic_type": "direct",
        "plugged_by_nova": False,
        "trust": False,
        "vlan": 150,
        "physical_network": "physnet1",
    }


def test_a_port_of_an_older_release():
    said = read_port(pushed("push_Port_v1.4_updated_hw_veb_ACTIVE"), HOST)
    assert said.bound
    assert (said.document["vlan"], said.document["physical_network"]) == (150, "physnet1")


def test_a_port_that_nova_bound():
    said = read_port(pushed(BY_NOVA), HOST)
    assert said.document["plugged_by_nova"] is True
    assert said.document["pci_slot"] == "0000:3b:00.2"


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("push_Port_v1.11_updated_unbound_DOWN", "compute1"),
        ("push_Port_v1.11_updated_binding_failed_DOWN", "compute3"),
        (DIRECT, "compute2"),
        (DIRECT, ""),
        (MIGRATING, "compute1"),
    ],
)
def test_a_port_that_is_not_bound_here(name, host):
    said = read_port(pushed(name), host)
    assert said.bound is False
    assert said.document == {}


def test_of_several_bindings_the_active_one_counts():
    said = read_port(pushed(MIGRATING), "compute2")
    assert said.bound
    assert said.document["pci_slot"] == "0000:5e:00.3"
    assert said.document["vlan"] == 150


def binding(host, status="ACTIVE", **given):
    entry = fields(port())["bindings"][0]
    return named("PortBinding", **(fields(entry) | {"host": host, "status": status} | given))


@pytest.mark.parametrize(
    ("bindings", "bound"),
    [
        ([binding(HOST, "INACTIVE"), binding("compute2")], False),
        ([binding(HOST), binding("compute2", "INACTIVE")], True),
        ([binding("compute2", "INACTIVE"), binding(HOST)], True),
        ([binding(HOST, "INACTIVE")], False),
        ([binding(HOST, None)], False),
        ([], False),
    ],
)
def test_only_an_active_binding_binds(bindings, bound):
    assert read_port(port(bindings=bindings), HOST).bound is bound


def test_a_deleted_port_has_but_its_id():
    for name in ("push_Port_v1.11_deleted", "push_Port_v1.4_deleted"):
        primitive = pushed(name)
        assert ovo.port_id(primitive) == fields(primitive)["id"]


def levels(*given):
    """Binding levels: (host, level, network type, VLAN)."""
    return [
        named(
            "PortBindingLevel",
            host=host,
            level=level,
            segment=named(
                "NetworkSegment",
                network_type=kind,
                segmentation_id=vlan,
                physical_network="physnet3",
            ),
        )
        for host, level, kind, vlan in given
    ]


@pytest.mark.parametrize(
    ("given", "vlan"),
    [
        (levels((HOST, 0, "vlan", 20)), 20),
        (levels(("compute2", 0, "vlan", 99), (HOST, 0, "vlan", 20)), 20),
        (levels((HOST, 1, "vlan", 20), (HOST, 0, "vxlan", 7000)), 20),
        (levels((HOST, 0, "flat", None)), 0),
        (levels((HOST, 0, "flat", 5)), 0),
    ],
)
def test_the_segment_of_this_host_that_is_bound_last(given, vlan):
    document = read_port(port(binding_levels=given), HOST).document
    assert (document["vlan"], document["physical_network"]) == (vlan, "physnet3")


def test_the_segment_of_another_host_says_nothing():
    said = read_port(port(vlan=15, binding_levels=levels(("compute2", 0, "vlan", 20))), HOST)
    assert said.document["vlan"] == 15
    assert "physical_network" not in said.document


NO_DATA = {"versioned_object.name": "PortBinding"}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"segment": {"network_type": "vxlan"}}, "network_type"),
        ({"segment": {"network_type": ["vlan"]}}, "network_type"),
        ({"segment": {"network_type": None}}, "network_type"),
        ({"segment": {"segmentation_id": 4095}}, "segmentation_id"),
        ({"segment": {"segmentation_id": 2**70}}, "segmentation_id"),
        ({"segment": {"segmentation_id": "15"}}, "segmentation_id"),
        ({"segment": {"segmentation_id": True}}, "segmentation_id"),
        ({"segment": {"physical_network": None}}, "physical_network"),
        ({"segment": {"physical_network": "a b"}}, "physical_network"),
        ({"binding_levels": "x"}, "binding_levels"),
        ({"binding_levels": [7]}, "binding_levels"),
        ({"binding_levels": [named("Port")]}, "versioned_object.name"),
        ({"bindings": 7}, "bindings"),
        ({"bindings": [None]}, "bindings"),
        ({"bindings": [{}]}, "versioned_object.name"),
        (
            {"bindings": [{"versioned_object.name": "PortBinding"}]},
            "PortBinding versioned_object.data",
        ),
        ({"binding": {"host": 7}}, "binding:host_id"),
        ({"binding": {"vif_type": {}}}, "binding:vif_type"),
        ({"binding": {"vnic_type": "macvlan"}}, "binding:vnic_type"),
        ({"binding": {"vnic_type": ["direct"]}}, "binding:vnic_type"),
        ({"binding": {"profile": "{"}}, "binding:profile"),
        ({"binding": {"profile": "[]x"}}, "binding:profile"),
        ({"binding": {"profile": "[1]"}}, "binding:profile"),
        ({"binding": {"profile": 7}}, "binding:profile"),
        ({"binding": {"profile": "[" * 100_000}}, "binding:profile"),
        ({"binding": {"profile": '{"pci_slot": "any"}'}}, "binding:profile.pci_slot"),
        ({"binding": {"profile": '{"pci_slot": ' + "9" * 5000 + "}"}}, "binding:profile"),
        ({"binding": {"vif_details": "nonsense"}}, "binding:vif_details"),
        ({"binding": {"vif_details": '{"vlan": "-1"}'}}, "binding:vif_details.vlan"),
        ({"binding": {"vif_details": '{"vlan": 1e3}'}}, "binding:vif_details.vlan"),
        ({"security": 7}, "port_security_enabled"),
        ({"security": named("PortSecurity", port_security_enabled="yes")}, "port_security_enabled"),
        ({"mac_address": None}, "mac_address"),
        ({"mac_address": "01:00:5e:00:00:01"}, "mac_address"),
        ({"name": None}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"admin_state_up": "true"}, "admin_state_up"),
        ({"network_id": "net1"}, "network_id"),
        ({"id": None}, "id"),
        ({"id": "../../etc/passwd"}, "id"),
        ({"revision_number": None}, "revision_number"),
        ({"revision_number": -1}, "revision_number"),
        ({"revision_number": 2**63}, "revision_number"),
        ({"revision_number": 3.0}, "revision_number"),
    ],
)
def test_a_field_that_cannot_be_accepted_is_named(changed, field):
    with pytest.raises(InvalidField) as caught:
        read_port(port(**changed), HOST)
    assert caught.value.field == field
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", sorted(fields(port())))
def test_a_field_that_is_missing_is_refused_or_not_needed(name):
    primitive = port()
    del fields(primitive)[name]
    try:
        said = read_port(primitive, HOST)
    except InvalidField:
        assert name in ("id", "revision_number", "mac_address", "network_id")
    else:
        assert said.bound == (name != "bindings")


@pytest.mark.parametrize(
    "profile", ["", "{}", "null", None, '{"trusted": false}', '{"trusted": null}']
)
def test_a_profile_may_be_empty(profile):
    document = read_port(port(binding={"profile": profile}), HOST).document
    assert document["trust"] is False
    assert document["plugged_by_nova"] is False


@pytest.mark.parametrize("profile", ['{"trusted": true}', '{"trusted": "True"}'])
def test_trust_is_asked_for_in_the_profile(profile):
    assert read_port(port(binding={"profile": profile}), HOST).document["trust"] is True


@pytest.mark.parametrize("primitive", [None, 7, "Port", [], {}, {"versioned_object.name": "Port"}])
def test_what_is_no_object_is_refused(primitive):
    for read in (lambda p: read_port(p, HOST), ovo.port_id, ovo.policy_rates):
        with pytest.raises(InvalidField):
            read(primitive)


def test_an_object_of_another_kind_is_refused():
    with pytest.raises(InvalidField, match="expected Port"):
        read_port(policy(), HOST)
    with pytest.raises(InvalidField, match="expected QosPolicy"):
        ovo.policy_rates(port())


def test_a_policy_as_it_was_pushed():
    assert ovo.policy_rates(pushed("push_QosPolicy_v1.10_updated")) == (POLICY_ID, 100, 0)


@pytest.mark.parametrize(
    ("rules", "rates"),
    [
        ([], (0, 0)),
        ([limit(5000)], (5, 0)),
        ([limit(5000), limit(2000, kind="MinimumBandwidth")], (5, 2)),
        ([limit(5000, "ingress")], (0, 0)),
        ([limit(5000, "ingress"), limit(7000)], (7, 0)),
        ([limit(1)], (1, 0)),
        ([limit(0)], (0, 0)),
        ([limit(1499)], (1, 0)),
        ([limit(1500)], (2, 0)),
        ([limit(2**31 - 1)], (2147484, 0)),
        ([named("QosDscpMarkingRule", dscp_mark=8)], (0, 0)),
        ([named("QosPacketRateLimitRule", max_kpps=8, direction="egress")], (0, 0)),
        ([limit(5000, kind="MinimumPacketRate")], (0, 0)),
        ([named("QosOfTomorrowRule", max_kbps="much")], (0, 0)),
    ],
)
def test_the_rules_for_egress_make_rates(rules, rates):
    assert ovo.policy_rates(policy(*rules)) == (POLICY_ID, *rates)


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ([limit("5000")], "max_kbps"),
        ([limit(-1)], "max_kbps"),
        ([limit(2**31)], "max_kbps"),
        ([limit(10**400)], "max_kbps"),
        ([limit(None)], "max_kbps"),
        ([limit(True, kind="MinimumBandwidth")], "min_kbps"),
        ([None], "rules"),
        (["rule"], "rules"),
        ([{"versioned_object.name": "QosBandwidthLimitRule"}], "rule"),
    ],
)
def test_a_rule_that_cannot_be_accepted_is_named(rules, field):
    with pytest.raises(InvalidField) as caught:
        ovo.policy_rates(policy(*rules))
    assert caught.value.field == field


def test_a_rule_without_a_name_is_none_of_ours():
    rule = limit(5000)
    del rule["versioned_object.name"]
    assert ovo.policy_rates(policy(rule)) == (POLICY_ID, 0, 0)


@given(spoiled(port()) | spoiled(pushed(MIGRATING)) | spoiled(pushed(BY_NOVA)) | JSON)
def test_whatever_a_port_holds_it_is_read_or_refused(primitive):
    for host in (HOST, "compute2"):
        try:
            ovo.name(primitive)
            said = read_port(primitive, host)
        except InvalidField:
            continue
        assert isinstance(said.bound, bool)


@given(spoiled(policy(limit(5000), limit(9, kind="MinimumBandwidth"))) | JSON)
def test_whatever_a_policy_holds_it_is_read_or_refused(primitive):
    try:
        _, maximum, minimum = ovo.policy_rates(primitive)
    except InvalidField:
        return
    assert min(maximum, minimum) >= 0
    assert max(maximum, minimum) < 2**32
