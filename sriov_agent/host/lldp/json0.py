# SPDX-License-Identifier: Apache-2.0
"""What ``lldpcli -f json0`` prints: text in, data out.

Only ``json0`` has a fixed shape; names can hold any character, among them raw control
characters that lldpd before 1.0.22 does not escape, so decoding is tolerant.
"""

import json
import re
from collections.abc import Iterable

from sriov_agent.core import fields
from sriov_agent.core.model import LldpId, Neighbor
from sriov_agent.exceptions import Unavailable

Json = object

_AGE = re.compile(r"(\d{1,5}) days?, (\d\d):(\d\d):(\d\d)")
#: The link aggregation TLV of 802.1, which lldpd prints undecoded: status, then the port's number.
_DOT1_AGGREGATION = {"oui": "00,80,C2", "subtype": "7"}
_DOT1_AGGREGATED = re.compile("[0-9A-F][2367ABEF],((?:[0-9A-F]{2},){3}[0-9A-F]{2})")


def read_neighbors(text: str) -> list[tuple[str, Neighbor]]:
    """(interface name, neighbor) pairs from ``show neighbors details``.

    :raises Unavailable: if this is not json0
    """
    found: list[tuple[str, Neighbor]] = []
    for entry in _interfaces(text):
        chassis, port = _first(entry.get("chassis")), _first(entry.get("port"))
        chassis_id, port_id = _id(chassis), _id(port)
        if chassis_id is None or port_id is None:
            continue
        found.append(
            (
                str(entry.get("name")),
                Neighbor(
                    chassis_id=chassis_id,
                    port_id=port_id,
                    system_name=_value(chassis.get("name")),
                    port_description=_value(port.get("descr")),
                    management_addresses=tuple(
                        _value([address]) for address in _list(chassis.get("mgmt-ip"))
                    ),
                    capabilities=frozenset(
                        str(capability.get("type"))
                        for capability in _dicts(chassis.get("capability"))
                        if capability.get("enabled") is True
                    ),
                    vlans=tuple(
                        (number, _text(vlan.get("value", "")))
                        for vlan in _dicts(entry.get("vlan"))
                        if (number := _vlan(vlan)) and "value" in vlan
                    ),
                    pvid=next(
                        (_vlan(v) for v in _dicts(entry.get("vlan")) if v.get("pvid") is True), 0
                    ),
                    aggregation=_number(_value(port.get("aggregation")), 10)
                    or _dot1_aggregation(entry),
                    ttl=_number(_value(port.get("ttl")), 5),
                    age=_age(entry.get("age")),
                    source="lldpd",
                ),
            )
        )
    return found


def local_ids(text: str) -> set[tuple[str, tuple[LldpId, LldpId]]]:
    """(interface name, what this host announces there) from ``show interfaces details``."""
    found: set[tuple[str, tuple[LldpId, LldpId]]] = set()
    for entry in _interfaces(text):
        chassis_id, port_id = _id(_first(entry.get("chassis"))), _id(_first(entry.get("port")))
        if chassis_id and port_id:
            found.add((str(entry.get("name")), (chassis_id, port_id)))
    return found


def _interfaces(text: str) -> Iterable[dict[str, Json]]:
    try:
        document = json.loads(text, strict=False)
        roots = document["lldp"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unavailable(f"lldpcli printed no json0: {error}") from error
    for root in _list(roots):
        if isinstance(root, dict):
            yield from _dicts(root.get("interface"))


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _dicts(value: Json) -> list[dict[str, Json]]:
    return [element for element in _list(value) if isinstance(element, dict)]


def _first(value: Json) -> dict[str, Json]:
    first = next(iter(_list(value)), None)
    return first if isinstance(first, dict) else {}


def _value(value: Json) -> str:
    return _text(_first(value).get("value", ""))


def _id(element: dict[str, Json]) -> LldpId | None:
    found = _first(element.get("id"))
    subtype, value = found.get("type"), found.get("value")
    return LldpId(_text(subtype), _text(value)) if subtype and value else None


def _text(value: Json) -> str:
    """What can be written in UTF-8: JSON can hold half a surrogate pair."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _number(text: Json, digits: int) -> int:
    """A number of at most so many decimal digits; 0 for anything else."""
    return int(text) if isinstance(text, str) and re.fullmatch(f"[0-9]{{1,{digits}}}", text) else 0


def _vlan(entry: dict[str, Json]) -> int:
    number = _number(entry.get("vlan-id"), 4)
    return number if number <= fields.MAX_VLAN else 0


def _dot1_aggregation(entry: dict[str, Json]) -> int:
    for tlv in _dicts(_first(entry.get("unknown-tlvs")).get("unknown-tlv")):
        aggregated = _DOT1_AGGREGATED.fullmatch(_text(tlv.get("value", "")))
        if aggregated and _DOT1_AGGREGATION.items() <= tlv.items():
            return int(aggregated[1].replace(",", ""), 16)
    return 0


def _age(text: Json) -> int | None:
    """Seconds from ``0 day, 00:00:03``; ``None`` for anything else."""
    found = _AGE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    days, hours, minutes, seconds = map(int, found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
