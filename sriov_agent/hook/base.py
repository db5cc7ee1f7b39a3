# SPDX-License-Identifier: Apache-2.0
"""The device-manager hook: how the agent has switch ports configured.

What crosses it is declarative and whole: for a PF on a switch port the full set of VLANs that
this host wants there, never "add VLAN". Asking twice is harmless. The answer is what was seen
on the switch afterwards, not what was asked.
"""

import abc
import itertools
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from sriov_agent.core import fields
from sriov_agent.core.model import SwitchPort
from sriov_agent.exceptions import InvalidField, Refused

Json = object


class Hook(abc.ABC):
    """One device manager. Drivers are found by the entry point group ``sriov_agent.hook``."""

    #: Whether a port is only met once its VLAN was seen open on the switch.
    required = True

    @abc.abstractmethod
    def read(self, switch_ports: Iterable[SwitchPort]) -> dict[SwitchPort, frozenset[int]]:
        """The VLANs open for this host on each switch port; one that cannot be told is absent.

        :raises Unavailable: if the device manager did not answer
        :raises Refused: if it answered no
        """

    @abc.abstractmethod
    def apply(self, switch_port: SwitchPort, vlans: frozenset[int]) -> frozenset[int]:
        """Have exactly ``vlans`` open for this host on the switch port; return what was seen.

        :raises Unavailable: if the device manager did not answer
        :raises Refused: if it answered no
        """


class JsonHook(Hook):
    """A device manager that takes one JSON object and answers with one.

    :param host: this host's name, as Neutron knows it
    """

    VERSION = 1

    def __init__(self, host: str) -> None:
        self.host = host
        self._epoch = time.time_ns() // 1_000_000
        self._sequence = itertools.count(1)

    @abc.abstractmethod
    def ask(self, request: Mapping[str, Json]) -> Json:
        """The decoded answer to one request.

        :raises Unavailable: if there was none
        :raises Refused: if it is no JSON, or an error
        """

    def read(self, switch_ports: Iterable[SwitchPort]) -> dict[SwitchPort, frozenset[int]]:
        asked = list(switch_ports)
        if not asked:
            return {}
        answer = self.ask(self._request("read", links=[link(port) for port in asked]))
        links = answer.get("links") if isinstance(answer, dict) else None
        if not isinstance(links, list):
            raise Refused("the device manager's answer has no list 'links'")
        by_link = {_identity(link(port)): port for port in asked}
        found: dict[SwitchPort, frozenset[int]] = {}
        for entry in links:
            port = by_link.get(_identity(entry)) if isinstance(entry, dict) else None
            if port is not None:
                found[port] = _vlans(entry)
        return found

    def apply(self, switch_port: SwitchPort, vlans: frozenset[int]) -> frozenset[int]:
        request = self._request("apply", link=link(switch_port), vlans=sorted(vlans))
        return _vlans(self.ask(request))

    def _request(self, operation: str, **arguments: Json) -> dict[str, Json]:
        return {
            "version": self.VERSION,
            "op": operation,
            "host": self.host,
            "epoch": self._epoch,
            "sequence": next(self._sequence),
            **arguments,
        }


def link(switch_port: SwitchPort) -> dict[str, Json]:
    """A switch port as it crosses the hook: the PF and the LLDP evidence for where it hangs."""
    return {
        "pf": switch_port.pf,
        "switch": {
            "chassis_id": asdict(switch_port.chassis_id),
            "name": switch_port.system_name,
        },
        "port": {
            "id": asdict(switch_port.port_id),
            "description": switch_port.port_description,
        },
    }


def _identity(entry: Mapping[str, Json]) -> str:
    """The same text for the same link, in whatever order the members of its objects came."""
    switch, port = entry.get("switch"), entry.get("port")
    return json.dumps(
        [
            entry.get("pf"),
            switch.get("chassis_id") if isinstance(switch, dict) else None,
            port.get("id") if isinstance(port, dict) else None,
        ],
        sort_keys=True,
    )


def _vlans(answer: Json) -> frozenset[int]:
    listed = answer.get("vlans") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        raise Refused("the device manager's answer has no list 'vlans'")
    try:
        return frozenset(fields.integer(vlan, "vlans", 1, fields.MAX_VLAN) for vlan in listed)
    except InvalidField as error:
        raise Refused(f"the device manager's answer: {error}") from error
