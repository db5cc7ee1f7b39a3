# SPDX-License-Identifier: Apache-2.0
"""The client of Neutron's API, and the source that uses it, on a real Neutron."""

import queue
import uuid

import pytest
import requests
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.core.model import Segment
from sriov_agent.counters import Counters
from sriov_agent.exceptions import InvalidField, Refused
from sriov_agent.sources.neutron import Changed, Neutron
from sriov_agent.sources.notifications import Notifications
from sriov_agent.sources.ports import Ports
from tests.fakes.contrail.service import Answer, Service
from tests.waiting import PATIENCE, until


class Relay(Service):
    """Neutron for a user of these roles."""

    def __init__(self, url, roles, project="project1"):
        super().__init__()
        self._to = url
        self._headers = {"X-User-Id": "user1", "X-Project-Id": project, "X-Roles": roles}

    def respond(self, request):
        kept = {n: v for n, v in request.headers.items() if n in {"If-Match", "Content-Type"}}
        found = requests.request(
            request.method,
            self._to + request.path,
            params=request.pairs,
            data=request.raw or None,
            headers={**kept, **self._headers},
            timeout=PATIENCE,
        )
        return Answer(found.status_code, found.text, "application/json")


def configuration(stack, directory, host, url=None):
    file = directory / f"{uuid.uuid4()}.conf"
    file.write_text(
        f"[DEFAULT]\nhost = {host}\ntransport_url = {stack.broker.url}\n"
        f"[agent]\nsource = notifications\nstate_path = {directory}\n"
        f"[neutron]\nauth_type = none\nendpoint_override = {url or stack.url}\n"
    )
    conf = options.register(cfg.ConfigOpts())
    conf([f"--config-file={file}"])
    return conf


@pytest.fixture
def client(stack, tmp_path):
    return Neutron(configuration(stack, tmp_path, "any").neutron)


@pytest.fixture
def api(stack):
    return stack.api()


@pytest.fixture
def host(agent):
    """A host on which Neutron binds ports."""
    agent.register()
    return agent.host


@pytest.fixture
def add_network(api):
    def add(vlan, name=""):
        return api.create(
            "network",
            name=name or str(uuid.uuid4()),
            provider_network_type="vlan",
            provider_physical_network="physnet2",
            provider_segmentation_id=vlan,
        )

    return add


@pytest.fixture
def add_port(api):
    def add(network, host="", **given):
        fields = {"device_owner": "test:vm", "binding_vnic_type": "direct", **given}
        return api.create("port", network_id=network["id"], binding_host_id=host, **fields)

    return add


def test_the_ports_of_a_host(client, api, host, add_network, add_port):
    network = add_network(1101)
    made = [add_port(network, host) for _ in range(3)]
    add_port(network, "another-host")
    add_port(network, host, binding_vnic_type="normal")
    found = client.ports(host)
    assert found == [api.show("port", id_) for id_ in sorted(port["id"] for port in made)]
    assert client.port(found[0]["id"]) == found[0]
    assert client.port(str(uuid.uuid4())) is None
    assert client.network_ids([found[0]["id"]]) == {found[0]["id"]: network["id"]}
    assert client.sees_all()
    assert client.ports("nobody") == []


def test_networks_by_name_and_id(client, add_network):
    network = add_network(1102, "red one")
    assert client.find_network("red one")["id"] == network["id"]
    assert client.find_network(network["id"])["provider:segmentation_id"] == 1102
    assert [one["id"] for one in client.networks([network["id"]])] == [network["id"]]
    twin = add_network(1103, "red one")
    with pytest.raises(InvalidField, match=twin["id"]):
        client.find_network("red one")


def test_the_vlan_of_a_network(client, host, add_network, add_port):
    network = add_network(1104, "to be set")
    changed = client.set_network(client.find_network("to be set"), 1105, "physnet2")
    assert changed["provider:segmentation_id"] == 1105
    with pytest.raises(Refused, match="does not support updating"):
        client.set_network(changed, 1105, "physnet1")
    add_port(network, host)
    with pytest.raises(Refused, match="cannot be updated if any port"):
        client.set_network(changed, 1106, "physnet2")


def test_a_profile_needs_the_role_service_and_the_revision(
    stack, client, tmp_path, host, add_network, add_port
):
    port = add_port(add_network(1107), host)
    profile = {"pci_slot": "0000:3b:00.2"}
    with pytest.raises(Refused, match="role service"):
        client.update_binding_profile(port["id"], profile, port["revision_number"])
    with Relay(stack.url, "service,admin") as relay:
        service = Neutron(configuration(stack, tmp_path, "any", relay.url).neutron)
        revision = service.port(port["id"])["revision_number"]
        with pytest.raises(Changed):
            service.update_binding_profile(port["id"], profile, revision - 1)
        written = service.update_binding_profile(port["id"], profile, revision)
    assert written["binding:profile"] == profile
    assert written["revision_number"] > revision


def test_who_is_no_administrator_is_told(stack, tmp_path, host, add_network, add_port):
    port = add_port(add_network(1108), host)
    with Relay(stack.url, "member,reader", port["project_id"]) as relay:
        member = Neutron(configuration(stack, tmp_path, "any", relay.url).neutron)
        with pytest.raises(Refused, match="role admin"):
            member.ports(host)
        network = member.network(port["network_id"])
        with pytest.raises(Refused, match="role admin"):
            member.set_network(network or {"id": port["network_id"]}, 1109, "physnet2")


@pytest.fixture
def source(stack, tmp_path, host):
    """The source of a host, listening."""
    conf = configuration(stack, tmp_path, host)
    started = Notifications(conf, Ports(options.ports_path(conf)), Counters())
    started.start(queue.SimpleQueue().put)
    until(lambda: stack.broker.consumers(f"sriov-agent-{host}"))
    yield started
    started.stop()


def test_a_port_is_bound_and_released(source, api, host, add_network, add_port):
    port = add_port(add_network(1110), host)
    found = until(lambda: source.bindings().ports.get(port["id"]))
    assert (found.vlan, found.physical_network) == (1110, "physnet2")
    api.delete("port", port["id"])
    until(lambda: not source.bindings().ports)


def test_a_trunk_carries_the_networks_of_its_subports(source, api, host, add_network, add_port):
    own, red, blue = (add_network(vlan) for vlan in (1111, 1112, 1113))
    parent = add_port(own)
    sub_port, other = add_port(red), add_port(blue)
    inherited = {"port_id": sub_port["id"], "segmentation_type": "inherit"}
    trunk = api.create("trunk", port_id=parent["id"], sub_ports=[inherited])
    api.update("port", parent["id"], binding_host_id=host)
    found = until(lambda: source.bindings().ports.get(parent["id"]))
    assert found.vlan == 0
    assert set(found.trunk) == {Segment(1111, own["id"], tagged=False), Segment(1112, red["id"])}

    another = {"port_id": other["id"], "segmentation_type": "vlan", "segmentation_id": 1200}
    path = f"trunks/{trunk['id']}/add_subports"
    api.request("PUT", path, json={"sub_ports": [another]})
    api.update("port", parent["id"], name="so that it is notified")
    why = until(lambda: source.bindings().invalid.get(parent["id"]))
    until(lambda: "VLAN 1113" in source.bindings().invalid.get(parent["id"], ""))
    assert "1200" in source.bindings().invalid[parent["id"]], why
