# SPDX-License-Identifier: Apache-2.0
"""The fake Contrail against what was measured of the real one, over HTTP.

Each test is a sentence of the reference. Where the releases differ it is asked of both.
"""

import json
import re
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest
import requests

from tests.fakes.contrail import (
    ConfigApi,
    Fabric,
    Flavour,
    Interface,
    Keystone,
    Network,
    Refused,
    Switch,
    Topology,
    User,
    Vlan,
)

GLOBAL = "default-global-system-config"
VN1, VN2, VN3 = (str(uuid.uuid5(uuid.NAMESPACE_DNS, name)) for name in ("vn1", "vn2", "vn3"))
NETWORKS = {VN1: "vn1", VN2: "vn2", VN3: "vn3"}
A, B = "xe-0/0/1", "xe-0/0/2"
REFERENCE_UUID = "f8f8452a-b765-5ac0-82e6-4dbe512d8e60"
JSON = {"Content-Type": "application/json"}
STYLES = {"service-provider": None, "enterprise": True}


def topology(style="service-provider", unchecked=None):
    ports = (
        Interface(A, "531", ("00:11:22:33:44:01",)),
        Interface(B, "532"),
        Interface("xe-0/0/3", "533"),
        Interface("et-0/0/48:0", "600"),
    )
    return Topology(
        fabrics=(Fabric("fab1", STYLES[style], unchecked),),
        switches=(
            Switch("leaf1", "fab1", ports, "leaf1.example", "192.0.2.1", "00:11:22:33:44:55"),
            Switch("leaf2", "fab1", ports),
        ),
        projects=("admin", ("tenant1", "1c7f2c3a-0b7e-4c43-9d0c-6f1a2b3c4d5e")),
        networks=tuple(Network(name, "tenant1", id_) for id_, name in NETWORKS.items()),
    )


class Client:
    """Requests to one API, and the bodies that an agent would send."""

    def __init__(self, api):
        self.api = api
        self.session = requests.Session()

    def call(self, method, path, **options):
        return self.session.request(method, self.api.url + path, timeout=10, **options)

    def get(self, path, **query):
        return self.call("GET", path, params=query)

    def one(self, type_, id_, **query):
        return self.get(f"/{type_}/{id_}", **query).json()[type_]

    def post(self, path, body, **options):
        return self.call("POST", path, json=body, **options)

    def put(self, type_, id_, body):
        return self.call("PUT", f"/{type_}/{id_}", json={type_: body})

    def delete(self, type_, id_):
        return self.call("DELETE", f"/{type_}/{id_}")

    def vpg(self, name, fabric="fab1", **fields):
        fq_name = [GLOBAL, fabric, name]
        body = {"fq_name": fq_name, "parent_type": "fabric", **fields}
        return self.post("/virtual-port-groups", {"virtual-port-group": body})

    def new_vpg(self, name, **fields):
        answer = self.vpg(name, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["virtual-port-group"]["uuid"]

    def vmi(self, **wanted):
        return self.post(
            "/virtual-machine-interfaces", {"virtual-machine-interface": vmi(**wanted)}
        )

    def new_vmi(self, **wanted):
        answer = self.vmi(**wanted)
        assert answer.status_code == 200, answer.text
        return answer.json()["virtual-machine-interface"]["uuid"]

    def members(self, vpg):
        refs = self.one("virtual-port-group", vpg).get("physical_interface_refs", [])
        return {tuple(ref["to"][1:]): ref["attr"] for ref in refs}


def link(port=A, switch="leaf1", fabric="fab1"):
    found = {"switch_info": switch, "port_id": port, "switch_id": "any", "fabric": fabric}
    return {name: value for name, value in found.items() if value is not None}


def pairs(**values):
    return {
        "key_value_pair": [
            {"key": key, "value": value} for key, value in values.items() if value is not None
        ]
    }


def vmi(vn=VN1, vlan=None, native=None, vpg="A", links=None, project="admin", **fields):
    """The body of the reference; a port group has the interface of its own name, if any."""
    links = links if links is not None else [link({"A": A, "B": B}.get(vpg, A))]
    bindings = pairs(
        vnic_type="baremetal",
        vif_type="vrouter",
        vpg=vpg,
        profile=json.dumps({"local_link_information": links}),
        tor_port_vlan_id=native,
    )
    body = {
        "fq_name": ["default-domain", project, f"sriov_{uuid.uuid4()}"],
        "parent_type": "project",
        "virtual_network_refs": [
            {"to": ["default-domain", "tenant1", NETWORKS.get(vn, "none")], "uuid": vn}
        ],
        "virtual_machine_interface_bindings": bindings,
    }
    if vlan is not None:
        body["virtual_machine_interface_properties"] = {"sub_interface_vlan_tag": vlan}
    body.update(fields)
    return {name: value for name, value in body.items() if value is not ...}


def client_of(flavour, style="service-provider", unchecked=None, **options):
    api = ConfigApi(flavour, **options)
    api.load(topology(style, unchecked))
    return Client(api)


@pytest.fixture(params=list(Flavour), ids=lambda flavour: flavour.value)
def flavour(request):
    return request.param


@pytest.fixture
def client(flavour):
    client = client_of(flavour)
    with client.api:
        yield client


@pytest.fixture(params=list(STYLES))
def styled(request, flavour):
    client = client_of(flavour, request.param)
    client.style = request.param
    with client.api:
        client.new_vpg("A")
        client.new_vpg("B")
        yield client


def is_plain(answer, text=""):
    return answer.headers["Content-Type"].startswith("text/html") and text in answer.text


# --- the validation matrix ---

MATRIX = {
    "VN1/100 on VPG-A again": ({"vn": VN1, "vlan": 100}, 400, 400),
    "VN1/101 on VPG-A": ({"vn": VN1, "vlan": 101}, 200, 400),
    "VN2/100 on VPG-A": ({"vn": VN2, "vlan": 100}, 200, 400),
    "VN2/200 on VPG-A": ({"vn": VN2, "vlan": 200}, 200, 200),
    "VN3 native 300 on VPG-A": ({"vn": VN3, "native": "300"}, 200, 200),
    "VN1/100 on another port": ({"vn": VN1, "vlan": 100, "vpg": "B"}, 200, 200),
    "VN1/102 on another port": ({"vn": VN1, "vlan": 102, "vpg": "B"}, 200, 400),
    "VN3/100 on another port": ({"vn": VN3, "vlan": 100, "vpg": "B"}, 200, 400),
    "a port of another VPG": ({"vn": VN2, "vlan": 200, "vpg": "B", "links": [link(A)]}, 400, 400),
    "a VPG that is not there": (
        {"vn": VN2, "vlan": 200, "vpg": "none", "links": [link(B)]},
        404,
        404,
    ),
}


@pytest.mark.parametrize("row", MATRIX.values(), ids=MATRIX)
def test_the_second_request(styled, row):
    second, service_provider, enterprise = row
    styled.new_vmi(vn=VN1, vlan=100)
    before = styled.api.snapshot()
    answer = styled.vmi(**second)
    assert answer.status_code == (enterprise if styled.style == "enterprise" else service_provider)
    if answer.status_code != 200:
        assert is_plain(answer)
        assert styled.api.snapshot() == before


@pytest.mark.parametrize("second", [{"vn": VN2, "native": "301"}, {"vn": VN3, "native": "300"}])
def test_one_native_vlan_on_a_port_group(styled, second):
    styled.new_vmi(vn=VN3, native="300")
    assert styled.vmi(**second).status_code == 400


def test_the_native_vlan_of_a_network_in_the_fabric(styled):
    """R2011 has the rule of one VLAN for a network in the fabric for untagged ones too."""
    styled.new_vmi(vn=VN3, native="300")
    strict = styled.style == "enterprise" and styled.api.flavour is Flavour.R2011
    assert styled.vmi(vn=VN3, native="103", vpg="B").status_code == (400 if strict else 200)


@pytest.mark.parametrize("style", STYLES)
def test_the_switch_that_ends_the_checks_counts_on_master_alone(flavour, style):
    client = client_of(flavour, style, unchecked=True)
    with client.api:
        client.new_vpg("A")
        client.new_vmi(vn=VN1, vlan=100)
        expected = 200 if flavour is Flavour.MASTER else 400
        assert client.vmi(vn=VN1, vlan=100).status_code == expected


def test_master_forgets_a_vlan_of_the_fabric_that_another_still_has(styled):
    styled.new_vmi(vn=VN1, vlan=100)
    gone = styled.new_vmi(vn=VN1, vlan=100, vpg="B")
    assert styled.delete("virtual-machine-interface", gone).status_code == 200
    strict = styled.style == "enterprise" and styled.api.flavour is Flavour.R2011
    assert styled.vmi(vn=VN1, vlan=101, vpg="B").status_code == (400 if strict else 200)


def test_a_vlan_is_free_again_after_its_interface(styled):
    for wanted in ({"vlan": 100}, {"native": "300"}):
        first = styled.new_vmi(**wanted)
        assert styled.vmi(**wanted).status_code == 400
        styled.delete("virtual-machine-interface", first)
        styled.delete("virtual-machine-interface", styled.new_vmi(**wanted))


def test_r2011_keeps_what_is_taken_in_the_annotations(styled):
    vpg = styled.api.uuid("virtual-port-group", GLOBAL, "fab1", "A")

    def keys():
        annotations = styled.one("virtual-port-group", vpg).get("annotations", {})
        return {pair["key"] for pair in annotations.get("key_value_pair", ())}

    styled.api.update("virtual-port-group", vpg, {"annotations": pairs(host="compute-1")})
    one = styled.new_vmi(vn=VN1, vlan=100)
    style = styled.style.replace("-", "")
    taken = {f"validation:{style}/vn:{VN1}/vlan_id:100"}
    assert keys() == {"host"} | (taken if styled.api.flavour is Flavour.R2011 else set())
    styled.delete("virtual-machine-interface", one)
    assert keys() == {"host"}


@pytest.mark.parametrize(
    ("vlan", "status"), [(1, 200), (4094, 200), (0, 200), ("100", 200), (4095, 400), (-1, 400)]
)
def test_bounds_of_the_vlan(styled, vlan, status):
    answer = styled.vmi(vlan=vlan)
    assert answer.status_code == status
    if status == 400:
        assert is_plain(answer, "Invalid sub-interface VLAN tag ID")


def test_a_numeric_string_becomes_a_number(client):
    client.new_vpg("A")
    one = client.one("virtual-machine-interface", client.new_vmi(vlan="100"))
    assert one["virtual_machine_interface_properties"] == {"sub_interface_vlan_tag": 100}


# --- PUT ---


@pytest.fixture
def putting(styled):
    """An interface with VN1/100 on A; ``change`` sends a PUT."""
    fields = vmi(vn=VN1, vlan=100, uuid=REFERENCE_UUID)
    styled.post("/virtual-machine-interfaces", {"virtual-machine-interface": fields})

    def change(**body):
        return styled.put("virtual-machine-interface", REFERENCE_UUID, body).status_code

    styled.change = change
    styled.bindings = fields["virtual_machine_interface_bindings"]
    styled.strict = styled.style != "enterprise" and styled.api.flavour is Flavour.MASTER
    return styled


def tag(vlan):
    return {"sub_interface_vlan_tag": vlan}


def assert_the_attribute_is_old(client):
    """The reference from the interface to the port group has it, where there is one."""
    one = client.one("virtual-machine-interface", REFERENCE_UUID)
    attrs = [ref["attr"] for ref in one.get("virtual_port_group_refs", ())]
    assert attrs == ([{"vlan_tag": 100}] if client.api.flavour is Flavour.MASTER else [])


def test_an_identical_put(putting):
    status = putting.change(
        virtual_machine_interface_properties=tag(100),
        virtual_machine_interface_bindings=putting.bindings,
    )
    assert status == (400 if putting.strict else 200)


def test_a_put_of_the_vlan_alone_is_not_checked(putting):
    putting.new_vmi(vn=VN2, vlan=101)
    assert putting.change(virtual_machine_interface_properties=tag(101)) == 200
    assert_the_attribute_is_old(putting)


def test_a_put_of_the_vlan_with_bindings_never_refreshes_the_attribute(putting):
    changes = {
        "virtual_machine_interface_properties": tag(101),
        "virtual_machine_interface_bindings": putting.bindings,
    }
    assert putting.change(**changes) == 200
    assert_the_attribute_is_old(putting)
    assert putting.vmi(vn=VN1, vlan=100).status_code == (
        400 if putting.strict or putting.style == "enterprise" else 200
    )


@pytest.mark.parametrize("changes", [{}, {"virtual_machine_interface_properties": tag(100)}])
def test_a_put_of_another_port(putting, changes):
    bindings = vmi(links=[link(B)])["virtual_machine_interface_bindings"]
    status = putting.change(virtual_machine_interface_bindings=bindings, **changes)
    assert status == (400 if putting.strict else 200)
    vpg = putting.api.uuid("virtual-port-group", GLOBAL, "fab1", "A")
    assert putting.members(vpg).keys() == {("leaf1", A if putting.strict else B)}


def test_a_put_of_another_network_is_not_checked(putting):
    refs = [{"to": ["default-domain", "tenant1", "vn2"]}]
    assert putting.change(virtual_network_refs=refs) == 200


def test_a_put_to_what_is_not_there(client):
    missing = str(uuid.uuid4())
    assert client.put("virtual-machine-interface", missing, {}).status_code == 404


# --- creating a VMI ---


def test_the_request_of_the_reference(client):
    vpg = client.new_vpg("sriov_leaf1_xe-0/0/1")
    body = vmi(
        vlan=100,
        vpg="sriov_leaf1_xe-0/0/1",
        uuid=REFERENCE_UUID,
        id_perms={"enable": True, "user_visible": True, "creator": "sriov-agent"},
        annotations=pairs(host="compute-1"),
    )
    answer = client.post("/virtual-machine-interfaces", {"virtual-machine-interface": body})
    assert answer.status_code == 200
    (created,) = answer.json().values()
    admin = client.api.uuid("project", "default-domain", "admin")
    assert created == {
        "uuid": REFERENCE_UUID,
        "fq_name": body["fq_name"],
        "name": body["fq_name"][-1],
        "href": f"{client.api.url}/virtual-machine-interface/{REFERENCE_UUID}",
        "parent_type": "project",
        "parent_uuid": admin,
        "parent_href": f"{client.api.url}/project/{admin}",
    }
    one = client.one("virtual-machine-interface", REFERENCE_UUID)
    assert one["virtual_machine_interface_mac_addresses"] == {"mac_address": ["02:f8:f8:45:2a:b7"]}
    assert one["display_name"] == body["fq_name"][-1]
    assert one["perms2"] == {
        "owner": "cloud-admin",
        "owner_access": 7,
        "global_access": 0,
        "share": [],
    }
    assert one["id_perms"]["creator"] == "sriov-agent"
    assert one["annotations"] == pairs(host="compute-1")
    assert one["routing_instance_refs"][0]["to"] == ["default-domain", "tenant1", "vn1", "vn1"]
    assert [ref["uuid"] for ref in one["virtual_port_group_back_refs"]] == [vpg]
    if client.api.flavour is Flavour.MASTER:
        assert one["virtual_port_group_refs"][0]["attr"] == {"vlan_tag": 100}
    else:
        assert "virtual_port_group_refs" not in one
    group = client.one("virtual-port-group", vpg)
    assert [ref["uuid"] for ref in group["virtual_machine_interface_refs"]] == [REFERENCE_UUID]
    assert client.members(vpg) == {("leaf1", A): None}
    port = client.api.uuid("physical-interface", GLOBAL, "leaf1", A)
    port = client.one("physical-interface", port)
    assert [ref["uuid"] for ref in port["virtual_port_group_back_refs"]] == [vpg]
    assert port["physical_interface_type"] == "access"
    network = client.one("virtual-network", VN1)
    assert network["virtual_machine_interface_back_refs"][0]["uuid"] == REFERENCE_UUID


def test_the_binding_for_untagged_wins_over_the_tag(client):
    client.new_vpg("A")
    one = client.one("virtual-machine-interface", client.new_vmi(vlan=100, native="300"))
    if client.api.flavour is Flavour.MASTER:
        assert one["virtual_port_group_refs"][0]["attr"] == {"native_vlan_tag": "300"}
    assert client.api.open_vlans("leaf1", A) == [
        Vlan(300, False, "default-domain:tenant1:vn1", one["uuid"])
    ]


def test_without_a_vlan_it_is_accepted_and_becomes_4094(client):
    client.new_vpg("A")
    client.new_vmi()
    assert [vlan.id for vlan in client.api.open_vlans("leaf1", A)] == [4094]


@pytest.mark.parametrize("kind", ["direct", "Baremetal", None])
def test_only_baremetal_is_associated(client, kind):
    vpg = client.new_vpg("A")
    bindings = vmi()["virtual_machine_interface_bindings"]
    bindings["key_value_pair"][0]["value"] = kind
    if kind is None:
        del bindings["key_value_pair"][0]
    client.new_vmi(vlan=100, virtual_machine_interface_bindings=bindings)
    assert client.members(vpg) == {}
    assert "virtual_machine_interface_refs" not in client.one("virtual-port-group", vpg)


def with_binding(**values):
    pairs_ = vmi(vlan=100)["virtual_machine_interface_bindings"]["key_value_pair"]
    changed = {pair["key"]: pair["value"] for pair in pairs_} | values
    return {"virtual_machine_interface_bindings": pairs(**changed)}


REFUSED = {
    "a binding that is a number": (with_binding(tor_port_vlan_id=400), 400),
    "a profile that is no string": (with_binding(profile={"local_link_information": []}), 400),
    "a profile that is no JSON": (with_binding(profile="no JSON"), 500),
    "a link without port_id": ({"links": [{"switch_info": "leaf1", "fabric": "fab1"}]}, 500),
    "a link without switch_info": ({"links": [{"port_id": A, "fabric": "fab1"}]}, 500),
    "a port that is not there": ({"links": [link("xe-0/0/9")]}, 404),
    "a switch that is not there": ({"links": [link(switch="leaf9")]}, 404),
    "a port by its display name": ({"links": [link("et-0/0/48:0")]}, 404),
    "a link without fabric": ({"links": [link(fabric=None)]}, 404),
    "links in two fabrics": ({"links": [link(), link(B, fabric="fab2")]}, 400),
    "an unknown fabric": ({"vpg": None, "links": [link(fabric="fab9")]}, 500),
    "an unknown network": ({"vn": str(uuid.uuid4())}, 400),
    "a network by uuid alone": ({"virtual_network_refs": [{"uuid": VN1}]}, 500),
    "no network": ({"virtual_network_refs": ...}, 500),
    "an unknown project": ({"project": "none"}, 404),
    "no parent_type": ({"parent_type": ...}, 400),
    "no fq_name": ({"fq_name": ...}, 400),
    "a colon in the name": ({"fq_name": ["default-domain", "admin", "a:b"]}, 400),
    "a uuid that is none": ({"uuid": "none"}, 500),
    "nulls": ({"perms2": None, "security_group_refs": None}, 500),
    "an unknown field in a structure": (
        {"virtual_machine_interface_properties": {"vlan": 100}},
        400,
    ),
}


@pytest.mark.parametrize(("wanted", "status"), REFUSED.values(), ids=REFUSED)
def test_refused(client, wanted, status):
    client.new_vpg("A")
    before = client.api.snapshot()
    answer = client.vmi(**{"vlan": 100, **wanted})
    assert answer.status_code == status
    assert is_plain(answer)
    assert client.api.snapshot() == before


@pytest.mark.parametrize(
    "wanted",
    [
        {"links": [link("et-0/0/48_0")]},
        {"no_such_field": {"a": None}},
        {"fq_name": ["default-domain", "admin", "a b/c_d#" + "e" * 300]},
        {"uuid": str(uuid.uuid3(uuid.NAMESPACE_DNS, "x"))},
        {"uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, "x"))},
        {"virtual_network_refs": [{"to": ["default-domain", "tenant1", "vn1"]}]},
        {"project": "tenant1"},
    ],
    ids=["exact name", "unknown field", "odd name", "uuid3", "uuid5", "no uuid", "project"],
)
def test_accepted(client, wanted):
    client.new_vpg("A")
    client.new_vmi(vlan=100, **wanted)


def test_the_owner_is_the_project_without_dashes(client):
    client.new_vpg("A")
    one = client.one("virtual-machine-interface", client.new_vmi(vlan=100, project="tenant1"))
    assert one["perms2"]["owner"] == "1c7f2c3a0b7e4c439d0c6f1a2b3c4d5e"


def test_a_name_or_a_uuid_that_is_taken(client):
    client.new_vpg("A")
    body = vmi(vlan=100, uuid=REFERENCE_UUID)
    path = "/virtual-machine-interfaces"
    assert client.post(path, {"virtual-machine-interface": body}).status_code == 200
    answer = client.post(path, {"virtual-machine-interface": body})
    assert answer.status_code == 409
    assert is_plain(answer, f"already exists with uuid: {REFERENCE_UUID}")
    answer = client.vmi(vlan=101, uuid=REFERENCE_UUID)
    assert answer.status_code == 409
    assert is_plain(answer, f"{REFERENCE_UUID} already exists with fq_name:")


# --- port groups ---


def test_port_groups_that_are_refused(client):
    port = {"to": [GLOBAL, "leaf1", A]}
    assert client.vpg("my-vpg-internal-1").status_code == 400
    assert client.vpg("a:b").status_code == 400
    assert client.vpg("A", fabric="none").status_code == 404
    assert client.vpg("A", parent_type="device").status_code == 400
    assert client.vpg("A", virtual_port_group_type="other").status_code == 400
    answer = client.vpg("A", physical_interface_refs=[port])
    assert answer.status_code == 400
    assert is_plain(answer, "'attr'")
    answer = client.vpg("A", physical_interface_refs=[port | {"attr": None}])
    assert answer.status_code == 400
    assert is_plain(answer, "API Infra do not support allocating AE-ID")


def test_the_members_become_those_of_the_profile(client):
    vpg = client.new_vpg("A")
    client.new_vmi(vn=VN1, vlan=100, links=[link(A), link(B), link(A, "leaf2")])
    assert client.members(vpg) == {
        ("leaf1", A): {"ae_num": 0},
        ("leaf1", B): {"ae_num": 0},
        ("leaf2", A): {"ae_num": 0},
    }
    client.new_vmi(vn=VN2, vlan=200, links=[link(B)])
    assert client.members(vpg) == {("leaf1", B): None}
    assert client.api.open_vlans("leaf1", A) == []
    freed = client.api.uuid("physical-interface", GLOBAL, "leaf1", A)
    assert "physical_interface_type" not in client.one("physical-interface", freed)


def test_an_aggregate_has_a_number_of_its_own_on_each_switch(client):
    for name, vlan, ports in (("A", 100, (A, B)), ("B", 200, ("xe-0/0/3", "et-0/0/48_0"))):
        client.new_vpg(name)
        client.new_vmi(vlan=vlan, vpg=name, links=[link(port) for port in ports])
    second = client.api.uuid("virtual-port-group", GLOBAL, "fab1", "B")
    assert set(map(str, client.members(second).values())) == {"{'ae_num': 1}"}


def test_independent_ports_have_port_groups_of_their_own(styled):
    styled.new_vmi(vlan=100)
    styled.new_vmi(vlan=100, vpg="B")
    for port in (A, B):
        assert [(v.id, v.tagged) for v in styled.api.open_vlans("leaf1", port)] == [(100, True)]


def test_an_internal_port_group_serves_one_vlan(client):
    first = client.new_vmi(vlan=100, vpg=None)
    (vpg,) = client.api.objects("virtual-port-group")
    assert re.fullmatch(r"vpg-internal-\d+", vpg["name"])
    assert vpg["virtual_port_group_user_created"] is False
    answer = client.vmi(vn=VN2, vlan=200, vpg=None)
    assert answer.status_code == 400
    assert is_plain(answer, "already belong to the vpg")
    client.delete("virtual-machine-interface", first)
    assert client.api.objects("virtual-port-group") == []


def test_an_internal_port_group_lands_in_the_default_fabric_unless_told(client):
    client.new_vmi(vlan=100, vpg=None, links=[link(fabric=None)])
    (vpg,) = client.api.objects("virtual-port-group")
    assert vpg["fq_name"][1] == "default-fabric"


def test_a_refusal_leaves_no_internal_port_group(client):
    client.api.set_quota("tenant1", "virtual-machine-interface", 0)
    answer = client.vmi(vlan=100, vpg=None, project="tenant1")
    assert answer.status_code == 412
    assert answer.text.startswith("<!DOCTYPE HTML")
    assert client.api.objects("virtual-port-group") == []


@pytest.mark.parametrize(("user_created", "kept"), [(None, True), (True, True), (False, False)])
def test_only_what_no_user_made_goes_with_its_last_interface(client, user_created, kept):
    fields = {} if user_created is None else {"virtual_port_group_user_created": user_created}
    vpg = client.new_vpg("A", **fields)
    interfaces = [client.new_vmi(vn=VN1, vlan=100), client.new_vmi(vn=VN2, vlan=200)]
    for one in interfaces:
        assert client.get(f"/virtual-port-group/{vpg}").ok
        assert client.delete("virtual-machine-interface", one).status_code == 200
    assert client.get(f"/virtual-port-group/{vpg}").ok == kept


def test_delete_in_use(client):
    vpg = client.new_vpg("A")
    one = client.new_vmi(vlan=100)
    in_use = 409 if client.api.flavour is Flavour.MASTER else 400
    assert client.delete("virtual-port-group", vpg).status_code == in_use
    answer = client.delete("virtual-network", VN1)
    assert answer.status_code == 409
    assert is_plain(answer, f"Delete when resource still referred: ['{client.api.url}/virtual-mac")
    answer = client.delete("virtual-machine-interface", one)
    assert (answer.status_code, answer.text) == (200, "")
    assert client.delete("virtual-machine-interface", one).status_code == 404
    assert client.members(vpg).keys() == {("leaf1", A)}
    assert client.delete("virtual-port-group", vpg).status_code == 200
    port = client.api.uuid("physical-interface", GLOBAL, "leaf1", A)
    assert "physical_interface_type" not in client.one("physical-interface", port)
    assert client.delete("virtual-network", VN1).status_code == 200


def test_a_physical_interface_may_go_while_in_a_port_group(client):
    vpg = client.new_vpg("A")
    client.new_vmi(vlan=100)
    port = client.api.uuid("physical-interface", GLOBAL, "leaf1", A)
    assert client.delete("physical-interface", port).status_code == 200
    assert client.members(vpg) == {}


def test_a_parent_with_children_stays(client):
    leaf1 = client.api.uuid("physical-router", GLOBAL, "leaf1")
    answer = client.delete("physical-router", leaf1)
    assert answer.status_code == 409
    assert is_plain(answer, "Delete when children still present")


# --- /ref-update ---


def ref_update(client, vpg, kind, to, operation="ADD", **more):
    body = {"type": "virtual-port-group", "uuid": vpg, "ref-type": kind, "ref-uuid": to}
    return client.post("/ref-update", {**body, "operation": operation, **more})


def test_the_path_without_bindings_is_not_checked(styled):
    vpg = styled.api.uuid("virtual-port-group", GLOBAL, "fab1", "A")
    port = styled.api.uuid("physical-interface", GLOBAL, "leaf1", A)
    for _ in range(2):
        answer = ref_update(styled, vpg, "physical-interface", port)
        assert (answer.status_code, answer.json()) == (200, {"uuid": vpg})
    assert styled.members(vpg) == {("leaf1", A): None}
    for _ in range(2):
        one = styled.new_vmi(vlan=100, virtual_machine_interface_bindings=...)
        assert ref_update(styled, vpg, "virtual-machine-interface", one).status_code == 200
    assert [vlan.id for vlan in styled.api.open_vlans("leaf1", A)] == [100, 100]
    assert styled.delete("virtual-machine-interface", one).status_code == 409
    for _ in range(2):
        answer = ref_update(styled, vpg, "virtual-machine-interface", one, "DELETE")
        assert answer.status_code == 200
    assert styled.delete("virtual-machine-interface", one).status_code == 200


def test_ref_update_refuses(styled):
    styled.new_vmi(vlan=100)
    vpg = styled.api.uuid("virtual-port-group", GLOBAL, "fab1", "B")
    port = styled.api.uuid("physical-interface", GLOBAL, "leaf1", A)
    missing = str(uuid.uuid4())
    assert ref_update(styled, vpg, "physical-interface", port).status_code == 400
    assert ref_update(styled, vpg, "physical-interface", missing).status_code == 404
    assert ref_update(styled, missing, "physical-interface", port).status_code == 404
    assert ref_update(styled, vpg, "physical-interface", None).status_code == 400
    assert ref_update(styled, vpg, "physical-interface", port, "MOVE").status_code == 400
    assert ref_update(styled, vpg, "none", port).status_code == 404


# --- transport ---


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    ("headers", "data"),
    [({"Content-Type": None}, '{"virtual-port-group": {}}'), (JSON, "{no JSON"), (JSON, "[]")],
    ids=["no Content-Type", "malformed", "a list"],
)
def test_a_body_that_is_not_understood_is_500(client, method, headers, data):
    path = "/virtual-port-groups" if method == "POST" else f"/virtual-port-group/{uuid.uuid4()}"
    answer = client.call(method, path, data=data, headers=headers)
    assert answer.status_code == 500
    assert is_plain(answer)


def test_without_content_type_nothing_is_made(client):
    data = json.dumps(
        {"virtual-port-group": {"fq_name": [GLOBAL, "fab1", "A"], "parent_type": "fabric"}}
    )
    assert client.call("POST", "/virtual-port-groups", data=data).status_code == 500
    assert client.api.objects("virtual-port-group") == []


def test_what_is_not_there(client):
    for path in (
        "/none",
        "/nones",
        "/virtual-network",
        f"/virtual-network/{uuid.uuid4()}",
        f"/virtual-machine-interface/{VN1}",
        "/virtual-network/no-uuid",
    ):
        assert client.get(path).status_code == 404, path
    assert client.delete("virtual-network", str(uuid.uuid4())).status_code == 404


def test_liveness_and_mode(client):
    answer = client.get("/")
    assert answer.status_code == 200
    links = {one["link"]["name"]: one["link"] for one in answer.json()["links"]}
    assert links["virtual-machine-interface"]["href"].startswith(client.api.url)
    assert client.get("/aaa-mode").json() == {"aaa-mode": "no-auth"}


# --- reading ---


def test_fields_and_exclusions(client):
    vpg = client.new_vpg("A")
    client.new_vmi(vlan=100)
    port = client.api.uuid("physical-interface", GLOBAL, "leaf1", A)
    one = client.one("physical-interface", port, fields="virtual_port_group_back_refs")
    assert one["virtual_port_group_back_refs"][0]["to"] == [GLOBAL, "fab1", "A"]
    assert one["virtual_port_group_back_refs"][0]["uuid"] == vpg
    assert "physical_interface_port_id" not in one
    free = client.api.uuid("physical-interface", GLOBAL, "leaf1", B)
    one = client.one("physical-interface", free, fields="virtual_port_group_back_refs")
    assert "virtual_port_group_back_refs" not in one

    whole = client.one("virtual-network", VN1)
    assert whole["virtual_machine_interface_back_refs"][0]["href"]
    less = client.one(
        "virtual-network", VN1, exclude_back_refs="x", exclude_children="", exclude_hrefs="true"
    )
    assert "virtual_machine_interface_back_refs" not in less
    assert not [name for name in less if name.endswith("href")]
    leaf1 = client.api.uuid("physical-router", GLOBAL, "leaf1")
    assert len(client.one("physical-router", leaf1)["physical_interfaces"]) == 4
    assert "physical_interfaces" not in client.one("physical-router", leaf1, exclude_children="")


def names(answer, key):
    assert answer.status_code == 200, answer.text
    return sorted(one["fq_name"][-1] for one in answer.json()[key])


def test_lists(client):
    answer = client.get("/physical-routers")
    assert names(answer, "physical-routers") == ["leaf1", "leaf2"]
    assert set(answer.json()["physical-routers"][0]) == {"uuid", "fq_name", "href"}
    fields = "physical_router_hostname,fabric_refs"
    (leaf1, _) = client.get("/physical-routers", fields=fields).json()["physical-routers"]
    assert leaf1["physical_router_hostname"] == "leaf1.example"
    assert leaf1["fabric_refs"][0]["to"][-1] == "fab1"
    (leaf1, _) = client.get("/physical-routers", detail="true").json()["physical-routers"]
    assert leaf1["physical-router"]["physical_router_management_ip"] == "192.0.2.1"
    chassis = leaf1["physical-router"]["device_chassis_refs"]
    assert chassis[0]["to"] == ["juniper_00_11_22_33_44_55"]
    counted = client.get("/physical-routers", count="true").json()
    assert counted == {"physical-routers": {"count": 2}}
    asked = f"{GLOBAL}:leaf1,{GLOBAL}:none"
    assert names(client.get("/physical-routers", fq_names=asked), "physical-routers") == ["leaf1"]
    assert names(client.get("/physical-routers", fq_names="none"), "physical-routers") == []
    answer = client.get("/virtual-networks", obj_uuids=f"{VN1},{VN2},{uuid.uuid4()}")
    assert names(answer, "virtual-networks") == ["vn1", "vn2"]
    answer = client.get("/virtual-networks", ref_uuids=VN1)
    assert names(answer, "virtual-networks") == ["vn1", "vn2", "vn3"]
    answer = client.get("/virtual-networks", parent_fq_name_str="default-domain:tenant1")
    assert len(names(answer, "virtual-networks")) == 3
    answer = client.get("/virtual-networks", parent_fq_name_str="default-domain:admin")
    assert names(answer, "virtual-networks") == []


LEAF1 = f"{GLOBAL}:leaf1"


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ('display_name=="et-0/0/48:0"', ["et-0/0/48_0"]),
        ('physical_interface_port_id=="532"', [B]),
        ("physical_interface_port_id==532", []),
        ('physical_interface_port_id=="531",physical_interface_port_id=="532"', [A, B]),
        ('physical_interface_port_id=="532",display_name=="xe-0/0/1"', []),
        ('no_such_key=="x"', ["et-0/0/48_0", A, B, "xe-0/0/3"]),
        ('id_perms.creator=="x"', ["et-0/0/48_0", A, B, "xe-0/0/3"]),
        ('fq_name=="x"', ["et-0/0/48_0", A, B, "xe-0/0/3"]),
    ],
)
def test_filters(client, filters, found):
    answer = client.get("/physical-interfaces", parent_fq_name_str=LEAF1, filters=filters)
    assert names(answer, "physical-interfaces") == found


def test_a_filter_without_a_value_is_refused(client):
    assert client.get("/physical-interfaces", filters="display_name").status_code == 400


def test_back_ref_id(client):
    vpg = client.new_vpg("A")
    one = client.new_vmi(vn=VN1, vlan=100)
    client.new_vmi(vn=VN2, vlan=200, vpg="B", virtual_machine_interface_bindings=...)

    def found(anchor):
        listed = client.get("/virtual-machine-interfaces", back_ref_id=anchor).json()
        return [item["uuid"] for item in listed["virtual-machine-interfaces"]]

    assert found(VN1) == [one]
    assert found(vpg) == ([one] if client.api.flavour is Flavour.MASTER else [])


def test_names_and_uuids(client):
    fq_name = [GLOBAL, "leaf1", A]
    for type_ in ("physical-interface", "physical_interface"):
        answer = client.post("/fqname-to-id", {"type": type_, "fq_name": fq_name})
        assert answer.status_code == 200
    answer = client.post("/id-to-fqname", answer.json())
    assert answer.json() == {"fq_name": fq_name, "type": "physical-interface"}
    missing = {"type": "physical-interface", "fq_name": [GLOBAL, "leaf1", "et-0/0/48:0"]}
    assert client.post("/fqname-to-id", missing).status_code == 404
    assert client.post("/id-to-fqname", {"uuid": str(uuid.uuid4())}).status_code == 404
    assert client.post("/fqname-to-id", {"type": "none", "fq_name": ["a"]}).status_code == 404


def test_bulk_takes_strings_with_commas(client):
    asked = {"type": "virtual-network", "obj_uuids": f"{VN1},{VN2}"}
    answer = client.post("/list-bulk-collection", {**asked, "fields": "display_name"})
    assert names(answer, "virtual-networks") == ["vn1", "vn2"]
    answer = client.post("/list-bulk-collection", {**asked, "detail": True})
    assert len(answer.json()["virtual-networks"][0]["virtual-network"]["perms2"]) == 4
    for wrong in ({"obj_uuids": [VN1, VN2]}, {"fields": ["display_name"]}):
        assert client.post("/list-bulk-collection", {**asked, **wrong}).status_code == 500


# --- who may ---

USERS = (
    User("agent", "pass", {"admin": ("admin",), "tenant1": ("member",)}, domain="services"),
    User("tenant", "word", {"tenant1": ("member",)}),
)


def password(user, word, project=None, domain="Default"):
    identity = {"user": {"name": user, "domain": {"name": domain}, "password": word}}
    body = {"identity": {"methods": ["password"], "password": identity}}
    if project:
        body["scope"] = {"project": {"name": project, "domain": {"id": "default"}}}
    return {"auth": body}


@pytest.fixture
def keystone():
    with Keystone(USERS, credentials={"id1": "secret1"}) as keystone:
        yield keystone


def token(keystone, *given, **more):
    body = password(*given, **more)
    answer = requests.post(f"{keystone.auth_url}/auth/tokens", json=body, timeout=10)
    return answer.status_code, answer.headers.get("X-Subject-Token"), answer.json()


def test_discovery(keystone):
    answer = requests.get(keystone.auth_url, timeout=10)
    assert answer.json()["version"]["links"][0]["href"].startswith(keystone.auth_url)
    answer = requests.get(keystone.url, timeout=10, allow_redirects=False)
    assert (answer.status_code, len(answer.json()["versions"]["values"])) == (300, 1)


def test_a_token(keystone):
    status, value, body = token(keystone, "agent", "pass", "admin", domain="services")
    assert (status, bool(value)) == (201, True)
    assert body["token"]["roles"][0]["name"] == "admin"
    assert body["token"]["project"]["id"] == keystone.project_id("admin")
    assert re.fullmatch(r"[\d-]+T[\d:]+\.\d{6}Z", body["token"]["expires_at"])


def test_tokens_that_are_not_given(keystone):
    for given, domain in (
        (("agent", "wrong", "admin"), "services"),
        (("agent", "pass", "admin"), "Default"),
        (("agent", "pass", "other"), "services"),
        (("nobody", "pass", "admin"), "services"),
    ):
        assert token(keystone, *given, domain=domain)[0] == 401
    answer = requests.post(f"{keystone.auth_url}/auth/tokens", json={"auth": {}}, timeout=10)
    assert answer.status_code == 400


def test_application_credentials(keystone):
    for secret, status in (("secret1", 201), ("wrong", 401)):
        method = "application_credential"
        identity = {"methods": [method], method: {"id": "id1", "secret": secret}}
        body = {"auth": {"identity": identity}}
        answer = requests.post(f"{keystone.auth_url}/auth/tokens", json=body, timeout=10)
        assert answer.status_code == status


@pytest.mark.parametrize("mode", ["cloud-admin", "rbac"])
def test_a_token_is_needed(keystone, flavour, mode):
    client = client_of(flavour, aaa_mode=mode, keystone=keystone)
    with client.api:
        assert client.get("/").status_code == 200
        for value in (None, "wrong"):
            client.session.headers["X-Auth-Token"] = value
            answer = client.get("/virtual-networks")
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == f'Keystone uri="{keystone.auth_url}"'
            assert answer.json()["error"]["code"] == 401
        _, value, _ = token(keystone, "agent", "pass", "admin", domain="services")
        client.session.headers["X-Auth-Token"] = value
        assert client.get("/aaa-mode").json() == {"aaa-mode": mode}
        vpg = client.new_vpg("A")
        owner = client.one("virtual-port-group", vpg)["perms2"]["owner"]
        assert owner == keystone.project_id("admin")
        client.new_vmi(vlan=100)
        keystone.revoke_all()
        assert client.get("/virtual-networks").status_code == 401


def test_a_token_expires(keystone):
    keystone.lifetime = 0
    client = client_of(Flavour.MASTER, aaa_mode="cloud-admin", keystone=keystone)
    with client.api:
        _, value, _ = token(keystone, "agent", "pass", "admin", domain="services")
        client.session.headers["X-Auth-Token"] = value
        assert client.get("/virtual-networks").status_code == 401


def test_cloud_admin_wants_the_role_admin(keystone, flavour):
    client = client_of(flavour, aaa_mode="cloud-admin", keystone=keystone)
    with client.api:
        _, value, _ = token(keystone, "agent", "pass", "tenant1", domain="services")
        client.session.headers["X-Auth-Token"] = value
        for answer in (client.get("/virtual-networks"), client.vpg("A")):
            assert answer.status_code == 403
            assert is_plain(answer, "Permission Denied")


def test_rbac(keystone, flavour):
    api = ConfigApi(flavour, "rbac", keystone)
    project = str(uuid.UUID(keystone.project_id("tenant1")))
    loaded = topology()
    api.load(Topology(loaded.fabrics, loaded.switches, (("tenant1", project),), loaded.networks))
    client = Client(api)
    with api:
        _, value, _ = token(keystone, "tenant", "word", "tenant1")
        client.session.headers["X-Auth-Token"] = value
        plain = {"vlan": 100, "project": "tenant1", "virtual_machine_interface_bindings": ...}
        answer = client.vmi(**plain)
        assert answer.status_code == 403
        assert answer.text == (
            "Permission Denied for tenant as ['member'] to C virtual-machine-interface in tenant1"
        )
        api.allow("member", "virtual-machine-interface")
        api.allow("member", "virtual-port-group")
        api.allow("member", "physical-router", "R")
        one = client.new_vmi(**plain)
        fabric = api.uuid("fabric", GLOBAL, "fab1")
        assert client.vpg("A").status_code == 403
        api.update("fabric", fabric, {"perms2": {"owner": "cloud-admin", "global_access": 1}})
        client.new_vpg("A")
        assert client.get("/physical-routers").json() == {"physical-routers": []}
        leaf1 = api.uuid("physical-router", GLOBAL, "leaf1")
        assert client.get(f"/physical-router/{leaf1}").status_code == 403
        assert client.delete("virtual-machine-interface", one).status_code == 200


def test_what_users_do_not_see(keystone, flavour):
    api = ConfigApi(flavour, "rbac", keystone)
    project = str(uuid.UUID(keystone.project_id("tenant1")))
    loaded = topology()
    api.load(Topology(loaded.fabrics, loaded.switches, (("tenant1", project),), loaded.networks))
    api.allow("member")
    body = vmi(vlan=100, project="tenant1", virtual_machine_interface_bindings=...)
    hidden = api.create("virtual-machine-interface", body | {"id_perms": {"user_visible": False}})
    client = Client(api)
    with api:
        for user, word, domain, seen in (
            ("tenant", "word", "Default", False),
            ("agent", "pass", "services", True),
        ):
            scope = "admin" if user == "agent" else "tenant1"
            _, value, _ = token(keystone, user, word, scope, domain=domain)
            client.session.headers["X-Auth-Token"] = value
            listed = client.get("/virtual-machine-interfaces").json()
            assert bool(listed["virtual-machine-interfaces"]) == seen
            assert client.get(f"/virtual-machine-interface/{hidden}").ok == seen


# --- faults ---


def test_a_dropped_connection_may_hide_a_success(client):
    for after in (False, True):
        client.api.drop(method="POST", path="^/virtual-port-groups$", after=after)
        with pytest.raises(requests.ConnectionError):
            client.vpg("A")
        assert client.api.calls("POST")[-1].status is None
        assert bool(client.api.objects("virtual-port-group")) == after
    assert client.vpg("A").status_code == 409


def test_a_status_instead_of_the_deed_and_after_it(client):
    client.api.fail(503, times=2)
    assert [client.vpg("A").status_code for _ in range(3)] == [503, 503, 200]
    client.api.fail(500, method="POST", after=True)
    assert client.get("/virtual-port-groups").status_code == 200
    assert client.vpg("B").status_code == 500
    assert client.vpg("B").status_code == 409
    client.api.fail(504, times=None)
    assert client.get("/").status_code == 504
    client.api.heal()
    assert client.get("/").status_code == 200


def test_a_delay(client):
    client.api.delay(0.3, path="networks")
    begun = time.monotonic()
    client.get("/physical-routers")
    assert time.monotonic() - begun < 0.3
    client.get("/virtual-networks")
    assert time.monotonic() - begun >= 0.3


def test_the_requests_are_remembered(client):
    client.vpg("A")
    client.get("/virtual-networks", detail="true")
    made, listed = client.api.calls()
    assert (made.method, made.path, made.status) == ("POST", "/virtual-port-groups", 200)
    assert made.body["virtual-port-group"]["fq_name"][-1] == "A"
    assert (listed.query, listed.body) == ({"detail": "true"}, None)
    assert client.api.calls("GET", "network") == [listed]
    client.api.forget()
    assert client.api.calls() == []


def test_a_restart_keeps_or_loses_the_state(client):
    url = client.api.url
    client.new_vpg("A")
    client.new_vmi(vlan=100)
    saved = client.api.snapshot()
    client.api.restart()
    assert client.api.url == url
    assert client.vmi(vlan=100).status_code == 400
    client.api.stop()
    with pytest.raises(requests.ConnectionError):
        client.get("/")
    client.api.start()
    assert client.get("/").status_code == 200
    client.api.restart(client.api.pristine)
    assert client.get("/virtual-networks").json() == {"virtual-networks": []}
    client.api.restart(saved)
    assert client.vmi(vlan=100).status_code == 400


def test_a_stop_lets_nobody_wait(client):
    client.api.delay(30)
    failed = []

    def ask():
        try:
            client.vpg("A")
        except requests.ConnectionError as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    while not client.api.calls():
        time.sleep(0.01)
    client.api.stop()
    asking.join(5)
    assert failed
    assert client.api.objects("virtual-port-group") == []


@pytest.mark.parametrize("vpg", [None, "A"], ids=["internal", "explicit"])
def test_eight_hosts_at_once(client, vpg):
    client.new_vpg("A")
    answers = []

    def create(vlan):
        answers.append(Client(client.api).vmi(vlan=vlan, vpg=vpg).status_code)

    hosts = [threading.Thread(target=create, args=(100 + at,)) for at in range(8)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()
    assert sorted(answers) == ([200] * 8 if vpg else [200, *[400] * 7])
    assert len(client.api.open_vlans("leaf1", A)) == (8 if vpg else 1)


# --- without HTTP, and as a program ---


def test_what_somebody_else_does(client):
    body = {"fq_name": [GLOBAL, "fab1", "A"], "parent_type": "fabric"}
    vpg = client.api.create("virtual-port-group", body)
    assert client.api.object(vpg)["name"] == "A"
    with pytest.raises(Refused, match="409"):
        client.api.create("virtual-port-group", body)
    client.api.delete("virtual-port-group", vpg)
    assert client.api.object(vpg) is None


def test_as_a_program(tmp_path):
    path = tmp_path / "topology.json"
    path.write_text(
        json.dumps(
            {
                "fabrics": [{"name": "f"}],
                "switches": [{"name": "s", "fabric": "f", "interfaces": [{"name": "p:0"}]}],
                "projects": ["admin", ["other", VN2]],
                "networks": [{"name": "n", "project": "other", "segmentation_id": 7}],
            }
        )
    )
    command = [sys.executable, "-m", "tests.fakes.contrail", "--port", "0"]
    command += ["--topology", str(path), "--flavour", "R2011", "--aaa-mode", "cloud-admin"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            url = program.stdout.readline().strip()
            assert requests.get(url, timeout=10).status_code == 200
            assert requests.get(f"{url}/aaa-mode", timeout=10).status_code == 401
            auth_url = program.stdout.readline().split()[1]
            body = password("admin", "secret", "admin")
            answer = requests.post(f"{auth_url}/auth/tokens", json=body, timeout=10)
            headers = {"X-Auth-Token": answer.headers["X-Subject-Token"]}
            answer = requests.get(f"{url}/physical-interfaces", headers=headers, timeout=10)
            assert names(answer, "physical-interfaces") == ["p_0"]
        finally:
            program.send_signal(signal.SIGTERM)
        assert program.wait(10) == 0
