# SPDX-License-Identifier: Apache-2.0
"""What is done and looked at on the machine itself, for the driver in the emulated guest."""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tools.bench.processes import PHYSICAL_NETWORK, VLAN
from tools.openstack.api import SERVICE, Entry
from tools.openstack.remote import Remote
from tools.openstack.stack import LOOPBACK_FROM_GUEST, Stack

POLL_SECONDS = 0.02
#: igb's VF, as nova has it from the PCI device
VENDOR = "8086:10ca"


class Service(Remote):
    """The switches of a Neutron, and what benchmarks ask of it besides."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        actions: dict[str, Callable[..., object]] = {
            "facts": self.facts,
            "bind": self.bind,
            "delete": self.delete,
            "update": self.update,
            "wait_status": self.wait_status,
            "wait_started": self.wait_started,
            "started_at": self.started_at,
            "revisions": self.revisions,
        }
        super().__init__(
            stack,
            {
                f"/bench/{name}": lambda given, do=do: do(**given)  # type: ignore[misc]
                for name, do in actions.items()
            },
        )

    def facts(self) -> dict[str, str]:
        """Where things are, seen from the guest."""
        return {
            "conf_file": str(self._stack.guest_conf_file),
            "broker": f"{LOOPBACK_FROM_GUEST}:{self._stack.broker.port}",
        }

    def bind(self, host: str, slots: list[str]) -> list[dict[str, Any]]:
        """Ports that nova has bound to VFs of a host, in the order of these."""
        api, nova = self._stack.api(), self._stack.api(SERVICE)
        found = api.list("network", name="bench")
        network = found[0] if found else self._network()
        made = api.request(
            "POST",
            "ports",
            json={
                "ports": [
                    {
                        "network_id": network["id"],
                        "name": slot,
                        "binding:vnic_type": "direct",
                        "security_groups": [],
                    }
                    for slot in slots
                ]
            },
        )["ports"]

        def bind(port: Entry, slot: str) -> dict[str, Any]:
            bound = nova.update(
                "port",
                port["id"],
                device_owner="compute:nova",
                device_id=str(uuid.uuid4()),
                binding_host_id=host,
                binding_profile={
                    "pci_slot": slot,
                    "pci_vendor_info": VENDOR,
                    "physical_network": PHYSICAL_NETWORK,
                },
            )
            if (vif_type := api.show("port", port["id"])["binding:vif_type"]) != "hw_veb":
                raise RuntimeError(f"a port of {host} is {vif_type}: is its agent alive?")
            return {"id": port["id"], "mac": bound["mac_address"], "slot": slot}

        return [bind(port, slot) for port, slot in zip(made, slots, strict=True)]

    def _network(self) -> Entry:
        api = self._stack.api()
        network = api.create(
            "network",
            name="bench",
            provider_network_type="vlan",
            provider_physical_network=PHYSICAL_NETWORK,
            provider_segmentation_id=VLAN,
        )
        subnet = {"ip_version": 4, "cidr": "198.51.100.0/24", "enable_dhcp": False}
        api.create("subnet", network_id=network["id"], **subnet)
        return network

    def delete(self, ports: list[str]) -> None:
        """Have them gone."""
        api = self._stack.api()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda port: api.delete("port", port), ports))

    def update(self, port: str, fields: dict[str, Any]) -> None:
        """Change a port."""
        self._stack.api().update("port", port, **fields)

    def wait_status(self, ports: list[str], status: str, timeout: float) -> float:
        """Wait until all of them have a status; how long a look took on average.

        :raises TimeoutError: they have it not
        """
        api = self._stack.api()
        deadline = time.monotonic() + timeout
        looks, spent = 0, 0.0
        while (began := time.monotonic()) < deadline:
            found = api.request("GET", "ports", params={"id": ports, "fields": "status"})["ports"]
            took = time.monotonic() - began
            looks, spent = looks + 1, spent + took
            if len(found) == len(ports) and all(port["status"] == status for port in found):
                return spent / looks
            time.sleep(max(0.0, POLL_SECONDS - took))
        raise TimeoutError(f"{len(ports)} ports not {status} in {timeout:g} s")

    def wait_started(self, host: str, before: str, timeout: float) -> str:
        """Wait until Neutron has a heartbeat of an agent that started since ``before``.

        :raises TimeoutError: it has none
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if (now := self.started_at(host)) != before:
                return now
            time.sleep(2 * POLL_SECONDS)
        raise TimeoutError(f"no heartbeat of {host} in {timeout:g} s")

    def started_at(self, host: str) -> str:
        """When the agent of a host started, by its first heartbeat; "" without one."""
        found = self._stack.api().list("agent", host=host)
        return str(found[0]["started_at"]) if found else ""

    def revisions(self, ports: list[str]) -> dict[str, list[Any]]:
        """(revision number, time of the last change, status) of each."""
        found = self._stack.api().request("GET", "ports", params={"id": ports})["ports"]
        return {
            port["id"]: [port["revision_number"], port["updated_at"], port["status"]]
            for port in found
        }
