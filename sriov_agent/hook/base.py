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
from collections.abc import Callable, Iterable, Mapping

from sriov_agent.core import fields
from sriov_agent.core.link import as_json
from sriov_agent.core.model import Segment, SwitchPort
from sriov_agent.exceptions import InvalidField, Pending, Refused, printable

Json = object


class Hook(abc.ABC):
    """One device manager. Drivers are found by the entry point group ``sriov_agent.hook``.

    A link is a PF on a switch port; the PF of a bond has several.
    """

    #: Whether there is anybody to ask: then a port is only met once its VLAN was seen open.
    required = True
    #: Whether it tells networks apart. If not, segments have no ``network_id``.
    networks = False
    #: Whether what it refuses holds back nothing else of the same link.
    separates = False

    def start(self, changed: Callable[[SwitchPort], None]) -> None:  # noqa: B027 - few have news
        """Begin to hear of news; ``changed`` is called, from any thread, with their link."""

    def stop(self) -> None:  # noqa: B027 - few have news
        """Hear of no more."""

    def why(self, link: SwitchPort) -> str:
        """Why the last :meth:`read` left a link out; "" if that is not known."""
        return ""

    @abc.abstractmethod
    def read(self, links: Iterable[SwitchPort]) -> dict[SwitchPort, frozenset[Segment]]:
        """What is open for this host on each link; one that cannot be told is absent.

        :raises Unavailable: if the device manager did not answer
        :raises Refused: if it answered no
        """

    @abc.abstractmethod
    def apply(
        self, link: SwitchPort, wanted: Mapping[SwitchPort, frozenset[Segment]]
    ) -> frozenset[Segment]:
        """Have exactly ``wanted[link]`` open for this host on the link; return what was seen.

        :param wanted: what this host wants on every link that is known
        :raises Pending: if it is still being done; ``changed`` tells when it is
        :raises Unavailable: if the device manager did not answer
        :raises Refused: if it answered no
        """

    def owned(self) -> list[SwitchPort]:
        """Links on which it has something of this host, as far as it can tell by itself.

        So what an agent that lost its record has left behind is closed.

        :raises Unavailable: if the device manager did not answer
        """
        return []

    def network_number(self, network_id: str) -> int:
        """The number by which the device manager itself knows a network, where it has one.

        :raises Unavailable: if it did not answer
        :raises Refused: if there is none
        """
        raise Refused("[fabric] hook: this one gives networks no number: say the VLAN itself")


class JsonHook(Hook):
    """A device manager that takes one JSON object and answers with one.

    :param host: this host's name, as Neutron knows it
    """

    VERSION = 1

    def __init__(self, host: str) -> None:
        self.host = host
        self._epoch = time.time_ns() // 1_000_000
        self._sequence = itertools.count(1)
        self._why: dict[SwitchPort, str] = {}

    @abc.abstractmethod
    def ask(self, request: Mapping[str, Json]) -> Json:
        """The decoded answer to one request.

        :raises Unavailable: if there was none
        :raises Refused: if it is no JSON, or an error
        """

    def read(self, links: Iterable[SwitchPort]) -> dict[SwitchPort, frozenset[Segment]]:
        asked = list(links)
        if not asked:
            return {}
        answer = self.ask(self._request("read", links=[as_json(link) for link in asked]))
        listed = answer.get("links") if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            raise Refused("the device manager's answer has no list 'links'")
        by_link = {_identity(as_json(link)): link for link in asked}
        found: dict[SwitchPort, frozenset[Segment]] = {}
        self._why = {}
        for entry in listed:
            link = by_link.get(_identity(entry)) if isinstance(entry, dict) else None
            if link is None:
                continue
            if "vlans" in entry and entry["vlans"] is None:
                self._why[link] = _said(entry["error"]) if entry.get("error") else ""
            else:
                found[link] = _segments(entry)
        return found

    def apply(
        self, link: SwitchPort, wanted: Mapping[SwitchPort, frozenset[Segment]]
    ) -> frozenset[Segment]:
        for segment in sorted(wanted[link]):
            if not segment.tagged:
                raise Refused(f"VLAN {segment.vlan} untagged: this hook opens tagged VLANs alone")
        vlans = sorted(segment.vlan for segment in wanted[link])
        answer = self.ask(self._request("apply", link=as_json(link), vlans=vlans))
        if isinstance(answer, dict):
            if answer.get("error"):
                raise Refused(_said(answer["error"]))
            if answer.get("pending"):
                raise Pending
        return _segments(answer)

    def why(self, link: SwitchPort) -> str:
        return self._why.get(link, "")

    def _request(self, operation: str, **arguments: Json) -> dict[str, Json]:
        return {
            "version": self.VERSION,
            "op": operation,
            "host": self.host,
            "epoch": self._epoch,
            "sequence": next(self._sequence),
            **arguments,
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


def _said(error: Json) -> str:
    """What the device manager said, for one line."""
    return f"device manager: {printable(str(error), 500)[1:-1]}"


def _segments(answer: Json) -> frozenset[Segment]:
    listed = answer.get("vlans") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        raise Refused("the device manager's answer has no list 'vlans'")
    try:
        return frozenset(
            Segment(fields.integer(vlan, "vlans", 1, fields.MAX_VLAN)) for vlan in listed
        )
    except InvalidField as error:
        raise Refused(f"the device manager's answer: {error}") from error
