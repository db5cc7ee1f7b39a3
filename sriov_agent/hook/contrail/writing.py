# SPDX-License-Identifier: Apache-2.0
"""Creates and deletes, and nothing else: Contrail's PUT does not do what it says.

An answer is never believed alone. What might have happened is read back, and a status other than
200 is a reason to look. Source: sections 1.1, 1.3 and 1.7 of the contract.
"""

import logging
from collections.abc import Iterable, Mapping

from msgspec import Struct

from sriov_agent.core.model import Segment
from sriov_agent.exceptions import Refused, Unavailable, printable
from sriov_agent.hook.contrail import objects
from sriov_agent.hook.contrail.client import Answer, Api
from sriov_agent.hook.contrail.objects import At, Evidence, Vmi, Vpg
from sriov_agent.hook.contrail.reading import Reader, Vanished, refusal

LOG = logging.getLogger(__name__)

_TRIES = 3


class Opening(Struct, frozen=True):
    """A VLAN to be opened on a VPG; ``at`` is every switch port there with its chassis id."""

    vpg: Vpg
    segment: Segment
    at: Mapping[At, str]
    evidence: tuple[Evidence, ...]

    def __str__(self) -> str:
        ports = ", ".join(f"{printable(a)} {printable(b)}" for a, b in sorted(self.at))
        return f"switch port {ports}: {described(self.segment)}"


def described(segment: Segment) -> str:
    """A segment for messages."""
    kind = "tagged" if segment.tagged else "untagged"
    return f"VLAN {segment.vlan} {kind} of network {printable(segment.network_id)}"


class Writer:
    """:param project: fq_name of the project that VMIs are made in"""

    def __init__(self, api: Api, reader: Reader, project: list[str], host: str) -> None:
        self._api = api
        self._reader = reader
        self._project = project
        self._host = host

    def create_vpg(self, fabric: str, name: str, evidence: Iterable[Evidence]) -> Vpg:
        """A VPG of this name, made now or there already.

        :raises Refused: if the API answered no
        :raises Unavailable: if it cannot be told
        """
        body = objects.vpg_body(fabric, name, self._host, evidence)
        for _ in range(_TRIES):
            answer = self._api.call("POST", "/virtual-port-groups", body=body)
            if answer.status not in (200, 409, 504):
                if answer.status == 404:
                    self._reader.forget()
                raise refusal(answer, f"making virtual-port-group {printable(name)}")
            uuid = self._reader.there("virtual-port-group", [objects.GLOBAL, fabric, name])
            if found := self._reader.vpgs([uuid] if uuid else []):
                return found[0]
        raise Unavailable(f"Contrail API: virtual-port-group {printable(name)} does not stay")

    def create_vmi(self, opening: Opening) -> None:
        """Have the VMI of a segment on a VPG; one of somebody else's does as well.

        :raises Refused: if the API answered no; the message says what is missing
        :raises Unavailable: if it cannot be told
        :raises Vanished: if the VPG is gone
        """
        vpg, segment = opening.vpg, opening.segment
        body = objects.vmi_body(
            self._project,
            vpg.fabric,
            vpg.name,
            segment,
            self._reader.networks([segment.network_id])[segment.network_id],
            opening.at,
            self._host,
            opening.evidence,
        )
        for _ in range(_TRIES):
            answer = self._api.call("POST", "/virtual-machine-interfaces", body=body)
            if answer.status == 200:
                LOG.info("Contrail: %s: opened", opening)
                return
            if answer.status == 404:
                raise self._not_there(opening, answer)
            if answer.status not in (400, 409, 504):
                raise refusal(answer, f"{opening}")
            if self._satisfied(opening):
                return
            if answer.status == 400:
                self._reader.forget()
                raise refusal(answer, f"{opening}")
            if answer.status == 409:
                self._clear_name(opening, answer)
        raise Unavailable(f"Contrail API: {opening}: neither made nor found")

    def delete_vmi(self, vmi: Vmi) -> None:
        """Without it from now on.

        :raises Refused: if the API answered no
        :raises Unavailable: if it cannot be told
        """
        for _ in range(_TRIES):
            answer = self._api.call("DELETE", f"/virtual-machine-interface/{vmi.uuid}")
            if answer.status in (200, 404):
                LOG.info("Contrail: %s: %s closed", printable(vmi.name, 200), vmi.uuid)
                return
            if answer.status != 504:
                raise refusal(answer, f"closing {described(vmi.segment)}, port {vmi.uuid}")
        raise Unavailable(f"Contrail API: deleting port {vmi.uuid}: HTTP 504")

    def delete_vpg(self, uuid: str) -> None:
        """Without this VPG, if it is this host's and has no VMI; else nothing.

        Who uses it keeps it: master answers 409 then, R2011 400.

        :raises Refused: if the API answered no
        :raises Unavailable: if it cannot be told
        """
        for vpg in self._reader.vpgs([uuid]):
            if vpg.host != self._host or vpg.vmis or vpg.contrail:
                return
            answer = self._api.call("DELETE", f"/virtual-port-group/{uuid}")
            if answer.status not in (200, 400, 404, 409):
                raise refusal(answer, f"deleting virtual-port-group {printable(vpg.name)}")

    def _satisfied(self, opening: Opening) -> bool:
        """Whether the VPG has the segment now, and if it is this host's, on all switch ports."""
        for vpg in self._reader.vpgs([opening.vpg.uuid]):
            for vmi in self._reader.vmis(vpg.vmis):
                if vmi.segment == opening.segment:
                    return vmi.host != self._host or vmi.at == frozenset(opening.at)
        return False

    def _clear_name(self, opening: Opening, answer: Answer) -> None:
        """Delete this host's VMI that has the identity but is another; a stranger's stays."""
        uuid = objects.vmi_uuid(opening.vpg.fabric, opening.vpg.name, opening.segment)
        for vmi in self._reader.vmis([uuid]):
            if vmi.host != self._host:
                raise refusal(answer, f"{opening}: somebody else's port {uuid} is in the way")
            self.delete_vmi(vmi)

    def _not_there(self, opening: Opening, answer: Answer) -> Exception:
        """Which of the objects that a VMI needs is missing."""
        self._reader.forget()
        if not self._reader.vpgs([opening.vpg.uuid]):
            return Vanished(f"virtual-port-group {opening.vpg.name}")
        missing = []
        if not self._reader.there("project", self._project):
            missing.append(
                f"project {printable(':'.join(self._project))} ([hook_contrail] project)"
            )
        missing += [
            f"physical-interface {printable(port)} of {printable(switch)}"
            for switch, port in sorted(opening.at)
            if not self._reader.there("physical-interface", [objects.GLOBAL, switch, port])
        ]
        if missing:
            return Refused(f"{opening}: not onboarded in Contrail yet: {', '.join(missing)}")
        return refusal(answer, f"{opening}: not onboarded in Contrail yet")
