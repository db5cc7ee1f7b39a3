# SPDX-License-Identifier: Apache-2.0
"""The story of one port, told inside the lab guest by what can be seen from outside the agent.

What the agent says of itself is told, but every check reads another witness: the kernel through
``ip``, the leaf switch through ``bridge`` and ``tcpdump``, libvirt's schema, and ping.
"""

import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lxml import etree
from oslo_config import cfg
from witness import open_vlans, pings, run, vf

from sriov_agent import conf as options
from sriov_agent.core.state import Claim
from sriov_agent.service import Agent
from sriov_agent.sources.notifications import oslo_messaging
from sriov_agent.store import Store

Facts = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
TOPOLOGY = Path("/run/sriov-lab/topology.json")
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
STATE = Path("/run/sriov-demo")
HOST = "compute1"
PORT = "5a0dc439-7702-4f15-8d3c-02ea57c43977"
NETWORK = "0f0e1500-0000-4000-8000-000000000015"
MAC = "02:5a:0d:c4:39:77"
VLAN = 15
GUEST, GUEST_ADDRESS = "guest1", "198.51.100.77/24"
SEEN_WITHIN_SECONDS = 60.0


class Story:
    """Checks as they are made, with the seconds each took."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.checks: list[dict[str, object]] = []
        self._told = time.monotonic()

    def tell(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def check(self, name: str, look: Callable[[], str | None], within: float = 0.0) -> bool:
        """Look until ``look`` returns what it saw; ``None`` or an error is not seen."""
        detail, ok = "", False
        deadline = time.monotonic() + within
        while not ok:
            try:
                seen = look()
                ok, detail = seen is not None, seen or "not seen"
            except Exception as error:
                detail = f"{type(error).__name__}: {error}"
            if time.monotonic() >= deadline:
                break
            if not ok:
                time.sleep(0.1)
        now = time.monotonic()
        seconds, self._told = now - self._told, now
        self.checks.append({"name": name, "ok": ok, "seconds": round(seconds, 3), "detail": detail})
        print(f"  {'ok  ' if ok else 'FAIL'} {name:18} {seconds:6.2f} s  {detail}", flush=True)
        report = json.dumps({"checks": self.checks}, indent=2)
        (self.output / "report.json").write_text(report + "\n", "utf-8")
        return ok


def tenant_address(lab: dict[str, list[Facts]], leaf: str) -> str:
    """The address of the tenant host in the VLAN behind a leaf."""
    (found,) = (entry for entry in lab["leaves"] if entry["name"] == leaf)
    (netdev,) = (entry for entry in found["tenant"]["interfaces"] if entry["vlan"] == VLAN)
    address: str = netdev["address"]
    return address.partition("/")[0]


def xml_is_valid(path: Path) -> bool:
    """Whether libvirt's own schema takes a domain with this interface."""
    domain = etree.fromstring(
        "<domain type='qemu'><name>demo</name><memory>1024</memory>"
        "<os><type>hvm</type></os><devices/></domain>"
    )
    domain[-1].append(etree.parse(path).getroot())
    return bool(etree.RelaxNG(etree.parse(SCHEMA)).validate(domain))


def port_payload() -> dict[str, object]:
    """A port as Neutron's administrator sees it after ``port create --vnic-type direct``."""
    return {
        "id": PORT,
        "name": "demo",
        "network_id": NETWORK,
        "mac_address": MAC,
        "admin_state_up": True,
        "status": "DOWN",
        "device_id": "",
        "device_owner": "compute:demo",
        "binding:vnic_type": "direct",
        "binding:profile": {},
        "binding:host_id": HOST,
        "binding:vif_type": "hw_veb",
        "binding:vif_details": {"port_filter": False, "connectivity": "l2", "vlan": str(VLAN)},
        "port_security_enabled": True,
        "revision_number": 3,
    }


def network_payload() -> dict[str, object]:
    """The port's provider network."""
    return {
        "id": NETWORK,
        "name": "demo",
        "provider:network_type": "vlan",
        "provider:physical_network": "physnet2",
        "provider:segmentation_id": VLAN,
        "revision_number": 1,
    }


@contextmanager
def running(conf: cfg.ConfigOpts) -> Iterator[Agent]:
    """The agent, in a thread of its own."""
    agent = Agent(conf)
    thread = threading.Thread(target=agent.run, name="agent")
    thread.start()
    try:
        yield agent
    finally:
        agent.stop()
        thread.join()


def configuration(pfs: list[str]) -> cfg.ConfigOpts:
    """As an operator's file would say it, on embedded parts."""
    conf = options.register(cfg.ConfigOpts())
    STATE.mkdir(exist_ok=True)
    hook = ROOT / "tools/lab/guest/leaf-fabric"
    file = STATE / "sriov-agent.conf"
    file.write_text(
        "[DEFAULT]\n"
        f"host = {HOST}\n"
        "transport_url = fake://\n"
        "[agent]\n"
        f"state_path = {STATE}\n"
        "source = notifications\n"
        "[sriov_nic]\n"
        f"physical_device_mappings = {', '.join(f'physnet2:{pf}' for pf in pfs)}\n"
        "[fabric]\n"
        "hook = exec\n"
        "[hook_exec]\n"
        f"command = {hook}\n"
    )
    conf([f"--config-file={file}"])
    return conf


def before(story: Story, tenant: str, vf: str) -> None:
    """A VF that nobody configured is in no VLAN."""
    story.tell(f"A VF joins a guest before anybody configured it; {tenant} is in VLAN {VLAN}.")
    run("vf-guest", "attach", vf, GUEST, GUEST_ADDRESS)
    story.check(
        "ping-fails-before", lambda: None if pings(GUEST, tenant) else f"no answer from {tenant}"
    )
    run("vf-guest", "detach", GUEST)


def created(story: Story, agent: Agent, store: Store) -> Claim | None:
    """The port is announced and gets a VF."""
    story.check(
        "event-consumed",
        lambda: "port.create.end" if agent.counters.snapshot()["events.received"] == 2 else None,
        SEEN_WITHIN_SECONDS,
    )
    story.tell("The agent gives it a VF, programs it, and has the leaf switch opened.")

    def allocated() -> str | None:
        claim = store.claims().get(PORT)
        return f"VF {claim.vf}, index {claim.index} of PF {claim.pf}" if claim else None

    story.check("vf-allocated", allocated, SEEN_WITHIN_SECONDS)
    return store.claims().get(PORT)


def programmed(story: Story, store: Store, claim: Claim, pf: Facts, xml: Path) -> None:
    """VF, interface XML, switch port and switch are as the port needs them."""
    leaf, port = pf["leaf"], pf["port"]

    def vf_programmed() -> str | None:
        seen = vf(pf["netdev"], claim.index)
        done = seen["address"] == MAC and seen["vlan"] == VLAN
        return f"ip link: MAC {MAC}, VLAN {VLAN}" if done else None

    def xml_valid() -> str | None:
        if not xml.exists() or not xml_is_valid(xml):
            return None
        text = xml.read_text("utf-8")
        (story.output / xml.name).write_text(text, "utf-8")
        parts = [f'="0x{part}"' for part in re.split("[:.]", claim.vf)]
        named = all(part in text for part in (MAC, f'id="{VLAN}"', *parts))
        return f"{xml.name} by libvirt's schema" if named else None

    def lldp_resolved() -> str | None:
        found = {known for known in store.switch_ports() if known.pf == claim.pf}
        names = {(known.system_name, known.port_id.value) for known in found}
        return f"{leaf} {port}" if names == {(leaf, port)} else None

    def fabric_opened() -> str | None:
        vlans = open_vlans(leaf, port)
        return f"bridge vlan: {leaf} {port} has {sorted(vlans)}" if VLAN in vlans else None

    story.check("vf-programmed", vf_programmed, SEEN_WITHIN_SECONDS)
    story.check("xml-valid", xml_valid, SEEN_WITHIN_SECONDS)
    story.check("lldp-resolved", lldp_resolved, SEEN_WITHIN_SECONDS)
    story.check("fabric-opened", fabric_opened, SEEN_WITHIN_SECONDS)


def connected(story: Story, tenant: str, claim: Claim, pf: Facts) -> None:
    """The guest reaches the tenant, and the NIC puts the tag on."""
    story.tell("The guest takes the VF; nothing is configured inside it but an address.")
    run("vf-guest", "attach", claim.vf, GUEST, GUEST_ADDRESS)
    leaf, port = pf["leaf"], pf["port"]
    sniff = f"ip netns exec {leaf} tcpdump -i {port} -enl -c 1 vlan {VLAN} and ether src {MAC}"
    capture = subprocess.Popen(
        sniff.split(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )

    def tag_seen() -> str | None:
        pings(GUEST, tenant)
        frame, _ = capture.communicate(timeout=20)
        found = re.search(rf"802\.1Q.*vlan {VLAN}\b", frame)
        return f"tcpdump on {leaf} {port}: {found[0]}" if found else None

    try:
        story.check(
            "ping-passes",
            lambda: f"{tenant} answers" if pings(GUEST, tenant) else None,
            SEEN_WITHIN_SECONDS,
        )
        story.check("tag-seen", tag_seen)
    finally:
        capture.kill()
        capture.wait()


def released(story: Story, store: Store, claim: Claim, pf: Facts, xml: Path) -> None:
    """Nothing is left of the port."""

    def as_unused() -> str | None:
        seen = vf(pf["netdev"], claim.index)
        left = (
            PORT in store.claims(),
            xml.exists(),
            seen["address"] == MAC,
            seen["vlan"] or seen["qos"],
            not seen["spoofchk"],
            seen["trust"],
            VLAN in open_vlans(pf["leaf"], pf["port"]),
        )
        return None if any(left) else "VF as unused, XML removed, leaf closed"

    story.check("released", as_unused, SEEN_WITHIN_SECONDS)


def tell(output: Path) -> bool:
    """The whole story; True if every check was seen."""
    story = Story(output)
    lab = json.loads(TOPOLOGY.read_text())
    pfs = {pf["pci"]: pf for pf in lab["pfs"]}
    first = lab["pfs"][0]
    tenant = tenant_address(lab, first["leaf"])
    conf = configuration(list(pfs))
    store = Store(options.store_path(conf))
    xml = options.interfaces_path(conf) / f"{PORT}.xml"

    before(story, tenant, first["vfs"][0])
    with running(conf) as agent:
        neutron = oslo_messaging.Notifier(
            oslo_messaging.get_notification_transport(conf),
            "network.controller1",
            driver="messaging",
            topics=[conf.notifications.topic],
        )
        story.tell("Neutron notifies: port.create.end, vnic_type direct, bound to this host.")
        neutron.info({}, "network.create.end", {"network": network_payload()})
        neutron.info({}, "port.create.end", {"port": port_payload()})
        claim = created(story, agent, store)
        if claim is None:
            return False
        pf = pfs[claim.pf]
        programmed(story, store, claim, pf, xml)
        connected(story, tenant, claim, pf)
        story.tell("Neutron notifies: port.delete.end. Everything is taken back.")
        neutron.info({}, "port.delete.end", {"port_id": PORT, "port": port_payload()})
        released(story, store, claim, pf, xml)
    story.check(
        "ping-fails-after", lambda: None if pings(GUEST, tenant) else f"no answer from {tenant}"
    )
    return all(check["ok"] for check in story.checks)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="       agent: %(message)s")
    sys.exit(0 if tell(Path(sys.argv[1])) else 1)
