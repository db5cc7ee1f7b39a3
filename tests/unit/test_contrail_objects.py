# SPDX-License-Identifier: Apache-2.0
"""The objects that the agent makes in Contrail: identities, bodies, marks; read back."""

import itertools
import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.core.model import LldpId, Segment, SwitchPort
from sriov_agent.hook.contrail import objects
from sriov_agent.hook.contrail.objects import Evidence, Place

NET = "23fd32db-375b-4e10-b059-5fc2f0a69be7"
PLACE = Place("fab1", "leaf1", "xe-0/0/1", "u1")
TAGGED, UNTAGGED = Segment(100, NET), Segment(100, NET, tagged=False)
AT = ("leaf1", "xe-0/0/1")
LINK = SwitchPort(
    pf="0000:3b:00.0",
    chassis_id=LldpId("mac", "00:11:22:33:44:55"),
    port_id=LldpId("ifname", "xe-0/0/1"),
    system_name="leaf1",
    port_description="to compute-1",
)
EVIDENCE = (Evidence(LINK, AT),)


def body(segment=TAGGED, at=None, evidence=EVIDENCE, host="compute-1"):
    return objects.vmi_body(
        ["default-domain", "admin"],
        "fab1",
        "sriov_leaf1_xe-0/0/1",
        segment,
        ["default-domain", "tenant1", "netA"],
        at or {AT: "00:11:22:33:44:55"},
        host,
        evidence,
    )["virtual-machine-interface"]


def pairs(field):
    return {pair["key"]: pair["value"] for pair in field["key_value_pair"]}


def test_identities_are_stable_and_apart():
    assert objects.vmi_uuid("fab1", "g", TAGGED) == objects.vmi_uuid("fab1", "g", TAGGED)
    found = {
        objects.vmi_uuid(fabric, vpg, Segment(vlan, NET, tagged))
        for fabric, vpg, vlan, tagged in itertools.product(
            ("f", "f2"), ("g", "g2"), (1, 2), (True, False)
        )
    }
    found |= {objects.vpg_uuid("f", "g"), objects.vpg_uuid("f", "g2"), objects.vpg_uuid("fg", "")}
    assert len(found) == 16 + 3
    assert {uuid.UUID(one).version for one in found} == {5}


def test_names_hold_no_colon():
    assert objects.vpg_name("sriov", PLACE) == "sriov_leaf1_xe-0/0/1"
    bonded = objects.bond_name("sriov", "compute-1", {"0000:3b:00.1", "0000:3b:00.0"})
    assert bonded == "sriov_compute-1_0000-3b-00.0_0000-3b-00.1"


def test_a_tagged_vmi_is_the_one_of_the_contract():
    found = body()
    assert found["fq_name"][-1] == f"sriov_{NET}_100_sriov_leaf1_xe-0/0/1"
    assert found["virtual_machine_interface_properties"] == {"sub_interface_vlan_tag": 100}
    assert found["virtual_network_refs"] == [
        {"to": ["default-domain", "tenant1", "netA"], "uuid": NET}
    ]
    bindings = pairs(found["virtual_machine_interface_bindings"])
    assert json.loads(bindings.pop("profile")) == {
        "local_link_information": [
            {
                "switch_info": "leaf1",
                "port_id": "xe-0/0/1",
                "switch_id": "00:11:22:33:44:55",
                "fabric": "fab1",
            }
        ]
    }
    vpg = "sriov_leaf1_xe-0/0/1"
    assert bindings == {"vnic_type": "baremetal", "vif_type": "vrouter", "vpg": vpg}
    assert found["id_perms"]["creator"] == "sriov-agent"


def test_an_untagged_vmi_names_its_vlan():
    found = body(UNTAGGED)
    assert "virtual_machine_interface_properties" not in found
    assert pairs(found["virtual_machine_interface_bindings"])["tor_port_vlan_id"] == "100"
    assert found["uuid"] != body()["uuid"]
    assert found["fq_name"] != body()["fq_name"]


def test_every_binding_is_text():
    for segment in (TAGGED, UNTAGGED):
        found = body(segment)
        for field in ("virtual_machine_interface_bindings", "annotations"):
            assert all(isinstance(value, str) for value in pairs(found[field]).values())
        json.dumps(found)


def test_a_vpg_says_nothing_of_its_ports():
    found = objects.vpg_body("fab1", "g", "compute-1", EVIDENCE)["virtual-port-group"]
    assert found["parent_type"] == "fabric"
    assert found["virtual_port_group_lacp_enabled"] is False
    assert not {"physical_interface_refs", "virtual_port_group_user_created"} & found.keys()
    read = objects.vpg(found)
    assert (read.host, read.evidence, read.vmis, read.contrail) == (
        "compute-1",
        EVIDENCE,
        (),
        False,
    )


texts = st.text(max_size=80)
links = st.builds(
    SwitchPort,
    pf=st.sampled_from(["0000:3b:00.0", "0000:3b:00.1"]),
    chassis_id=st.builds(LldpId, texts, texts),
    port_id=st.builds(LldpId, texts, texts),
    system_name=texts,
    port_description=texts,
)


@given(
    st.lists(st.builds(Evidence, links, st.tuples(texts, texts)), max_size=3),
    st.builds(Segment, st.integers(1, 4094), st.just(NET), st.booleans()),
    st.dictionaries(st.tuples(texts, texts), texts, max_size=3),
)
def test_what_is_written_is_read_back(evidence, segment, at):
    sent = json.loads(json.dumps(body(segment, at or None, evidence)))
    found = objects.vmi(sent)
    assert found.segment == segment
    assert found.host == "compute-1"
    assert found.at == frozenset(at or {AT})
    assert set(found.evidence) == set(evidence)
    named = {one.link: one.link.system_name for one in found.evidence}
    assert named.keys() == {one.link for one in evidence}


@pytest.mark.parametrize(
    ("change", "host"),
    [
        ({}, "compute-1"),
        ({"id_perms": {"creator": "somebody"}}, ""),
        ({"id_perms": None}, ""),
        ({"annotations": None}, ""),
        ({"annotations": {"key_value_pair": None}}, ""),
    ],
)
def test_the_mark_and_the_annotation_together_say_whose_it_is(change, host):
    assert objects.vmi(body() | change).host == host


@pytest.mark.parametrize(
    ("properties", "native", "segment"),
    [
        ({"sub_interface_vlan_tag": 100}, None, TAGGED),
        ({"sub_interface_vlan_tag": "100"}, None, TAGGED),
        ({"sub_interface_vlan_tag": 5}, "100", UNTAGGED),
        (None, "100", UNTAGGED),
        ({"sub_interface_vlan_tag": 0}, None, Segment(4094, NET, tagged=False)),
        (None, "none", Segment(4094, NET, tagged=False)),
    ],
)
def test_the_vlan_is_the_one_that_the_device_manager_takes(properties, native, segment):
    bindings = {"key_value_pair": [{"key": "tor_port_vlan_id", "value": native}] if native else []}
    read = objects.vmi(
        {
            "uuid": "u",
            "fq_name": ["n"],
            "virtual_network_refs": [{"uuid": NET}],
            "virtual_machine_interface_properties": properties,
            "virtual_machine_interface_bindings": bindings,
        }
    )
    assert read.segment == segment


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "{}",
        "[]",
        "null",
        "[1]",
        '[{"at": 1}]',
        '[{"at": ["a", "b"], "pf": "eth0"}]',
        '[{"at": ["a", "b"], "pf": "0000:3b:00.0", "chassis_id": 1, "port_id": 2}]',
        "[" * 100000,
    ],
)
def test_evidence_of_another_form_is_left_out(text):
    pair = [{"key": "sriov-agent-links", "value": text}]
    assert objects.vmi(body() | {"annotations": {"key_value_pair": pair}}).evidence == ()
    profile = [{"key": "profile", "value": text}]
    changed = body() | {"virtual_machine_interface_bindings": {"key_value_pair": profile}}
    assert objects.vmi(changed).at == frozenset()


def test_a_vpg_that_contrail_manages():
    read = objects.vpg(
        {
            "uuid": "u",
            "fq_name": ["g", "fab1", "x"],
            "annotations": {"key_value_pair": [{"key": "usage", "value": "sriov-vm"}]},
            "physical_interface_refs": [{"to": ["g", *AT], "uuid": "p"}],
            "virtual_machine_interface_refs": [{"to": ["x"], "uuid": "v"}],
        }
    )
    assert read.contrail
    assert (read.host, read.members, read.vmis) == ("", {AT: "p"}, ("v",))
