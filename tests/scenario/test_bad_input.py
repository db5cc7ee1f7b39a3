# SPDX-License-Identifier: Apache-2.0
"""Each kind of bad input: the error names field and port, it is counted, all others go on."""

import logging

import pytest

from sriov_agent.core.report import PortState
from sriov_agent.exceptions import InvalidField
from tests import neutron
from tests.topology import PF_A, PF_B, binding, port_id, port_mac, vf_address

HOSTILE = "\x1b[2J\x1b]0;<b>&amp;\u202e\x00\n"


def port(**given: object) -> dict:
    return neutron.port(1, **given)


#: What a notification may hold, and the field by which it is refused when it comes in.
PAYLOADS = [
    (port(mac_address="01:00:5e:00:00:01"), "mac_address"),
    (port(mac_address="00:00:00:00:00:00"), "mac_address"),
    (port(mac_address=None), "mac_address"),
    (port(mac_address=["02:5a:00:00:00:01"]), "mac_address"),
    (port(mac_address=HOSTILE), "mac_address"),
    (port(binding_vif_details={"vlan": "4095"}), "binding:vif_details.vlan"),
    (port(binding_vif_details={"vlan": -1}), "binding:vif_details.vlan"),
    (port(binding_vif_details={"vlan": "fifteen"}), "binding:vif_details.vlan"),
    (port(binding_vif_details={"vlan": "\u0661\u0665"}), "binding:vif_details.vlan"),
    (port(binding_vif_details={"vlan": True}), "binding:vif_details.vlan"),
    (port(binding_vif_details=[15]), "binding:vif_details"),
    (port(binding_vnic_type="made-up"), "binding:vnic_type"),
    (port(binding_vnic_type=None), "binding:vnic_type"),
    (port(binding_vnic_type=["direct"]), "binding:vnic_type"),
    (port(binding_vnic_type={"direct": True}), "binding:vnic_type"),
    (port(binding_profile="{}"), "binding:profile"),
    (port(binding_profile={"physical_network": HOSTILE}), "binding:profile.physical_network"),
    (port(binding_profile={"physical_network": 2}), "binding:profile.physical_network"),
    (port(binding_profile={"pci_slot": "../../etc"}), "binding:profile.pci_slot"),
    (port(binding_profile={"pci_slot": 7}), "binding:profile.pci_slot"),
    (port(admin_state_up="false"), "admin_state_up"),
    (port(admin_state_up=None), "admin_state_up"),
    (port(port_security_enabled="false"), "port_security_enabled"),
    (port(name=None), "name"),
    (port(name="x" * 256), "name"),
    (port(network_id="net1"), "network_id"),
    (port(network_id=None), "network_id"),
    (port(binding_vif_type=7), "binding:vif_type"),
]
#: ... and those that hold no port that could be told from others.
NAMELESS = [
    ({"port": {**port()["port"], "id": "web1"}}, "id"),
    ({"port": {**port()["port"], "id": None}}, "id"),
    ({"port": {**port()["port"], "id": f"{port_id(1)}\n"}}, "id"),
    ({"port": {**port()["port"], "id": [port_id(1)]}}, "id"),
    ({"port": {}}, "id"),
    ({"port": None}, "port"),
    ({"port": [port()["port"]]}, "port"),
    ({"ports": {"0": port()["port"]}}, "port"),
    ({"subnet": {}}, "port"),
    ({}, "port"),
    ([], "payload"),
    (None, "payload"),
    (HOSTILE, "payload"),
]
#: A port that can be named, by a revision that cannot be ordered.
UNORDERED = [port(revision=revision) for revision in (None, "3", 3.0, True, -1, 2**62, [3])]


@pytest.fixture
def busy(compute):
    """A compute node with a port that nothing of this is about."""
    compute.hear("port.create.end", neutron.port(7))
    return compute


def errors(caplog) -> list[str]:
    """What an operator finds in the log, checked to be fit for a terminal."""
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert all(line.isprintable() for line in said)
    return said


def rejected(compute) -> int:
    counted = compute.counters.snapshot()
    assert "events.failed" not in counted
    return counted.get("events.rejected", 0)


@pytest.mark.parametrize(("payload", "field"), PAYLOADS)
def test_a_new_port_that_cannot_be_accepted_gets_nothing_but_an_error(busy, caplog, payload, field):
    before = busy.state()
    busy.hear("port.create.end", payload)

    [said] = errors(caplog)
    assert port_id(1) in said
    assert f": {field} " in said
    assert rejected(busy) == 1
    assert busy.state() == before
    assert busy.report(1).unmet[0].startswith(f"{field} ")
    assert busy.report(7).state == PortState.MET


@pytest.mark.parametrize(("payload", "field"), PAYLOADS)
def test_a_port_keeps_what_it_has_while_its_last_word_is_refused(busy, caplog, payload, field):
    busy.hear("port.create.end", port())
    before = busy.state()
    payload["port"]["revision_number"] = 2
    busy.hear("port.update.end", payload)
    busy.reconcile()

    assert len(errors(caplog)) == rejected(busy) == 1
    assert busy.state() == before
    assert busy.report(1).state == PortState.UNMET
    assert busy.report(1).unmet[0].startswith(f"{field} ")

    busy.hear("port.update.end", port(revision=3, vlan=20))
    assert busy.report(1).state == PortState.MET
    assert busy.settings()[busy.claims()[port_id(1)].vf].vlan == 20


@pytest.mark.parametrize(("payload", "field"), NAMELESS)
@pytest.mark.parametrize("event_type", ["port.create.end", "port.update.end"])
def test_a_payload_without_a_port_is_refused_by_what_is_wrong(
    busy, caplog, event_type, payload, field
):
    before = busy.state()
    busy.hear(event_type, payload)

    [said] = errors(caplog)
    assert f": {field} " in said
    assert rejected(busy) == 1
    assert busy.state() == before


@pytest.mark.parametrize("payload", UNORDERED)
def test_a_port_that_cannot_be_ordered_is_named(busy, caplog, payload):
    before = busy.state()
    busy.hear("port.update.end", payload)

    [said] = errors(caplog)
    assert port_id(1) in said
    assert ": revision_number " in said
    assert rejected(busy) == 1
    assert busy.state() == before


@pytest.mark.parametrize("payload", [None, [], {}, {"port_id": None}, {"port_id": "*"}, {"id": 1}])
@pytest.mark.parametrize("event_type", ["port.delete.end"])
def test_a_deletion_that_names_no_port_deletes_none(busy, caplog, event_type, payload):
    before = busy.state()
    busy.hear(event_type, payload)

    assert len(errors(caplog)) == rejected(busy) == 1
    assert busy.state() == before


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (neutron.network(4095), "provider:segmentation_id"),
        (neutron.network("15"), "provider:segmentation_id"),
        (neutron.network(None), "provider:segmentation_id"),
        (neutron.network(15, provider_physical_network="a b"), "provider:physical_network"),
        (neutron.network(15, revision="1"), "revision_number"),
        ({"network": None}, "network"),
        ({}, "network"),
    ],
)
def test_a_network_that_cannot_be_accepted_changes_no_port(busy, caplog, payload, field):
    busy.hear("network.create.end", neutron.network(20))
    busy.hear("port.create.end", neutron.port(1, vlan=None))
    before = busy.state()
    if isinstance(payload.get("network"), dict) and field != "revision_number":
        payload["network"]["revision_number"] = 2
    busy.hear("network.update.end", payload)
    busy.reconcile()

    [said] = errors(caplog)
    assert f": {field} " in said
    assert rejected(busy) == 1
    assert busy.state() == before


def test_a_network_that_is_no_vlan_leaves_its_ports_unmet_with_the_reason(busy):
    busy.hear("network.create.end", neutron.network(7, provider_network_type="vxlan"))
    busy.hear("port.create.end", neutron.port(1, vlan=None))

    assert busy.report(1).unmet[0].startswith("provider:segmentation_id None: network ")


def test_of_several_ports_only_the_bad_one_is_refused(busy, caplog):
    several = [neutron.port(number)["port"] for number in (1, 2, 3)]
    several[1]["binding:vnic_type"] = ["direct"]
    busy.hear("port.create.end", {"ports": [None, *several]})

    assert busy.claims().keys() == {port_id(1), port_id(3), port_id(7)}
    assert len(errors(caplog)) == rejected(busy) == 2
    assert port_id(2) in errors(caplog)[1]


def test_a_bad_port_of_another_host_is_none_of_ours(busy):
    before = busy.state()
    busy.hear("port.create.end", port(binding_host_id="compute2", network_id=7))
    assert port_id(1) not in busy.last.ports
    assert busy.state() == before


def test_a_name_is_text_whatever_it_holds(busy):
    busy.hear("port.create.end", port(name=HOSTILE))

    assert busy.report(1).state == PortState.MET
    assert busy.ports.get(port_id(1)).document["name"] == HOSTILE
    assert HOSTILE not in busy.interfaces.path(port_id(1)).read_text()


def test_a_tenant_cannot_mend_what_it_cannot_see(busy):
    busy.hear("port.create.end", port())
    before = busy.state()
    bad = port(revision=2, binding_profile={"pci_slot": "../../etc"})
    busy.hear("port.update.end", bad)
    busy.hear("port.update.end", neutron.members_view(port(revision=3, name="renamed")))
    busy.reconcile()

    assert busy.report(1).unmet[0].startswith("binding:profile.pci_slot ")
    assert busy.state() == before


def test_a_tenant_can_mend_what_it_got_wrong(busy):
    busy.hear("port.create.end", port())
    busy.hear("port.update.end", neutron.members_view(port(revision=2, mac_address="bad")))
    assert busy.report(1).unmet[0].startswith("mac_address ")

    busy.hear("port.update.end", neutron.members_view(port(revision=3)))
    assert busy.report(1).state == PortState.MET


# What only the host can tell, by whichever way the port comes in.


def heard(compute, number, **given):
    """By a notification."""
    profile = {"physical_network": given.get("physical_network", "physnet2")}
    if "pci_slot" in given:
        profile["pci_slot"] = given["pci_slot"]
    mac = given.get("mac", port_mac(number))
    compute.hear("port.create.end", neutron.port(number, mac_address=mac, binding_profile=profile))


def typed(compute, number, **given):
    """By ``sriovctl``."""
    compute.ports.create(binding(number, **given))
    compute.reconcile()


@pytest.mark.parametrize("create", [heard, typed])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"physical_network": "physnet9"}, "physical_network 'physnet9': no PF of this host"),
        ({"pci_slot": "0000:ff:02.0"}, "pci_slot '0000:ff:02.0': no such VF"),
        ({"pci_slot": vf_address(PF_A, 0)}, f"pci_slot '{vf_address(PF_A, 0)}': held by port "),
        ({"mac": "52:54:00:aa:00:01"}, "mac_address '52:54:00:aa:00:01': already the MAC of PF "),
        ({"mac": "02:5a:00:00:00:99"}, "mac_address '02:5a:00:00:00:99': already on VF 0000:5e:"),
    ],
)
def test_what_the_host_cannot_give_is_said_by_field_and_port(busy, create, given, said):
    busy.kernel.set_vfs(PF_B, [(3, binding(99, vlan=44, mac="02:5a:00:00:00:99").vf_settings())])
    before = busy.state()
    create(busy, 1, **given)

    assert busy.report(1).state == PortState.UNMET
    assert busy.report(1).unmet[0].startswith(said)
    assert busy.state() == before
    assert busy.report(7).state == PortState.MET


def test_of_two_ports_with_one_mac_the_first_keeps_it(busy):
    heard(busy, 1, mac=port_mac(7))

    assert busy.report(1).unmet[0].startswith(f"mac_address '{port_mac(7)}': already the MAC of")
    assert busy.report(7).state == PortState.MET
    assert port_id(7) in busy.report(1).unmet[0]


@pytest.mark.parametrize("create", [heard, typed])
def test_when_there_is_no_free_vf_the_port_waits_for_one(busy, create):
    for number in range(10, 17):
        create(busy, number)
    create(busy, 1)
    assert busy.report(1).unmet[0].startswith("physical_network 'physnet2': no free VF: of 8 VFs")
    assert len(busy.claims()) == 8

    busy.hear("port.delete.end", neutron.deleted(10))
    busy.reconcile()
    assert busy.report(1).state == PortState.MET


@pytest.mark.parametrize(
    ("taken", "field"), [({"port_id": port_id(7)}, "id"), ({"mac": port_mac(7)}, "mac_address")]
)
def test_sriovctl_refuses_at_once_what_another_port_has(busy, taken, field):
    before = busy.state()
    with pytest.raises(InvalidField) as refused:
        typed(busy, 1, **taken)

    assert refused.value.field == field
    assert busy.state() == before
