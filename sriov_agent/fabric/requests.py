# SPDX-License-Identifier: Apache-2.0
"""What agents ask: the same JSON as any device-manager hook, from hosts that may lie.

A host says what it wants on the links of its own PFs, and is told what became of that; which
switch port a link is, is decided here.
"""

import time
from collections.abc import Callable, Iterable, Mapping

from sriov_agent.core import fields
from sriov_agent.core.link import as_json, from_json
from sriov_agent.core.model import SwitchPort
from sriov_agent.core.signature import genuine, host_key
from sriov_agent.counters import Counters
from sriov_agent.exceptions import InvalidField, Refused, SriovAgentError
from sriov_agent.fabric.inventory import Inventory, Rules
from sriov_agent.fabric.model import Link, Want
from sriov_agent.fabric.state.base import State
from sriov_agent.fabric.wants import answer, wanted

Json = object

#: So that one host cannot fill the state: a PF has one switch port, or a bond's.
MAX_LINKS = 256

_NUMBER = 2**63 - 1


class Stale(Refused):
    """It is older than what the host said before; ``epoch`` is of that."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        super().__init__("older than what this host said before")


class Requests:
    """Answers them, from any thread.

    :param rules: what may be done on each switch
    :param inventory: see :func:`sriov_agent.fabric.inventory.place`
    :param secret: what the keys of hosts are made of, empty if nothing needs to be signed
    :param max_links: how many one host may have
    :param changed: called with the switches of which something else is wanted now
    """

    def __init__(
        self,
        state: State,
        rules: Mapping[str, Rules],
        inventory: Inventory | None,
        secret: bytes,
        changed: Callable[[Iterable[str]], None],
        counters: Counters,
        max_links: int = MAX_LINKS,
    ) -> None:
        self.state = state
        self.rules = rules
        self.inventory = inventory
        self._secret = secret
        self._changed = changed
        self._counters = counters
        self._max_links = max_links
        self._operations = {"apply": self._apply, "read": self._read, "owned": self._owned}

    def answer(self, request: Json, signature: Json = None) -> dict[str, Json]:
        """The answer to a request, with ``error`` if it is turned down."""
        self._counters.count("requests")
        try:
            if not isinstance(request, Mapping) or request.get("version") != 1:
                raise InvalidField("version", request, "expected a request of version 1")
            host = fields.text(request.get("host"), "host")
            if self._secret and not genuine(host_key(self._secret, host), request, signature):
                raise Refused(
                    f"not signed with the key of host {host}: [hook_rpc] key_file on the host and "
                    "[device_manager] host_key_secret_file here belong together"
                )
            operation = self._operations.get(str(request.get("op")))
            if operation is None:
                raise InvalidField("op", request.get("op"), "expected apply, owned or read")
            return operation(host, request)
        except Stale as error:
            return {"error": str(error), "epoch": error.epoch}
        except SriovAgentError as error:
            self._counters.count("requests.refused")
            return {"error": str(error)}

    def _apply(self, host: str, request: Mapping[str, Json]) -> dict[str, Json]:
        link = from_json(request.get("link"))
        given = request.get("vlans")
        if not isinstance(given, list):
            raise InvalidField("vlans", given, "expected a list")
        vlans = frozenset(fields.integer(vlan, "vlans", 1, fields.MAX_VLAN) for vlan in given)
        want = Want(
            link=_link(host, link),
            vlans=vlans,
            epoch=fields.integer(request.get("epoch"), "epoch", 0, _NUMBER),
            sequence=fields.integer(request.get("sequence"), "sequence", 0, _NUMBER),
            system_name=link.system_name,
            port_description=link.port_description,
            heard=time.time(),
        )
        mine = self._wants(host)
        if want.link not in mine and len(mine) >= self._max_links:
            raise Refused(f"host {host} has {self._max_links} links already")
        if want.link not in mine and not vlans:
            return self._told([(link, None)])[0]
        if not self.state.put_wants([want]):
            raise Stale(max(known.epoch for known in self._wants(host).values()))
        placed = wanted([want], self.rules, self.inventory)
        self._changed({at.switch for at in placed.places.values()})
        return self._told([(link, want)])[0]

    def _read(self, host: str, request: Mapping[str, Json]) -> dict[str, Json]:
        given = request.get("links")
        if not isinstance(given, list) or len(given) > MAX_LINKS:
            raise InvalidField("links", given, f"expected a list of at most {MAX_LINKS}")
        links = [from_json(entry) for entry in given]
        wants = self._wants(host)
        told = self._told([(link, wants.get(_link(host, link))) for link in links])
        return {"links": [as_json(link) | entry for link, entry in zip(links, told, strict=True)]}

    def _owned(self, host: str, request: Mapping[str, Json]) -> dict[str, Json]:
        return {"links": [as_json(switch_port(w)) for w in self._wants(host).values() if w.vlans]}

    def _wants(self, host: str) -> dict[Link, Want]:
        return {want.link: want for want in self.state.wants(host)}

    def _told(self, asked: Iterable[tuple[SwitchPort, Want | None]]) -> list[dict[str, Json]]:
        pairs = list(asked)
        placed = wanted([want for _, want in pairs if want], self.rules, self.inventory)
        seen = {(status.switch, status.port): status for status in self.state.statuses()}
        told: list[dict[str, Json]] = []
        for _, want in pairs:
            known = answer(want, placed, seen)
            why = [*known.refused.values(), *filter(None, [known.error])]
            told.append(
                {
                    "vlans": None if known.vlans is None else sorted(known.vlans),
                    "pending": sorted(known.pending),
                    "error": "; ".join(why),
                }
            )
        return told


def switch_port(want: Want) -> SwitchPort:
    """The link of a want as its agent knows it."""
    return SwitchPort(
        pf=want.link.pf,
        chassis_id=want.link.chassis_id,
        port_id=want.link.port_id,
        system_name=want.system_name,
        port_description=want.port_description,
    )


def _link(host: str, link: SwitchPort) -> Link:
    return Link(host, link.pf, link.chassis_id, link.port_id)
