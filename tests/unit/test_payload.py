# SPDX-License-Identifier: Apache-2.0
"""What is read out of Neutron's notifications, as captured (tests/samples/neutron) and changed."""

import copy
import json
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.core.model import LinkState
from sriov_agent.exceptions import InvalidField
from sriov_agent.sources import payload as payloads
from sriov_agent.sources.trunk import Network

SAMPLES = Path(__file__).parents[1] / "samples" / "neutron"
HOST = "compute1"
NETWORK = "340265cf-63b7-4093-ac7c-675df9d8b6be"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def captured(name):
    return json.loads((SAMPLES / f"{name}.json").read_text())["oslo.message"]["payload"]


ADMIN = captured("port.create.end_admin")["port"]
MEMBER = captured("port.create.end_member")["port"]
FAILED = captured("port.update.end")["port"]
NET = captured("network.create.end")["network"]


def changed(entry, path, value):
    """A copy with the value at ``path`` (keys joined by ``/``) replaced; removed for ``...``."""
    entry = copy.deepcopy(entry)
    *way, last = path.split("/")
    inner = entry
    for key in way:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return entry


def test_an_administrators_view_tells_everything():
    port = payloads.read_port(ADMIN, HOST)

    assert port.bound is True
    assert port.port_id == "e55497ab-e25f-4153-9e43-cd48aa78217e"
    assert (port.revision_number, port.network_id) == (3, NETWORK)
    assert port.document == {
        "mac": "fa:16:3e:31:59:07",
        "name": "p-host",
        "link_state": LinkState.AUTO,
        "spoofchk": True,
        "vnic_type": "direct",
        "plugged_by_nova": False,
        "trust": False,
        "vlan": 150,
    }


def test_a_members_view_does_not_tell_where_the_port_is():
    port = payloads.read_port(MEMBER, HOST)

    assert port.bound is None
    assert port.document == {
        "mac": "fa:16:3e:9f:e4:1a",
        "name": "p-member",
        "link_state": LinkState.AUTO,
        "spoofchk": True,
    }


def test_what_nova_chose_is_read_from_the_profile():
    bound = changed(FAILED, "binding:vif_type", "hw_veb")
    document = payloads.read_port(bound, HOST).document
    assert document["pci_slot"] == "0000:3b:00.2"
    assert document["physical_network"] == "physnet1"
    assert "vlan" not in document


@pytest.mark.parametrize(
    "entry",
    [
        FAILED,
        changed(ADMIN, "binding:vif_type", "unbound"),
        changed(ADMIN, "binding:host_id", "compute2"),
        changed(ADMIN, "binding:host_id", "Compute1"),
        changed(ADMIN, "binding:host_id", ""),
        *(
            changed(ADMIN, "binding:vnic_type", kind)
            for kind in sorted(payloads.FOREIGN_VNIC_TYPES)
        ),
    ],
)
def test_a_port_that_is_none_of_ours_is_not_bound_here_and_nothing_else_is_read(entry):
    port = payloads.read_port(entry | {"mac_address": "any", "network_id": 5}, HOST)
    assert port.bound is False
    assert port.document == {}


@pytest.mark.parametrize(
    ("path", "value", "name", "read"),
    [
        ("admin_state_up", False, "link_state", LinkState.DISABLE),
        ("port_security_enabled", False, "spoofchk", False),
        ("port_security_enabled", None, "spoofchk", True),
        ("port_security_enabled", ..., "spoofchk", True),
        ("binding:profile", {"trusted": True}, "trust", True),
        ("binding:profile", {"trusted": "True"}, "trust", True),
        ("binding:profile", {"trusted": " yes"}, "trust", True),
        ("binding:profile", {"trusted": None}, "trust", False),
        ("trusted", None, "trust", False),
        ("binding:profile", {"trusted": "false"}, "trust", False),
        ("trusted", True, "trust", True),
        ("binding:vif_details/vlan", 4094, "vlan", 4094),
        ("binding:vif_details/vlan", "0", "vlan", 0),
        ("binding:profile", None, "trust", False),
    ],
)
def test_the_settings_of_the_vf_are_read(path, value, name, read):
    assert payloads.read_port(changed(ADMIN, path, value), HOST).document[name] == read


@pytest.mark.parametrize("path", ["binding:vif_details", "binding:vif_details/vlan"])
def test_a_vlan_that_is_not_told_comes_from_the_network(path):
    assert "vlan" not in payloads.read_port(changed(ADMIN, path, None), HOST).document


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("id", (..., None, 1, "", "p-host", ["id"])),
        ("revision_number", (None, "3", -1, 2**62, True, 1.5)),
        ("network_id", (..., None, "", "net1", {"id": NETWORK})),
        ("mac_address", (..., None, "", "ff:ff:ff:ff:ff:ff", 0, [])),
        ("name", (None, 7, ["p"], "x" * 256)),
        ("admin_state_up", (None, "true", 1)),
        ("port_security_enabled", ("true", 0, [])),
        ("binding:host_id", (7, [HOST], "h" * 256)),
        ("trusted", ("maybe", 1, [], {})),
        ("trunk_details", (None, [], "x")),
        ("binding:vif_type", (1, ["hw_veb"], {})),
        ("binding:vnic_type", (..., None, "made-up", "", 1, ["direct"], {"direct": 1})),
        ("binding:profile", ("{}", 1, [1], True)),
        ("binding:vif_details", ("{}", 1, [1], True)),
    ],
)
def test_a_field_that_is_missing_or_mistyped_is_named(path, values):
    for value in values:
        with pytest.raises(InvalidField) as caught:
            payloads.read_port(changed(ADMIN, path, value), HOST)
        assert caught.value.field == path


@pytest.mark.parametrize(
    ("path", "field", "values"),
    [
        (
            "binding:profile/trusted",
            "binding:profile.trusted",
            ("", "maybe", 1, 0, [], {}, 1.5),
        ),
        ("binding:profile/pci_slot", "binding:profile.pci_slot", (2, "", "3b:00.2", ["0"])),
        (
            "binding:profile/physical_network",
            "binding:profile.physical_network",
            (1, "", "a b", ["p"]),
        ),
        (
            "binding:vif_details/vlan",
            "binding:vif_details.vlan",
            ("", "4095", "15a", "-1", "\u0661\u0665", "9" * 5000, 4095, True, 1.5, [15]),
        ),
    ],
)
def test_a_field_within_a_field_is_named_by_its_path(path, field, values):
    for value in values:
        with pytest.raises(InvalidField) as caught:
            payloads.read_port(changed(ADMIN, path, value), HOST)
        assert caught.value.field == field


def test_one_port_or_several():
    assert payloads.ports({"port": ADMIN}) == [ADMIN]
    assert payloads.ports({"ports": [ADMIN, MEMBER]}) == [ADMIN, MEMBER]
    assert payloads.networks({"network": NET}) == [NET]
    assert payloads.networks({"networks": []}) == []


@pytest.mark.parametrize("payload", [{}, {"ports": None}, {"ports": ADMIN}, {"network": NET}])
def test_a_payload_without_a_port_is_refused(payload):
    with pytest.raises(InvalidField) as caught:
        payloads.ports(payload)
    assert caught.value.field == "port"


def test_a_deletion_names_the_port():
    deleted = captured("port.delete.end")
    assert payloads.deleted_id(deleted, "port") == "e279fed9-b80d-48c5-b156-40cb8321c395"
    for value in (None, "", 5, ["e279fed9-b80d-48c5-b156-40cb8321c395"]):
        with pytest.raises(InvalidField) as caught:
            payloads.deleted_id(deleted | {"port_id": value}, "port")
        assert caught.value.field == "port_id"


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ({}, (150, "physnet1")),
        (
            {"provider:network_type": "flat", "provider:segmentation_id": None},
            (0, "physnet1"),
        ),
        (
            {"provider:network_type": "vxlan", "provider:physical_network": None},
            (None, None),
        ),
        ({"provider:network_type": None}, (None, "physnet1")),
    ],
)
def test_a_network_tells_vlan_and_physical_network(fields, read):
    assert payloads.read_network(NET | fields) == Network(NETWORK, 1, *read)


def test_each_segment_of_a_network_has_its_vlan():
    several = [
        segment("vlan", "physnet2", 15),
        segment("vlan", "physnet1", 16),
        segment("vxlan", None, 5000),
    ]
    seen = without_provider(NET) | {"segments": several}
    found = payloads.read_network(seen)
    assert found == Network(NETWORK, 1, segments=((15, "physnet2"), (16, "physnet1")))
    assert [found.vlan_on(f"physnet{number}") for number in (1, 2, 3)] == [16, 15, None]


def segment(kind, physical_network, number):
    return {
        "provider:network_type": kind,
        "provider:physical_network": physical_network,
        "provider:segmentation_id": number,
    }


def without_provider(entry):
    return {key: value for key, value in entry.items() if not key.startswith("provider:")}


def test_contrails_plugin_tells_no_type_and_no_revision():
    """Source: its neutron_plugin_db.py, R1912."""
    told = {
        "id": NETWORK,
        "provider:physical_network": "physnet1",
        "provider:segmentation_id": 15,
        "updated_at": "2026-11-20T22:06:44.768316",
    }
    first = payloads.read_network(told)
    assert (first.vlan, first.physical_network) == (15, "physnet1")
    later = payloads.read_network(told | {"updated_at": "2026-11-20T22:06:44.768317"})
    assert later.revision_number == first.revision_number + 1

    port = {key: value for key, value in ADMIN.items() if key != "revision_number"}
    assert payloads.read_port(port, HOST).revision_number == 1795212404000000
    nowhere = port | {"binding:host_id": None, "binding:vif_type": "unbound"}
    assert payloads.read_port(nowhere, HOST).bound is False


@pytest.mark.parametrize("value", [None, "", "yesterday", 5, "2026-13-01T00:00:00"])
def test_a_time_of_change_that_is_none_is_named(value):
    entry = {key: each for key, each in ADMIN.items() if key != "revision_number"}
    with pytest.raises(InvalidField) as caught:
        payloads.identity(entry | {"updated_at": value})
    assert caught.value.field == "updated_at"


def sub_port(number, **given):
    return {
        "port_id": f"00000000-0000-4000-8000-0000000000{number}",
        "segmentation_type": "vlan",
        "segmentation_id": number,
        "mac_address": "fa:16:3e:00:00:01",
    } | given


def test_the_subports_of_a_trunk_are_read_from_anybodys_view():
    trunk = {"trunk_id": NETWORK, "sub_ports": [sub_port(16), sub_port(15)]}
    for entry in (ADMIN, MEMBER):
        found = payloads.read_port(entry | {"trunk_details": trunk}, HOST).document
        assert [vlan for _, vlan in found["sub_ports"]] == [15, 16]
    assert "sub_ports" not in payloads.read_port(ADMIN, HOST).document


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"segmentation_id": "15"}, "segmentation_id"),
        ({"segmentation_id": 0}, "segmentation_id"),
        ({"segmentation_id": 4095}, "segmentation_id"),
        ({"segmentation_id": None}, "segmentation_id"),
        ({"segmentation_type": "inherit"}, "segmentation_type"),
        ({"segmentation_type": []}, "segmentation_type"),
        ({"port_id": "x"}, "port_id"),
    ],
)
def test_a_subport_that_cannot_be_carried_is_named(given, field):
    details = {"sub_ports": [sub_port(15, **given)]}
    with pytest.raises(InvalidField) as caught:
        payloads.read_port(ADMIN | {"trunk_details": details}, HOST)
    assert caught.value.field == f"trunk_details.sub_ports.{field}"


def test_a_subport_has_no_vf_of_its_own():
    assert payloads.read_port(ADMIN | {"device_owner": "trunk:subport"}, HOST).bound is False


def test_the_vlans_of_a_trunk_may_be_in_the_profile():
    entry = changed(ADMIN, "binding:profile", {"trunk": {"vlans": [16, 15, 16]}})
    assert payloads.read_port(entry, HOST).document["trunk_vlans"] == [15, 16]
    with pytest.raises(InvalidField) as caught:
        payloads.read_port(entry | {"trunk_details": {"sub_ports": []}}, HOST)
    assert caught.value.field == "binding:profile.trunk"
    for bad in ([], {}, {"vlans": []}, {"vlans": "15"}, {"vlans": [0]}, {"vlans": [True]}):
        with pytest.raises(InvalidField) as caught:
            payloads.read_port(changed(ADMIN, "binding:profile", {"trunk": bad}), HOST)
        assert caught.value.field.startswith("binding:profile.trunk")


def test_a_member_may_not_see_where_a_network_is():
    seen = {key: value for key, value in NET.items() if not key.startswith("provider:")}
    assert payloads.read_network(seen) is None


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("id", (..., None, "net1", [])),
        ("revision_number", ("1", -1)),
        ("provider:segmentation_id", (..., None, "150", 4095, True, [150])),
        ("provider:physical_network", (1, "", "a b", ["physnet1"])),
    ],
)
def test_a_field_of_a_network_that_is_missing_or_mistyped_is_named(path, values):
    for value in values:
        with pytest.raises(InvalidField) as caught:
            payloads.read_network(changed(NET, path, value))
        assert caught.value.field == path


READERS = [
    payloads.ports,
    payloads.networks,
    partial(payloads.deleted_id, kind="port"),
    payloads.identity,
    partial(payloads.read_port, host=HOST),
    payloads.read_network,
]


@given(st.sampled_from(READERS), JSON)
def test_any_json_is_read_or_refused_by_name(read, value):
    try:
        read(value)
    except InvalidField as error:
        refused = error
    else:
        return
    assert refused.field
    assert str(refused).isprintable()


@given(st.data())
def test_a_captured_port_with_anything_anywhere_is_read_or_refused_by_name(data):
    entry = copy.deepcopy(data.draw(st.sampled_from([ADMIN, MEMBER, FAILED])))
    for _ in range(data.draw(st.integers(1, 3))):
        inner = entry
        key = data.draw(st.sampled_from([*sorted(entry), "trusted", "trunk_details"]))
        if isinstance(entry.get(key), dict) and entry[key] and data.draw(st.booleans()):
            inner = entry[key]
            key = data.draw(st.sampled_from([*sorted(inner), "trusted", "trunk"]))
        inner[key] = data.draw(JSON)
    try:
        port = payloads.read_port(entry, HOST)
    except InvalidField as error:
        refused = error
    else:
        assert port.bound in (True, False, None)
        assert json.loads(json.dumps(port.document)) == port.document
        return
    assert refused.field.partition(".")[0] in {*ADMIN, *MEMBER, "trusted", "trunk_details"}


@given(st.sampled_from([*sorted(NET), "segments"]), JSON)
def test_a_captured_network_with_anything_anywhere_is_read_or_refused_by_name(key, value):
    try:
        payloads.read_network(NET | {key: value})
    except InvalidField as error:
        refused = error
    else:
        return
    assert refused.field.partition(".")[0] == key
