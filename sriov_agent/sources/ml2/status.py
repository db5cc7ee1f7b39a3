# SPDX-License-Identifier: Apache-2.0
"""Of which ports Neutron is to be told that they are wired, or not any more: pure.

Neutron makes a port ACTIVE when it hears that it is up and no other agent is waited for, and tells
nova; DOWN when it hears that it is down. So neither is said of a port of which it is unknown, and
nothing that Neutron knows.
"""

from collections.abc import Mapping

from msgspec import Struct

from sriov_agent.core.model import LinkState
from sriov_agent.core.report import Report
from sriov_agent.core.state import PortBinding

_ACTIVE = "ACTIVE"


class Said(Struct, frozen=True):
    """What Neutron was told last of a port, and which of its own words that was an answer to."""

    up: bool
    revision_number: int
    status: str


def news(
    bindings: Mapping[str, PortBinding], report: Report, said: Mapping[str, Said]
) -> dict[str, Said]:
    """What is to be said now, by port."""
    found: dict[str, Said] = {}
    for port_id, binding in bindings.items():
        entry = report.ports.get(port_id)
        connected = entry.connected if entry else None
        if binding.link_state == LinkState.DISABLE:
            # Neutron leaves it ACTIVE until it is told.
            connected = False
        if connected is None:
            continue
        answer = Said(connected, binding.revision_number, binding.status)
        if connected != (binding.status == _ACTIVE) and said.get(port_id) != answer:
            found[port_id] = answer
    return found
