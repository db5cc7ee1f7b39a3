# SPDX-License-Identifier: Apache-2.0
"""Notifications as Neutron sent them (tests/samples/neutron), for the ports of these tests."""

import copy
import json
from pathlib import Path

from tests.topology import HOST, port_id, port_mac

SAMPLES = Path(__file__).parent / "samples" / "neutron"
NETWORK_ID = "340265cf-63b7-4093-ac7c-675df9d8b6be"


def sample(name: str) -> dict:
    """The payload of a captured notification."""
    message = json.loads((SAMPLES / f"{name}.json").read_text())
    return message["oslo.message"]["payload"]


_PORT = sample("port.create.end_admin")["port"]
_NETWORK = sample("network.create.end")["network"]
_ADMIN_ONLY = [name for name in _PORT if name not in sample("port.create.end_member")["port"]]


def port(number: int, revision: int = 1, vlan: int | None = 15, **given: object) -> dict:
    """Payload of ``port.create.end`` or ``port.update.end`` for an administrator.

    ``binding_host_id`` and the like stand for ``binding:host_id``.
    """
    entry = copy.deepcopy(_PORT) | {
        "id": port_id(number),
        "mac_address": port_mac(number),
        "name": f"p{number}",
        "network_id": NETWORK_ID,
        "revision_number": revision,
        "binding:host_id": HOST,
        "binding:profile": {"physical_network": "physnet2"},
        "binding:vif_details": {} if vlan is None else {"vlan": str(vlan)},
    }
    given = {name.replace("binding_", "binding:", 1): value for name, value in given.items()}
    return {"port": entry | given}


def members_view(payload: dict) -> dict:
    """The same as a tenant may see it, without all but one of the ``binding:*`` fields."""
    entry = {name: value for name, value in payload["port"].items() if name not in _ADMIN_ONLY}
    return {"port": entry}


def deleted(number: int) -> dict:
    """Payload of ``port.delete.end``."""
    return {**port(number), "port_id": port_id(number)}


def network(vlan: object, revision: int = 1, **given: object) -> dict:
    """Payload of ``network.create.end`` or ``network.update.end``."""
    given = {name.replace("provider_", "provider:", 1): value for name, value in given.items()}
    entry = copy.deepcopy(_NETWORK) | {
        "id": NETWORK_ID,
        "revision_number": revision,
        "provider:physical_network": "physnet2",
        "provider:segmentation_id": vlan,
    }
    return {"network": entry | given}
