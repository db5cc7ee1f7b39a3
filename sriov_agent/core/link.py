# SPDX-License-Identifier: Apache-2.0
"""A link as it crosses to a device manager: the PF, and the LLDP evidence for where it hangs."""

from collections.abc import Mapping

from msgspec import to_builtins

from sriov_agent.core import fields
from sriov_agent.core.model import LldpId, SwitchPort
from sriov_agent.exceptions import InvalidField

Json = object


def as_json(link: SwitchPort) -> dict[str, Json]:
    """The link as a JSON object."""
    return {
        "pf": link.pf,
        "switch": {
            "chassis_id": to_builtins(link.chassis_id),
            "name": link.system_name,
        },
        "port": {
            "id": to_builtins(link.port_id),
            "description": link.port_description,
        },
    }


def from_json(entry: Json) -> SwitchPort:
    """The link that :func:`as_json` made the object of.

    :raises InvalidField: if it is no such object
    """
    link = _object(entry, "link")
    switch, port = _object(link.get("switch"), "switch"), _object(link.get("port"), "port")
    return SwitchPort(
        pf=fields.text(link.get("pf"), "pf"),
        chassis_id=_id(switch.get("chassis_id"), "chassis_id"),
        port_id=_id(port.get("id"), "port id"),
        system_name=fields.text(switch.get("name", ""), "switch name"),
        port_description=fields.text(port.get("description", ""), "port description"),
    )


def _id(entry: Json, field: str) -> LldpId:
    given = _object(entry, field)
    return LldpId(fields.text(given.get("subtype"), field), fields.text(given.get("value"), field))


def _object(entry: Json, field: str) -> Mapping[str, Json]:
    if not isinstance(entry, Mapping):
        raise InvalidField(field, entry, "expected an object")
    return entry
