# SPDX-License-Identifier: Apache-2.0
"""What the agent relies on, asked of Neutron itself."""

import json
import queue
import time

import pytest

from tests.openstack.plain import PATIENCE, PORT_VERSION
from tools.openstack.api import MEMBER, SERVICE, Refused


@pytest.fixture
def registered(agent):
    agent.register()
    return agent


@pytest.fixture
def create_port(stack, network):
    """Creates ports that are deleted at the end."""
    api = stack.api()
    created = []

    def create(host, **given):
        fields = {"device_owner": "test:vm", "binding_vnic_type": "direct", **given}
        port = api.create("port", network_id=network["id"], binding_host_id=host, **fields)
        created.append(port["id"])
        return port

    yield create
    for port_id in created:
        api.delete("port", port_id)


def up(agent, port_id):
    return agent.call(
        "q-plugin",
        "1.9",
        "update_device_list",
        devices_up=[port_id],
        devices_down=[],
        agent_id=agent.id,
        host=agent.host,
        refresh_tunnels=False,
    )


def until(pushes, port_id, holds=lambda event, data: True):
    """The first of the pushes for this port for which it holds."""
    deadline = time.monotonic() + PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        event, data = pushes.get(timeout=left)
        if data["id"] == port_id and holds(event, data):
            return event, data
    raise queue.Empty


def test_an_agent_is_new_then_alive(stack, agent):
    assert agent.register() == "new"
    assert agent.report() == "alive"
    (row,) = stack.api().list("agent", host=agent.host)
    assert (row["agent_type"], row["alive"]) == ("NIC Switch agent", True)


def test_a_port_without_an_agent_is_not_bound(create_port):
    assert create_port("nowhere")["binding:vif_type"] == "binding_failed"


def test_a_port_is_bound_and_becomes_active(stack, registered, create_port):
    port = create_port(registered.host)
    assert (port["binding:vif_type"], port["status"]) == ("hw_veb", "DOWN")
    assert port["binding:vif_details"]["vlan"] == "15"

    answer = up(registered, port["id"])
    assert answer["devices_up"] == [port["id"]]
    assert not answer["failed_devices_up"]
    assert stack.api().show("port", port["id"])["status"] == "ACTIVE"


def test_the_ports_of_a_host_are_listed_whole(registered, create_port):
    port = create_port(registered.host)
    create_port("elsewhere")
    (listed,) = registered.call(
        "q-plugin",
        "1.7",
        "get_ports_by_vnic_type_and_host",
        vnic_type="direct",
        host=registered.host,
    )
    assert listed["id"] == port["id"]
    assert listed["binding:host_id"] == registered.host
    assert listed["binding:vif_details"]["vlan"] == "15"


def test_ports_are_pulled_by_id_with_their_segment(registered, create_port, network):
    ports = [create_port(registered.host) for _ in range(2)]
    pulled = registered.call(
        "q-plugin",
        "1.1",
        "bulk_pull",
        resource_type="Port",
        version=PORT_VERSION,
        filter_kwargs={"id": [port["id"] for port in ports]},
    )
    found = {entry["versioned_object.data"]["id"]: entry for entry in pulled}
    assert set(found) == {port["id"] for port in ports}
    for entry in found.values():
        assert entry["versioned_object.version"] == PORT_VERSION
        (level,) = entry["versioned_object.data"]["binding_levels"]
        segment = level["versioned_object.data"]["segment"]["versioned_object.data"]
        assert segment["segmentation_id"] == 15
        assert segment["physical_network"] == "physnet2"
        assert segment["network_id"] == network["id"]


def test_a_port_that_is_gone_is_not_pulled(registered):
    given = {"resource_type": "Port", "version": PORT_VERSION}
    ids = {"id": ["00000000-0000-4000-8000-000000000001"]}
    assert registered.call("q-plugin", "1.1", "bulk_pull", filter_kwargs=ids, **given) == []


def test_every_change_of_a_port_is_pushed(stack, registered, create_port):
    pushes = registered.pushes()
    port = create_port(registered.host)
    api = stack.api()

    _, data = until(pushes, port["id"], lambda _, data: vif_type(data) == "hw_veb")
    (level,) = data["binding_levels"]
    segment = level["versioned_object.data"]["segment"]["versioned_object.data"]
    assert segment["segmentation_id"] == 15
    up(registered, port["id"])
    until(pushes, port["id"], lambda _, data: data["status"] == "ACTIVE")
    api.update("port", port["id"], admin_state_up=False)
    until(pushes, port["id"], lambda _, data: data["admin_state_up"] is False)
    api.update("port", port["id"], binding_host_id="")
    until(pushes, port["id"], lambda _, data: vif_type(data) == "unbound")


def test_a_delete_is_pushed_as_nothing_but_an_id(stack, registered, network):
    pushes = registered.pushes()
    api = stack.api()
    port = api.create("port", network_id=network["id"])
    api.delete("port", port["id"])
    _, data = until(pushes, port["id"], lambda event, _: event == "deleted")
    assert not any(value for name, value in data.items() if name != "id")


def test_a_qos_policy_is_pushed_and_pulled(stack, registered):
    pushes = registered.pushes("QosPolicy", "1.10")
    api = stack.api()
    policy = api.create("policy", name="10 Mbit/s")
    api.create_rule(policy["id"], "bandwidth_limit_rule", max_kbps=10000, direction="egress")
    _, pushed = until(pushes, policy["id"])
    pulled = registered.call(
        "q-plugin",
        "1.1",
        "pull",
        resource_type="QosPolicy",
        version="1.10",
        resource_id=policy["id"],
    )
    for data in (pushed, pulled["versioned_object.data"]):
        (rule,) = data["rules"]
        assert rule["versioned_object.data"]["max_kbps"] == 10000


def test_only_a_service_writes_the_profile(stack, registered, create_port):
    port = create_port(registered.host)
    profile = {"pci_slot": "0000:3b:00.2", "physical_network": "physnet2"}
    with pytest.raises(Refused) as refusal:
        stack.api().update("port", port["id"], binding_profile=profile)
    assert refusal.value.status == 403
    changed = stack.api(SERVICE).update("port", port["id"], binding_profile=profile)
    assert changed["binding:profile"] == profile
    assert changed["binding:vif_type"] == "hw_veb"


def test_a_member_does_not_see_the_binding(stack, network):
    admin, member = stack.api(), stack.api(MEMBER)
    port = admin.create("port", network_id=network["id"], binding_vnic_type="direct")
    shown = member.show("port", port["id"])
    assert shown["binding:vnic_type"] == "direct"
    assert "binding:host_id" not in shown
    admin.delete("port", port["id"])


def test_the_command_line_of_the_issue(stack, registered, network):
    api = stack.api()
    command = "port create --vnic-type direct --network net1 -f json p1 --host"
    port = json.loads(stack.openstack(*command.split(), registered.host))
    assert port["binding_vif_type"] == "hw_veb"
    up(registered, port["id"])
    assert api.show("port", port["id"])["status"] == "ACTIVE"
    stack.openstack("port", "delete", "p1")
    assert port["id"] not in {entry["id"] for entry in api.list("port")}


def test_the_server_restarts_with_what_it_knew(stack, registered, create_port):
    port = create_port(registered.host)
    stack.restart_server()
    assert registered.report() == "alive"
    assert up(registered, port["id"])["devices_up"] == [port["id"]]
    assert stack.api().show("port", port["id"])["status"] == "ACTIVE"


def vif_type(data):
    (binding,) = data["bindings"]
    return binding["versioned_object.data"]["vif_type"]
