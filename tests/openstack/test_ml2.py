# SPDX-License-Identifier: Apache-2.0
"""The source ``ml2`` alone on a real Neutron: what it takes in, and what it tells."""

import contextlib
import json
import logging
import os
import time
from pathlib import Path

import kombu
import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.core.model import Segment
from sriov_agent.core.report import PortReport, PortState, Report
from sriov_agent.core.state import Claim
from sriov_agent.counters import Counters
from sriov_agent.exceptions import Unavailable
from sriov_agent.sources import agent_state
from sriov_agent.sources.ml2 import Ml2
from sriov_agent.sources.ports import Ports
from tests.topology import LEAF_A, PF_A
from tests.waiting import PATIENCE, until
from tools.openstack.api import SERVICE
from tools.openstack.stack import QUEUES

#: What ought not to happen would have happened by then.
QUIET_SECONDS = 4
#: Far above what a stop takes.
STOPPED_SECONDS = 90


class Source:
    """Ml2 of one host, with a memory of whom it woke; a context manager."""

    def __init__(self, directory, host, *conf_files, more="", port_version="1.7", neutron=None):
        config = directory / f"{host}.conf"
        config.write_text(
            f"[DEFAULT]\nhost = {host}\nrpc_response_timeout = 10\n"
            "[agent]\nreport_interval = 1\n"
            f"[ml2_agent]\nlist_interval = 3600\n{more}\n"
        )
        conf = options.register(cfg.ConfigOpts())
        conf([f"--config-file={file}" for file in (*conf_files, config)])
        self.host = host
        self.counters = Counters()
        self.ports = Ports(directory / f"{host}.db")
        self.woken = []
        self.source = Ml2(
            conf,
            self.ports,
            self.counters,
            state=lambda report: agent_state.configurations(
                mappings=[("physnet2", "enp1s0")],
                extensions=("qos",),
                bandwidths={},
                inventory_defaults={},
                hypervisors={},
            ),
            pins=agent_state.resource_versions({**agent_state.PINS, "Port": port_version}),
            neutron=neutron,
        )

    def __enter__(self):
        self.source.start(self.woken.append)
        return self

    def __exit__(self, *_):
        self.source.stop()

    def binding(self, port):
        """The port as it is bound here; ``None`` if it is not, or not yet known."""
        try:
            return self.source.bindings().ports.get(port["id"])
        except Unavailable:
            return None

    def bound(self, port, **fields):
        """Wait for the port to be bound here, with these fields."""
        return until(
            lambda: (
                (found := self.binding(port))
                and all(getattr(found, name) == value for name, value in fields.items())
                and found
            )
        )

    def gone(self, port):
        until(lambda: self.binding(port) is None)

    def tell(self, *ports, connected=True):
        self.source.tell(
            Report(
                ports={
                    port["id"]: PortReport(
                        port_id=port["id"], state=PortState.MET, connected=connected
                    )
                    for port in ports
                }
            )
        )

    def count(self, name):
        return self.counters.snapshot().get(f"events.{name}", 0)


@pytest.fixture
def host(request):
    return request.node.name.removeprefix("test_")[:50]


@pytest.fixture
def make(stack, host, tmp_path):
    """Makes the source of the test's host, each time on the same table."""
    return lambda **given: Source(tmp_path, host, stack.conf_file, **given)


@pytest.fixture
def source(stack, make):
    with make() as source:
        until(lambda: alive(stack, source.host))
        yield source


@pytest.fixture
def api(stack):
    return stack.api()


@pytest.fixture
def create(api, network, host):
    """Creates ports that are deleted at the end."""
    created = []

    def create(**given):
        fields = {
            "device_owner": "test:vm",
            "binding_vnic_type": "direct",
            "binding_host_id": host,
            "network_id": network["id"],
            **given,
        }
        port = api.create("port", **fields)
        created.append(port["id"])
        return port

    yield create
    left = {port["id"] for port in api.list("port")}
    for port_id in created:
        if port_id in left:
            api.delete("port", port_id)


@pytest.fixture
def shows(api):
    """Wait for Neutron to show a port with these fields."""

    def shows(port, **fields):
        until(
            lambda: all(
                api.show("port", port["id"])[name] == value for name, value in fields.items()
            )
        )

    return shows


def alive(stack, host):
    rows = stack.api().list("agent", host=host)
    return bool(rows) and rows[0]["alive"]


def errors(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]


def ours(caplog):
    return [
        r.getMessage()
        for r in caplog.records
        if r.levelno >= logging.ERROR and r.name.startswith("sriov_agent")
    ]


def tracebacks(caplog):
    """What an operator would see with a traceback; oslo.messaging has some of its own at DEBUG."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.exc_info and record.levelno > logging.DEBUG
    ]


def test_when_neutron_answered_is_known(source):
    counters = until(
        lambda: (
            (found := source.counters.snapshot()) and "heartbeats.answered_at" in found and found
        )
    )
    assert counters["heartbeats"] >= 1
    assert "heartbeats.ignored" not in counters


def test_it_is_an_agent_that_lives(stack, source):
    (row,) = stack.api().list("agent", host=source.host)
    assert (row["agent_type"], row["binary"]) == ("NIC Switch agent", "sriov-agent")
    assert row["configurations"]["device_mappings"] == {"physnet2": ["enp1s0"]}


def test_an_agent_that_somebody_deletes_is_pushed_to_as_before(stack, api, make, agent, create):
    pushes = agent.pushes("Port", "1.9")
    with make(port_version="1.9") as source:
        (row,) = until(lambda: api.list("agent", host=source.host))
        api.delete("agent", row["id"])
        until(lambda: alive(stack, source.host))
        # The API looks again what agents want, once a second here.
        time.sleep(QUIET_SECONDS)
        port = create()
        _, data = pushes.get(timeout=PATIENCE)
        assert data["id"] == port["id"]


def test_nothing_is_known_before_neutron_was_asked(make):
    source = make()
    with pytest.raises(Unavailable):
        source.source.bindings()
    with source:
        until(lambda: None in source.woken)
        assert source.source.bindings().ports == {}


def test_a_port_that_is_wired_is_active_and_one_that_is_not_is_down(source, create, shows):
    port = create()
    bound = source.bound(port, status="DOWN")
    assert (bound.vlan, bound.physical_network) == (15, "physnet2")
    assert (bound.mac, bound.vnic_type) == (port["mac_address"], "direct")
    assert bound.network_id == port["network_id"]
    assert frozenset({port["id"]}) in source.woken

    source.tell(port)
    shows(port, status="ACTIVE")
    source.bound(port, status="ACTIVE")
    source.tell(port, connected=False)
    shows(port, status="DOWN")
    source.tell(port, connected=None)
    source.tell(port)
    shows(port, status="ACTIVE")


def test_a_restart_changes_no_status(api, make, create, shows):
    with make() as first:
        port = create()
        first.bound(port)
        first.tell(port)
        shows(port, status="ACTIVE")
        first.bound(port, status="ACTIVE")
    before = api.show("port", port["id"])
    with make() as second:
        assert second.binding(port)
        second.tell(port)
        until(lambda: second.count("lists"))
        second.tell(port)
        time.sleep(QUIET_SECONDS)
    after = api.show("port", port["id"])
    for name in ("revision_number", "updated_at", "status"):
        assert after[name] == before[name]


def test_a_port_whose_binding_failed_is_bound_at_a_start(make, create, shows):
    port = create()
    assert port["binding:vif_type"] == "binding_failed"
    with make() as source:
        source.bound(port, vlan=15)
        source.tell(port)
        shows(port, status="ACTIVE", **{"binding:vif_type": "hw_veb"})


def test_rates_follow_the_rules_of_the_ports_policy(api, source, create):
    policy = api.create("policy", name="5 Mbit/s")
    path = f"qos/policies/{policy['id']}/bandwidth_limit_rules"
    rule = api.create_rule(policy["id"], "bandwidth_limit_rule", max_kbps=5000)
    port = create(qos_policy_id=policy["id"])
    source.bound(port, max_tx_rate=5)

    before = len(source.woken)
    api.request("PUT", f"{path}/{rule['id']}", json={"bandwidth_limit_rule": {"max_kbps": 7600}})
    source.bound(port, max_tx_rate=8)
    assert frozenset({port["id"]}) in source.woken[before:]
    api.request("DELETE", f"{path}/{rule['id']}")
    source.bound(port, max_tx_rate=0)
    api.create_rule(policy["id"], "minimum_bandwidth_rule", min_kbps=2000)
    source.bound(port, min_tx_rate=2)
    api.update("port", port["id"], qos_policy_id=None)
    source.bound(port, min_tx_rate=0)


def test_rates_follow_a_policy_that_nobody_had_while_it_changed(api, source, create):
    policy = api.create("policy", name="changes unseen")
    rule = api.create_rule(policy["id"], "bandwidth_limit_rule", max_kbps=5000)
    port = create(qos_policy_id=policy["id"])
    source.bound(port, max_tx_rate=5)
    api.update("port", port["id"], qos_policy_id=None)
    source.bound(port, max_tx_rate=0)
    api.request(
        "PUT",
        f"qos/policies/{policy['id']}/bandwidth_limit_rules/{rule['id']}",
        json={"bandwidth_limit_rule": {"max_kbps": 9000}},
    )
    api.update("port", port["id"], qos_policy_id=policy["id"])
    source.bound(port, max_tx_rate=9)


def test_rates_follow_the_policy_of_the_network(api, source, create):
    network = api.create(
        "network",
        name="of test_ml2",
        provider_network_type="vlan",
        provider_physical_network="physnet2",
        provider_segmentation_id=117,
    )
    policy = api.create("policy", name="of a network")
    api.create_rule(policy["id"], "bandwidth_limit_rule", max_kbps=6000)
    port = create(network_id=network["id"])
    source.bound(port, vlan=117, max_tx_rate=0)
    api.update("network", network["id"], qos_policy_id=policy["id"])
    source.bound(port, max_tx_rate=6)
    api.update("network", network["id"], qos_policy_id=None)
    source.bound(port, max_tx_rate=0)


def test_port_security_is_followed(api, source, create):
    port = create()
    source.bound(port, spoofchk=True, link_state="auto")
    api.update("port", port["id"], port_security_enabled=False, security_groups=[])
    source.bound(port, spoofchk=False)
    api.update("port", port["id"], port_security_enabled=True)
    source.bound(port, spoofchk=True)


def test_a_port_that_is_not_to_follow_its_uplink_is_always_up(source, create):
    source.bound(create(propagate_uplink_status=False), link_state="enable")


def test_a_port_that_is_put_down_is_down_and_comes_back(api, source, create, shows):
    port = create()
    source.bound(port)
    source.tell(port)
    shows(port, status="ACTIVE")
    api.update("port", port["id"], admin_state_up=False)
    source.bound(port, link_state="disable")
    shows(port, status="DOWN")
    api.update("port", port["id"], admin_state_up=True)
    source.bound(port, link_state="auto")
    source.tell(port)
    shows(port, status="ACTIVE")


@pytest.mark.parametrize("elsewhere", ["", "another-host"], ids=["unbound", "moved"])
def test_a_port_leaves_with_its_host_and_may_come_back(api, source, create, elsewhere, shows):
    port = create()
    source.bound(port)
    source.tell(port)
    shows(port, status="ACTIVE")
    api.update("port", port["id"], binding_host_id=elsewhere)
    source.gone(port)
    api.update("port", port["id"], binding_host_id=source.host)
    source.bound(port)
    source.tell(port)
    shows(port, status="ACTIVE")


def test_a_port_that_is_deleted_is_gone(api, source, create):
    port = create()
    source.bound(port)
    api.delete("port", port["id"])
    source.gone(port)
    assert source.woken.count(frozenset({port["id"]})) >= 2


def test_what_nova_plugs_is_known_as_such(stack, source, create):
    port = create(device_owner="compute:nova", device_id="vm1")
    profile = {"pci_slot": "0000:3b:00.2", "physical_network": "physnet2"}
    stack.api(SERVICE).update("port", port["id"], binding_profile=profile)
    bound = source.bound(port, plugged_by_nova=True)
    assert bound.pci_slot == "0000:3b:00.2"


def test_a_binding_that_is_activated_here_is_taken_over(stack, tmp_path, source, create):
    service = stack.api(SERVICE)
    with Source(tmp_path, f"{source.host}-from", stack.conf_file) as other:
        until(lambda: alive(stack, other.host))
        port = create(device_owner="compute:nova", device_id="vm1", binding_host_id=other.host)
        other.bound(port)
        path = f"ports/{port['id']}/bindings"
        service.request(
            "POST", path, json={"binding": {"host": source.host, "vnic_type": "direct"}}
        )
        time.sleep(1)
        assert source.binding(port) is None
        service.request("PUT", f"{path}/{source.host}/activate")
        source.bound(port, vlan=15)
        other.gone(port)


def test_what_was_missed_while_it_was_off_is_made_good(api, make, create):
    with make() as first:
        stays, leaves, changes = create(), create(), create()
        for port in (stays, leaves, changes):
            first.bound(port)
    api.delete("port", leaves["id"])
    api.update("port", changes["id"], name="changed")
    new = create()
    with make() as second:
        second.bound(changes, name="changed")
        second.bound(new)
        second.gone(leaves)
        assert second.binding(stays)


def publish(broker, topic, body, content_type="application/json"):
    with broker.connection() as connection:
        exchange = kombu.Exchange(f"{topic}_fanout", "fanout", durable=False, auto_delete=True)
        producer = kombu.Producer(connection.channel(), exchange=exchange)
        producer.publish(body, content_type=content_type, content_encoding="utf-8")


def message(method, args, version="1.1", **more):
    inner = {"method": method, "args": args, "version": version, "_unique_id": os.urandom(8).hex()}
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(inner | more)})


MALFORMED = [
    "no JSON at all",
    "[]",
    "7",
    "{}",
    json.dumps({"oslo.version": "2.0"}),
    json.dumps({"oslo.version": "2.0", "oslo.message": "no JSON"}),
    json.dumps({"oslo.version": "2.0", "oslo.message": "[]"}),
    json.dumps({"oslo.version": "9.0", "oslo.message": "{}"}),
    message("no_such_method", {}),
    message("_take", {}),
    message("push", {}),
    message("push", {"resource_list": 5, "event_type": "updated"}),
    message("push", {"resource_list": [None, {}, []], "event_type": ["x"], "more": 1}),
    message("push", ["a"]),
    message("push", {"resource_list": []}, version="9.9"),
    message("push", {"resource_list": []}, namespace="other"),
    message(["push"], {}),
    "\x00\x1b[2J",
]


def test_a_trunk_carries_the_networks_of_its_subports(api, source, network, create):
    other = api.create(
        "network",
        provider_network_type="vlan",
        provider_physical_network="physnet2",
        provider_segmentation_id=1501,
    )
    parent = create(binding_host_id="")
    sub_port = create(binding_host_id="", network_id=other["id"], device_owner="")
    tagged = {"port_id": sub_port["id"], "segmentation_type": "vlan", "segmentation_id": 1501}
    trunk = api.create("trunk", port_id=parent["id"], sub_ports=[tagged])
    api.update("port", parent["id"], binding_host_id=source.host)
    found = source.bound(parent, vlan=0)
    assert set(found.trunk) == {
        Segment(15, network["id"], tagged=False),
        Segment(1501, other["id"]),
    }
    api.update("port", parent["id"], binding_host_id="")
    source.gone(parent)
    api.delete("trunk", trunk["id"])


class Profiles:
    """Neutron's API for who may write profiles: nova, or an agent that is given the role."""

    def __init__(self, stack):
        self.api = stack.api(SERVICE)
        self.written = []

    def update_binding_profile(self, port_id, profile, revision):
        self.written.append((port_id, profile))
        return self.api.request(
            "PUT",
            f"ports/{port_id}",
            json={"port": {"binding:profile": profile}},
            headers={"If-Match": f"revision_number={revision}"},
        )


def test_where_a_port_is_can_be_written_to_its_profile(stack, make, create, shows):
    profiles = Profiles(stack)
    vf = "0000:3b:02.1"
    with make(neutron=profiles) as source:
        until(lambda: alive(stack, source.host))
        port = create()
        source.bound(port)
        claim = Claim(port_id=port["id"], vf=vf, pf=PF_A, index=1, mac=port["mac_address"])
        met = PortReport(
            port_id=port["id"],
            state=PortState.MET,
            claim=claim,
            switch_ports=(LEAF_A,),
            connected=True,
        )
        source.source.tell(Report(ports={port["id"]: met}))
        shows(port, status="ACTIVE")
        assert source.bound(port).pci_slot == vf
    shown = stack.api().show("port", port["id"])["binding:profile"]
    assert (shown["pci_slot"], shown["sriov_agent_host"]) == (vf, source.host)
    assert shown["local_link_information"][0]["port_id"] == "swp1"
    assert len(profiles.written) == 1


def test_messages_that_are_none_disturb_nothing(stack, source, create, api, shows):
    port = create()
    before = source.bound(port)
    for body in MALFORMED:
        for topic in ("neutron-vo-Port-1.7", "q-agent-notifier-port-update"):
            publish(stack.broker, topic, body)
    publish(stack.broker, "neutron-vo-Port-1.7", b"\xff\xfe", "application/octet-stream")
    api.update("port", port["id"], name="still heard")
    source.bound(port, name="still heard", vlan=before.vlan)
    source.tell(port)
    shows(port, status="ACTIVE")
    assert source.count("failed") == 0
    assert source.count("rejected") >= 2


def connections(port):
    """How many connections this process has to a port."""
    inodes = set()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(fd.readlink()).removeprefix("socket:[").removesuffix("]"))
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return sum(
        row[2].endswith(f":{port:04X}") and row[3] == "01" and row[9] in inodes for row in rows
    )


def test_it_has_few_connections_and_leaves_none(stack, make, create, shows):
    until(lambda: connections(stack.broker.port) == 0)
    with make() as source:
        port = create()
        source.bound(port)
        source.tell(port)
        shows(port, status="ACTIVE")
        assert connections(stack.broker.port) <= 4
    until(lambda: connections(stack.broker.port) == 0)


def test_an_exchange_that_was_declared_otherwise_is_said_with_the_option(stack, make, caplog):
    name = "neutron-vo-Port-1.8_fanout"
    with stack.broker.connection() as connection:
        exchange = kombu.Exchange(name, "fanout", durable=True, auto_delete=True)
        exchange = exchange(connection.channel())
        exchange.declare()
        with make(port_version="1.8") as source:
            (said, *_) = until(lambda: ours(caplog))
            exchange.delete()
            # It is tried again, and heard of then.
            until(lambda: None in source.woken)
    assert said.count("PRECONDITION_FAILED") == 1
    assert name in said
    assert "rabbit_transient_quorum_queue" in said
    assert not tracebacks(caplog)


def test_an_option_that_differs_from_the_servers_is_named(make, caplog):
    with make(more="[oslo_messaging_rabbit]\namqp_auto_delete = true\n"):
        (said, *_) = until(lambda: ours(caplog))
    assert "PRECONDITION_FAILED" in said
    assert "amqp_auto_delete" in said
    assert not tracebacks(caplog)


def test_an_option_of_queues_that_are_not_the_agents_may_differ(make, create, caplog):
    with make(more="[oslo_messaging_rabbit]\nrabbit_quorum_queue = true\n") as source:
        source.bound(create())
    assert not ours(caplog)


def test_an_exchange_without_a_neutron_server_is_said(make, caplog):
    more = "[DEFAULT]\nrpc_response_timeout = 1\ncontrol_exchange = elsewhere\n"
    with make(more=more):
        (said, *_) = until(lambda: ours(caplog))
    assert "report_state: nobody answered on q-reports-plugin" in said
    assert "rpc_workers" in said
    assert not tracebacks(caplog)


def test_a_broker_that_is_not_there_is_said_without_the_password(tmp_path, caplog):
    more = "[DEFAULT]\ntransport_url = rabbit://user:secret@127.0.0.1:9/vhost\n"
    source = Source(tmp_path, "lonely", more=more)
    with source:
        (said, *_) = until(lambda: ours(caplog))
        began = time.monotonic()
    assert time.monotonic() - began < STOPPED_SECONDS
    assert said.startswith("cannot listen to Neutron: rabbit://user@127.0.0.1:9/vhost: ")
    assert "transport_url" in said
    assert not any("secret" in line for line in caplog.messages)
    assert not tracebacks(caplog)


def test_a_broker_that_refuses_the_password_is_said(stack, tmp_path, caplog):
    more = f"[DEFAULT]\ntransport_url = {stack.broker.url.replace('guest@', 'secret@')}\n"
    with Source(tmp_path, "stranger", more=more):
        (said, *_) = until(lambda: ours(caplog))
    assert "ACCESS_REFUSED" in said
    assert "password of transport_url" in said
    assert not any("secret" in line for line in caplog.messages)
    assert not tracebacks(caplog)


# What follows stops what the others need, and comes last.


def test_it_goes_on_when_the_server_was_restarted(stack, source, create, shows):
    port = create()
    source.bound(port)
    stack.restart_server()
    source.tell(port)
    shows(port, status="ACTIVE")
    source.bound(create())
    until(lambda: alive(stack, source.host))


@pytest.fixture
def outage(stack):
    """A context in which the broker is gone; afterwards, Neutron is back on it."""

    @contextlib.contextmanager
    def outage():
        stack.broker.stop()
        try:
            yield
        finally:
            stack.broker.start()
            until(lambda: all(stack.broker.consumers(queue) for queue in QUEUES))

    return outage


def test_it_catches_up_when_the_broker_was_restarted(make, create, api, shows, outage, caplog):
    with make() as source:
        stays, leaves = create(), create()
        source.bound(stays)
        source.bound(leaves)
        with outage():
            until(lambda: errors(caplog))
            # Nobody tells the agent of this one again.
            source.ports.unbind(stays["id"])
        source.bound(stays)
        api.delete("port", leaves["id"])
        source.gone(leaves)
        source.tell(stays)
        shows(stays, status="ACTIVE")
    assert not tracebacks(caplog)


def test_it_stops_while_the_broker_is_gone(make, outage, caplog):
    source = make()
    source.__enter__()
    until(lambda: None in source.woken)
    with outage():
        until(lambda: errors(caplog))
        began = time.monotonic()
        source.source.stop()
        assert time.monotonic() - began < STOPPED_SECONDS
    assert not tracebacks(caplog)
