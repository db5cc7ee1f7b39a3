# SPDX-License-Identifier: Apache-2.0
"""Measures both agents, one after the other, in the lab guest, against a Neutron outside.

``python -m tools.bench.agents --service URL --environment DIR --output FILE METRIC...``
"""

import argparse
import contextlib
import dataclasses
import functools
import http.client
import json
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import amqp
from pyroute2 import IPRoute

from sriov_agent.core.model import VfSettings
from sriov_agent.host.links import links
from sriov_agent.host.netlink import Netlink
from sriov_agent.host.rtnl import Link
from tools.bench import processes
from tools.bench.netlink import ZERO_MAC, Change, Route, Watch, set_message
from tools.bench.processes import PHYSICAL_NETWORK, VLAN, Agent
from tools.bench.report import Measured

TOPOLOGY = Path("/run/sriov-lab/topology.json")
#: in memory, where SQLite's WAL works; what the guest writes outside is slow besides
STATE = Path("/run/sriov-bench")
PUSHED = "neutron-vo-Port-1.7_fanout"
BARE = "sriov-agent-bench_fanout"

PAIRS = 15
SCANS = 5
EVENTS = 10
SETTINGS = 10
PUSHES = 12
BURSTS = 3
IDLE_SECONDS = 60.0
#: the old agent's polling_interval: what happens, happens anywhere in it
PERIOD_SECONDS = 2.0
#: what a change may take at most
CHANGE_SECONDS = 120.0
#: what a change of all ports may take
BURST_SECONDS = 600.0
#: what a start may take at most, with all imports under emulation
START_SECONDS = 600.0
#: how long nothing may change until nothing will
QUIET_SECONDS = 20.0


@dataclass(frozen=True)
class Port:
    """A port, and the VF that nova has for it."""

    id: str
    pf: int
    vf: int
    mac: str

    def plugged(self) -> Change:
        return Change(self.vf, self.mac, VLAN)

    def unplugged(self) -> Change:
        return Change(self.vf, ZERO_MAC, 0)


class Asked(threading.Thread):
    """A question to the service, whose answer takes until something has happened.

    :ivar at: when the answer came, in seconds of ``time.perf_counter``
    """

    def __init__(self, url: str, action: str, **given: object) -> None:
        super().__init__(daemon=True)
        place = urllib.parse.urlsplit(url)
        timeout = float(str(given.get("timeout", CHANGE_SECONDS))) + CHANGE_SECONDS
        self._connection = http.client.HTTPConnection(str(place.netloc), timeout=timeout)
        self._connection.request("POST", f"/bench/{action}", json.dumps(given))
        self.at = 0.0
        self._answer: Any = None
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        """Wait for the answer."""
        try:
            self._connection.sock.recv(1, socket.MSG_PEEK)
            self.at = time.perf_counter()
            response = self._connection.getresponse()
            self._answer = json.loads(response.read())
            if response.status != http.HTTPStatus.OK:
                raise RuntimeError(self._answer)
        except Exception as error:
            self._error = error
        finally:
            self._connection.close()

    def answer(self) -> Any:
        """What was answered.

        :raises RuntimeError: it failed
        """
        self.join()
        if self._error:
            raise self._error
        return self._answer


class Bench:
    """What both agents have in common: the VFs, the ports, and what was measured.

    :param only: the metrics that are measured
    """

    def __init__(self, service: str, only: Sequence[str], output: Path) -> None:
        self.measured: dict[str, Measured] = {name: Measured() for name in only}
        self.pfs = json.loads(TOPOLOGY.read_text())["pfs"]
        self.netdevs = [pf["netdev"] for pf in self.pfs]
        self.indices = [socket.if_nametoindex(netdev) for netdev in self.netdevs]
        self.route = Route()
        self.ports: list[Port] = []
        self._service = service
        self._output = output
        facts = self.ask("facts").answer()
        self.conf_file: str = facts["conf_file"]
        #: host and port, as a URL has them
        self.broker: str = facts["broker"]
        self._save()

    def wants(self, *names: str) -> bool:
        """Whether any of these is measured."""
        return any(name in self.measured for name in names)

    def measure(self, name: str, side: str, samples: Callable[[], Sequence[float]]) -> None:
        """Take the samples of one metric; why there are none is reported, and nothing raised."""
        if name not in self.measured:
            return
        began = time.monotonic()
        with self.failing(side, name):
            getattr(self.measured[name], side).extend(samples())
        print(f"{side} {name}: {time.monotonic() - began:.0f} s", flush=True)
        self._save()

    @contextlib.contextmanager
    def failing(self, what: str, *names: str) -> Iterator[None]:
        """What fails here is reported of each of the metrics that are measured."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            for name in self.measured.keys() & set(names):
                self.measured[name].errors.append(f"{what}: {error!r}")
            self._save()

    def note(self, name: str, sentence: str) -> None:
        """Have something said below a metric, once."""
        if name in self.measured and sentence not in self.measured[name].notes:
            self.measured[name].notes.append(sentence)

    def ask(self, action: str, **given: object) -> Asked:
        """Begin to ask the service."""
        return Asked(self._service, action, **given)

    def set(self, changes: dict[int, list[Change]]) -> None:
        """Set VFs, by the number of the PF, one message for each."""
        for message in self.packed(changes):
            self.route.do(message)

    def packed(self, changes: dict[int, list[Change]]) -> list[bytes]:
        """The messages that set VFs, by the number of the PF."""
        return [set_message(self.indices[pf], group) for pf, group in changes.items()]

    def release(self) -> None:
        """Give every VF's settings back."""
        for index in self.indices:
            for vf in range(7):
                given_back = Change(vf, ZERO_MAC, 0, spoofchk=True, trust=False, max_tx_rate=0)
                self.route.do(set_message(index, [given_back]))

    def bind(self, host: str) -> None:
        """Play nova: a port for every VF."""
        slots = [slot for pf in self.pfs for slot in pf["vfs"]]
        found = self.ask("bind", host=host, slots=slots).answer()
        self.ports = [
            Port(port["id"], number // 7, number % 7, port["mac"])
            for number, port in enumerate(found)
        ]

    def unbind(self) -> None:
        """Have the ports gone, and what is left of them."""
        gone = [port.id for port in self.ports]
        self.ports = []
        self.ask("delete", ports=gone).answer()
        self.release()

    def wait_status(self, status: str, *ports: Port) -> Asked:
        """Begin to wait until ports have a status."""
        ids = [port.id for port in ports]
        timeout = CHANGE_SECONDS if len(ids) == 1 else BURST_SECONDS
        asked = self.ask("wait_status", ports=ids, status=status, timeout=timeout)
        # The service looks by then, and the event falls anywhere between two polls of an agent.
        time.sleep(0.2 + random.uniform(0, PERIOD_SECONDS))
        return asked

    def by_pf(self, change: Callable[[Port], Change]) -> dict[int, list[Change]]:
        """The change of every port, by the number of its PF."""
        found: dict[int, list[Change]] = {}
        for port in self.ports:
            found.setdefault(port.pf, []).append(change(port))
        return found

    def _save(self) -> None:
        found = {name: dataclasses.asdict(each) for name, each in self.measured.items()}
        self._output.write_text(json.dumps(found, indent=1))


# Each function below returns samples of one metric; seconds where it does not say otherwise.


def event_to_active(bench: Bench) -> list[float]:
    """From the MAC on a VF, which libvirt sets last, to ACTIVE."""
    found = []
    looks = []
    for number in range(EVENTS):
        port = bench.ports[number * 5 % len(bench.ports)]
        (plug,) = bench.packed({port.pf: [port.plugged()]})
        asked = bench.wait_status("ACTIVE", port)
        began = time.perf_counter()
        bench.route.do(plug)
        looks.append(asked.answer())
        found.append(asked.at - began)
        asked = bench.wait_status("DOWN", port)
        bench.set({port.pf: [port.unplugged()]})
        asked.answer()
    look = max(looks) * 1000
    bench.note("event_to_active", f"a look at the API took {look:.0f} ms on average at most")
    return found


def spoofchk_is(vf: int, wanted: bool, link: Link) -> bool:
    return link.vfs[vf].spoofchk is wanted


def setting_to_kernel(bench: Bench) -> list[float]:
    """From the change of a port's port security to its VF's spoofchk: igb has no link state."""
    port = bench.ports[3]
    asked = bench.wait_status("ACTIVE", port)
    bench.set({port.pf: [port.plugged()]})
    asked.answer()
    found = []
    wanted = True
    for _ in range(SETTINGS):
        wanted = not wanted
        time.sleep(0.5 + random.uniform(0, PERIOD_SECONDS))
        with Watch([bench.indices[port.pf]]) as watch:
            began = time.perf_counter()
            asked = bench.ask("update", port=port.id, fields={"port_security_enabled": wanted})
            at = watch.until(functools.partial(spoofchk_is, port.vf, wanted), CHANGE_SECONDS)
        found.append(at - began)
        asked.answer()
        bench.wait_status("ACTIVE", port).answer()
    bench.note("setting_to_kernel", "port_security_enabled to spoofchk: igb has no link state")
    asked = bench.wait_status("DOWN", port)
    bench.set({port.pf: [port.unplugged()]})
    asked.answer()
    return found


def burst_to_active(bench: Bench) -> list[float]:
    """From the MACs on all VFs, one message for each PF, to all ACTIVE; they stay so."""
    found = []
    for number in range(BURSTS):
        if number:
            unplug_all(bench)
        messages = bench.packed(bench.by_pf(Port.plugged))
        asked = bench.wait_status("ACTIVE", *bench.ports)
        began = time.perf_counter()
        for message in messages:
            bench.route.do(message)
        asked.answer()
        found.append(asked.at - began)
    bench.note("burst_to_active", f"{len(bench.ports)} ports over {len(bench.pfs)} PFs")
    return found


def plug_all(bench: Bench) -> None:
    """Have all ports ACTIVE."""
    asked = bench.wait_status("ACTIVE", *bench.ports)
    bench.set(bench.by_pf(Port.plugged))
    asked.answer()


def unplug_all(bench: Bench) -> None:
    """Have all ports DOWN."""
    asked = bench.wait_status("DOWN", *bench.ports)
    bench.set(bench.by_pf(Port.unplugged))
    asked.answer()


def idle_cpu(agent: Agent) -> list[float]:
    """With all ports ACTIVE and nothing to do."""
    time.sleep(3)
    before = agent.cpu()
    time.sleep(IDLE_SECONDS)
    return [agent.cpu() - before]


def rss(bench: Bench, agent: Agent) -> list[float]:
    """MiB of all processes of the agent."""
    found = agent.rss()
    parts = ", ".join(f"{name}: {size / 1024:.0f}" for name, size in sorted(found.items()))
    bench.note("rss", f"{agent.name}, MiB: {parts}")
    return [sum(found.values()) / 1024]


def amqp_connections(agent: Agent, port: int) -> list[float]:
    """Connections to the broker; an agent that serves ports has some."""
    found = agent.connections(port)
    if not found:
        raise RuntimeError(f"no connection of {agent.pids()} to port {port} is seen")
    return [float(found)]


def restart_status_changes(bench: Bench, agent: Agent, heartbeats: list[float]) -> list[float]:
    """Changes of status, by revision, of ports that are ACTIVE before and after a restart."""
    ids = [port.id for port in bench.ports]

    def revisions() -> dict[str, list[Any]]:
        answer: dict[str, list[Any]] = bench.ask("revisions", ports=ids).answer()
        return answer

    before = revisions()
    if unhealthy := [port for port, (_, _, status) in before.items() if status != "ACTIVE"]:
        raise RuntimeError(f"not ACTIVE before the restart: {unhealthy}")
    agent.stop()
    heartbeats.append(start(bench, agent))
    agent.wait_settled(START_SECONDS)
    after = revisions()
    deadline = time.monotonic() + START_SECONDS
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < QUIET_SECONDS and time.monotonic() < deadline:
        time.sleep(1)
        now = revisions()
        if now != after:
            after, quiet_since = now, time.monotonic()
    changes = sum(after[port][0] - before[port][0] for port in ids)
    touched = sum(after[port][1] != before[port][1] for port in ids)
    bench.note("restart_status_changes", f"{agent.name}: updated_at changed of {touched} ports")
    if bool(changes) != bool(touched):
        raise RuntimeError(f"{changes} new revisions, but updated_at changed of {touched} ports")
    return [float(changes)]


def start(bench: Bench, agent: Agent) -> float:
    """Start the agent; the seconds until Neutron has its first heartbeat."""
    before = bench.ask("started_at", host=agent.name).answer()
    asked = bench.ask("wait_started", host=agent.name, before=before, timeout=START_SECONDS)
    began = agent.start()
    asked.answer()
    print(f"{agent.name} started: {asked.at - began:.0f} s", flush=True)
    return asked.at - began


def netlink_program(bench: Bench) -> tuple[list[float], list[float]]:
    """Five settings of the 7 VFs of a PF: by the agent's code, and packed by hand."""
    ours: list[float] = []
    peer: list[float] = []
    with Netlink() as netlink:
        link = netlink.links()[bench.netdevs[0]]
        for _ in range(PAIRS):
            for side, at in ((ours, 0x10), (peer, 0x20)):
                macs = [f"02:00:00:00:00:{at + vf:02x}" for vf in range(7)]
                given = {"vlan": VLAN, "spoofchk": True, "trust": False, "max_tx_rate": 100}
                if side is ours:
                    wanted = [(vf, VfSettings(mac=m, **given)) for vf, m in enumerate(macs)]  # type: ignore[arg-type]
                    began = time.perf_counter()
                    refused = netlink.set_vfs(link, wanted)
                    side.append(time.perf_counter() - began)
                    if refused:
                        raise RuntimeError(refused)
                else:
                    changes = [Change(vf, mac, **given) for vf, mac in enumerate(macs)]  # type: ignore[arg-type]
                    message = set_message(link.index, changes)
                    began = time.perf_counter()
                    bench.route.do(message)
                    side.append(time.perf_counter() - began)
                seen = bench.route.link(link.index).vfs
                if [vf.mac for vf in seen] != macs:
                    raise RuntimeError(f"the VFs are {seen}")
    bench.release()
    return ours, peer


def netlink_scan(bench: Bench) -> tuple[list[float], list[float]]:
    """A look at the VFs of all PFs: the agent's, and what the old one does in each poll."""

    def old(netdev: str) -> object:
        # get_link_vfs in neutron/privileged/agent/linux/ip_lib.py, without the way to privsep
        with IPRoute() as route:
            with IPRoute() as lookup:
                index = lookup.link_lookup(ifname=netdev)[0]
            link = route.link("get", index=index, ext_mask=1)[0]
        found = {}
        for info in link.get_attr("IFLA_VFINFO_LIST").get_attrs("IFLA_VF_INFO"):
            mac, state = info.get_attr("IFLA_VF_MAC"), info.get_attr("IFLA_VF_LINK_STATE")
            rate = info.get_attr("IFLA_VF_RATE", default={})
            found[mac["vf"]] = (mac["mac"], state["link_state"], rate.get("max_tx_rate"))
        return found

    ours: list[float] = []
    peer: list[float] = []
    for _ in range(SCANS):
        began = time.perf_counter()
        links()
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        for pf in bench.pfs:
            for _vf in pf["vfs"]:
                old(pf["netdev"])
        peer.append(time.perf_counter() - began)
    return ours, peer


def push_to_kernel(bench: Bench) -> tuple[list[float], list[float]]:
    """From a push published to its VF set; from a message published to 7 VFs set by hand."""
    macs = [f"02:00:00:00:01:{vf:02x}" for vf in range(7)]
    packed = set_message(bench.indices[0], [Change(vf, mac, VLAN) for vf, mac in enumerate(macs)])
    bare = subprocess.Popen(
        [sys.executable, "-m", "tools.bench.bare", bench.broker, BARE, packed.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    ours: list[float] = []
    peer: list[float] = []
    try:
        assert bare.stdout
        if not bare.stdout.readline():
            raise RuntimeError("the bare consumer ended")
        with amqp.Connection(bench.broker, connect_timeout=10) as connection:
            channel = connection.channel()

            def publish(exchange: str, event_type: str, **fields: object) -> None:
                message = amqp.Message(
                    pushed(event_type, **fields),
                    content_type="application/json",
                    content_encoding="utf-8",
                    priority=0,
                    delivery_mode=2,
                )
                channel.basic_publish(message, exchange)

            def sample(exchange: str, mac: str, port: str) -> float:
                def holds(link: Link) -> bool:
                    return any((vf.mac, vf.vlan) == (mac, VLAN) for vf in link.vfs)

                time.sleep(random.uniform(0.3, 0.8))
                with Watch(bench.indices) as watch:
                    began = time.perf_counter()
                    publish(exchange, "updated", id=port, mac=mac)
                    return watch.until(holds, CHANGE_SECONDS) - began

            for number in range(PUSHES):
                port, mac = str(uuid.uuid4()), f"02:00:00:00:02:{number:02x}"
                ours.append(sample(PUSHED, mac, port))
                publish(PUSHED, "deleted", id=port, mac=mac)
                wait_free(bench)
                # all VFs of the PF, of which the last is set last
                peer.append(sample(BARE, macs[-1], port))
                bench.set({0: [Change(vf, ZERO_MAC, 0) for vf in range(7)]})
    finally:
        bare.kill()
        bare.wait()
        bench.release()
    return ours, peer


def pushed(event_type: str, *, id: object, mac: object) -> str:
    """A Port as Neutron pushes it, bound to the host ``ours`` by nobody who chose a VF."""

    def primitive(name: str, version: str, data: dict[str, object]) -> dict[str, object]:
        return {
            "versioned_object.name": name,
            "versioned_object.namespace": "versionedobjects",
            "versioned_object.version": version,
            "versioned_object.data": data,
        }

    network = "340265cf-63b7-4093-ac7c-675df9d8b6be"
    segment = {
        "id": "f962fd47-7b5f-42be-98f0-93b3bfbfe22f",
        "network_id": network,
        "network_type": "vlan",
        "physical_network": PHYSICAL_NETWORK,
        "segmentation_id": VLAN,
        "is_dynamic": False,
        "segment_index": 0,
        "hosts": [],
        "revision_number": 0,
    }
    binding = {
        "port_id": id,
        "host": "ours",
        "profile": "{}",
        "vif_type": "hw_veb",
        "vif_details": json.dumps({"port_filter": False, "connectivity": "l2", "vlan": str(VLAN)}),
        "vnic_type": "direct",
        "status": "ACTIVE",
    }
    level = {
        "port_id": id,
        "host": "ours",
        "level": 0,
        "driver": "sriovnicswitch",
        "segment": primitive("NetworkSegment", "1.0", dict(segment)),
        "segment_id": segment["id"],
    }
    security = {"id": id, "port_security_enabled": True}
    port = {
        "id": id,
        "project_id": "project1",
        "name": "bench",
        "network_id": network,
        "mac_address": mac,
        "admin_state_up": True,
        "device_id": "",
        "device_owner": "test:vm",
        "status": "DOWN",
        "allowed_address_pairs": [],
        "bindings": [primitive("PortBinding", "1.0", dict(binding))],
        "data_plane_status": None,
        "dhcp_options": [],
        "distributed_bindings": [],
        "dns": None,
        "fixed_ips": [],
        "security": primitive("PortSecurity", "1.0", security),
        "security_group_ids": [],
        "qos_policy_id": None,
        "qos_network_policy_id": None,
        "binding_levels": [primitive("PortBindingLevel", "1.1", level)],
        "revision_number": 3,
        "description": "",
        "created_at": "2026-11-20T22:06:44Z",
        "updated_at": "2026-11-20T22:06:44Z",
    }
    message = {
        "method": "push",
        "args": {"resource_list": [primitive("Port", "1.7", port)], "event_type": event_type},
        "version": "1.1",
        "_unique_id": uuid.uuid4().hex,
        "_context_is_admin": True,
        "_context_request_id": f"req-{uuid.uuid4()}",
        "_context_roles": ["member", "reader", "admin"],
    }
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)})


def wait_free(bench: Bench) -> None:
    """Wait until no VF has a VLAN.

    :raises TimeoutError: one has
    """
    deadline = time.monotonic() + CHANGE_SECONDS
    while any(vf.vlan for index in bench.indices for vf in bench.route.link(index).vfs):
        if time.monotonic() > deadline:
            raise TimeoutError("a VF keeps the VLAN of a port that is deleted")
        time.sleep(0.2)


def give_to_vfio(bench: Bench) -> None:
    """Play libvirt for all guests at once: their VFs have another driver, and no netdev."""
    subprocess.run(["modprobe", "vfio-pci"], check=True)
    for pf in bench.pfs:
        for slot in pf["vfs"]:
            device = Path("/sys/bus/pci/devices") / slot
            (device / "driver_override").write_text("vfio-pci")
            if (device / "driver").exists():
                (device / "driver/unbind").write_text(slot)
            Path("/sys/bus/pci/drivers_probe").write_text(slot)
            if (device / "driver").resolve().name != "vfio-pci":
                raise RuntimeError(f"vfio-pci does not take {slot}")


#: What is measured with ports that nova has bound.
BOUND = (
    "event_to_active",
    "setting_to_kernel",
    "burst_to_active",
    "rss",
    "amqp_connections",
    "idle_cpu",
    "restart_status_changes",
)


def measure_agent(bench: Bench, agent: Agent, heartbeats: list[float]) -> None:
    """All that is measured of one agent, with ports bound by nova."""
    side = agent.name
    with bench.failing(side, "start_to_heartbeat", *BOUND):
        heartbeats.append(start(bench, agent))
        agent.wait_settled(START_SECONDS)
        if bench.wants(*BOUND):
            bench.bind(side)
            time.sleep(10)
    if bench.ports:
        bench.measure("event_to_active", side, lambda: event_to_active(bench))
        bench.measure("setting_to_kernel", side, lambda: setting_to_kernel(bench))
        bench.measure("burst_to_active", side, lambda: burst_to_active(bench))
        with bench.failing(side, "rss", "idle_cpu", "restart_status_changes"):
            if bench.wants("rss", "idle_cpu", "restart_status_changes"):
                plug_all(bench)
        bench.measure("idle_cpu", side, lambda: idle_cpu(agent))
        bench.measure("rss", side, lambda: rss(bench, agent))
        port = int(bench.broker.rpartition(":")[2])
        bench.measure("amqp_connections", side, lambda: amqp_connections(agent, port))
        bench.measure(
            "restart_status_changes",
            side,
            lambda: restart_status_changes(bench, agent, heartbeats),
        )
    with bench.failing(side, "start_to_heartbeat"):
        while bench.wants("start_to_heartbeat") and len(heartbeats) < 2:
            agent.stop()
            heartbeats.append(start(bench, agent))
    bench.measure("start_to_heartbeat", side, lambda: heartbeats)
    agent.stop()
    bench.unbind()


def pairs(
    bench: Bench, name: str, measured: Callable[[Bench], tuple[list[float], list[float]]]
) -> None:
    """A metric of which both sides are measured in turn."""
    found: list[list[float]] = []

    def ours() -> list[float]:
        found.extend(measured(bench))
        return found[0]

    bench.measure(name, "ours", ours)
    if found:
        bench.measure(name, "peer", lambda: found[1])


def measure(bench: Bench, environment: Path | None, logs: Path, *, with_ours: bool) -> None:
    """Everything that is wanted.

    :param environment: the virtual environment with the old agent; ``None``: it is left out
    :param with_ours: whether this project's agent is measured
    """
    if with_ours:
        pairs(bench, "netlink_program", netlink_program)
        pairs(bench, "netlink_scan", netlink_scan)
    agents = []
    conf_file = bench.conf_file
    ours = processes.ours(
        Path(sys.executable).parent / "sriov-agent",
        STATE / "ours",
        STATE / "ours.log",
        bench.netdevs,
        conf_file,
    )
    if with_ours:
        agents.append(ours)
    if environment:
        log = STATE / "peer.log"
        agents.append(processes.peer(environment, STATE / "peer", log, bench.netdevs, conf_file))
    if not bench.wants("push_to_kernel", "start_to_heartbeat", *BOUND):
        return
    heartbeats: dict[str, list[float]] = {agent.name: [] for agent in agents}
    try:
        if with_ours:
            with bench.failing("ours", "start_to_heartbeat", "push_to_kernel"):
                # Neutron takes a while until it pushes to an agent that it did not know, which
                # lists its ports over and over meanwhile.
                heartbeats["ours"].append(start(bench, ours))
                time.sleep(5)
                ours.stop()
        if with_ours and bench.wants("push_to_kernel"):
            with bench.failing("ours", "push_to_kernel", "start_to_heartbeat"):
                heartbeats["ours"].append(start(bench, ours))
                time.sleep(10)
                pairs(bench, "push_to_kernel", push_to_kernel)
                ours.stop()
                shutil.rmtree(STATE / "ours" / "interfaces", ignore_errors=True)
        if bench.wants("start_to_heartbeat", *BOUND):
            give_to_vfio(bench)
            bench.release()
            for agent in agents:
                measure_agent(bench, agent, heartbeats[agent.name])
    finally:
        for agent in agents:
            agent.stop()
            if agent.log.exists():
                shutil.copy(agent.log, logs)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(prog="agents")
    parser.add_argument("--service", required=True, help="URL of tools/bench/service.py")
    parser.add_argument("--environment", type=Path, help="virtual environment of the old agent")
    parser.add_argument("--no-ours", action="store_true", help="leave this agent out")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("metrics", nargs="+")
    arguments = parser.parse_args()
    bench = Bench(arguments.service, arguments.metrics, arguments.output)
    try:
        logs = arguments.output.parent
        measure(bench, arguments.environment, logs, with_ours=not arguments.no_ours)
    except Exception as error:
        traceback.print_exc()
        for name, each in bench.measured.items():
            if not each.ours and not each.peer:
                with bench.failing("run", name):
                    raise error


if __name__ == "__main__":
    main()
