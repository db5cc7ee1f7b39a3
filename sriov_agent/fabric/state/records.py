# SPDX-License-Identifier: Apache-2.0
"""How wants and statuses are written down: keys and JSON, in ASCII. Pure.

A host, a PF and what LLDP said come from the wire. In a key each part is percent-encoded, so none
of them ends it or reaches into another's place.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from sriov_agent.core.model import LldpId
from sriov_agent.exceptions import SriovAgentError, Unavailable, printable
from sriov_agent.fabric import ranges
from sriov_agent.fabric.model import Link, PortStatus, Vlans, Want


def key(*parts: str) -> str:
    """The parts, joined by ``/``; different parts never make the same key."""
    return "/".join(quote(part, safe="", errors="surrogatepass") for part in parts)


def link_key(link: Link) -> str:
    """A link's key, which begins with that of its host."""
    ids = (part for at in (link.chassis_id, link.port_id) for part in (at.subtype, at.value))
    return key(link.host, link.pf, *ids)


def replaces(new: Want, kept: Want) -> bool:
    """Whether it is later, or says the same once more."""
    return new.age > kept.age or new == kept


def want_text(want: Want) -> str:
    """A want as JSON, all of it."""
    link = want.link
    return _text(
        {
            "host": link.host,
            "pf": link.pf,
            "chassis_id": [link.chassis_id.subtype, link.chassis_id.value],
            "port_id": [link.port_id.subtype, link.port_id.value],
            "vlans": ranges.text(want.vlans),
            "epoch": want.epoch,
            "sequence": want.sequence,
            "system_name": want.system_name,
            "port_description": want.port_description,
            "heard": want.heard,
        }
    )


def want(text: str | bytes) -> Want:
    """The want that :func:`want_text` wrote.

    :raises Unavailable: if it is none
    """
    try:
        record = json.loads(text)
        return Want(
            link=Link(
                host=record["host"],
                pf=record["pf"],
                chassis_id=LldpId(*record["chassis_id"]),
                port_id=LldpId(*record["port_id"]),
            ),
            vlans=ranges.vlans(record["vlans"]),
            epoch=int(record["epoch"]),
            sequence=int(record["sequence"]),
            system_name=record["system_name"],
            port_description=record["port_description"],
            heard=float(record["heard"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, SriovAgentError) as error:
        raise _unreadable("want", text, error) from error


def owned_text(owned: Mapping[str, Vlans]) -> str:
    """VLANs by port of a switch, as JSON; a port with none is left out."""
    return _text({port: ranges.text(vlans) for port, vlans in sorted(owned.items()) if vlans})


def owned(text: str | bytes) -> dict[str, Vlans]:
    """What :func:`owned_text` wrote.

    :raises Unavailable: if it is something else
    """
    try:
        return {port: ranges.vlans(vlans) for port, vlans in json.loads(text).items()}
    except (ValueError, AttributeError, SriovAgentError) as error:
        raise _unreadable("table of VLANs", text, error) from error


def statuses_text(statuses: Iterable[PortStatus]) -> str:
    """What became of the ports of a switch, as JSON."""
    return _text(
        [
            {
                "switch": status.switch,
                "port": status.port,
                "seen": None if status.seen is None else ranges.text(status.seen),
                "tried": ranges.text(status.tried),
                "refused": {str(vlan): why for vlan, why in status.refused.items()},
                "error": status.error,
                "at": status.at,
            }
            for status in statuses
        ]
    )


def statuses(text: str | bytes) -> list[PortStatus]:
    """What :func:`statuses_text` wrote.

    :raises Unavailable: if it is something else
    """
    try:
        return [
            PortStatus(
                switch=record["switch"],
                port=record["port"],
                seen=None if record["seen"] is None else ranges.vlans(record["seen"]),
                tried=ranges.vlans(record["tried"]),
                refused={int(vlan): why for vlan, why in record["refused"].items()},
                error=record["error"],
                at=float(record["at"]),
            )
            for record in json.loads(text)
        ]
    except (ValueError, KeyError, TypeError, AttributeError, SriovAgentError) as error:
        raise _unreadable("status", text, error) from error


def _text(record: Any) -> str:
    return json.dumps(record, separators=(",", ":"))


def _unreadable(what: str, text: str | bytes, error: Exception) -> Unavailable:
    return Unavailable(f"kept is no {what}: {printable(text)}: {printable(str(error))}")
