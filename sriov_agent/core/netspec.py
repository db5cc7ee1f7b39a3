# SPDX-License-Identifier: Apache-2.0
"""The short form of a port's network, ``[PHYSICAL_NETWORK,]VLAN[,MAC][,DRIVER]``: pure."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from sriov_agent.core import fields
from sriov_agent.core.state import VNIC_TYPES
from sriov_agent.exceptions import InvalidField

FORM = "[PHYSICAL_NETWORK,]VLAN[,MAC][,DRIVER]"

#: vnic_type by driver: how the guest gets the VF.
DRIVERS = {"hostdev": "direct", "vfio": "direct"} | {each: each for each in VNIC_TYPES}

_NUMBER = re.compile(r"[0-9]{1,9}")


class NetSpec(Struct, frozen=True, kw_only=True):
    """What a port's network was said to be.

    :param vlan: VLAN id, or the alias of one
    :param mac: ``None``: one of its own is to be made
    :param text: the form as it was given, "" where it was given otherwise
    """

    vlan: int | str
    physical_network: str
    mac: str | None = None
    vnic_type: str = "direct"
    text: str = ""

    def wrong(self, *errors: InvalidField) -> InvalidField:
        """These errors as one of this network's."""
        return _in(self.text, errors)


def netspecs(
    texts: Sequence[str], physical_networks: Collection[str], vnic_type: str
) -> tuple[list[NetSpec], list[InvalidField]]:
    """The networks that can be read, and for each of the others all that is wrong with it.

    :param physical_networks: those of this host; where it has one, that is the default
    :param vnic_type: of networks that name no driver
    """
    specs, problems = [], []
    for text in texts:
        try:
            specs.append(_netspec(text, physical_networks, vnic_type))
        except InvalidField as error:
            problems.append(error)
    return specs, problems


def together(problems: Sequence[InvalidField]) -> InvalidField:
    """Several errors as one, in one sentence; ``problems`` has at least one."""
    first, *others = problems
    return InvalidField(first.field, first.value, "; ".join([first.reason, *map(str, others)]))


def alias(value: object, field: str = "alias") -> str:
    """An alias of a VLAN, that no netspec takes for anything else.

    :raises InvalidField: if it could not be one
    """
    text = fields.alias(value, field)
    if text in DRIVERS:
        raise InvalidField(field, value, "the name of a driver cannot be an alias")
    return text


def _netspec(text: str, physical_networks: Collection[str], vnic_type: str) -> NetSpec:
    name, vlan, mac, driver = _split(text, physical_networks)
    wrong: list[InvalidField] = []
    network = ""
    number_or_alias: int | str = 0
    with _noting(wrong):
        network = _physical_network(name, physical_networks)
    with _noting(wrong):
        number_or_alias = _vlan(vlan, physical_networks)
    with _noting(wrong):
        mac = fields.mac(mac) if mac else ""
    with _noting(wrong):
        vnic_type = _vnic_type(driver) if driver else vnic_type
    if wrong:
        raise _in(text, wrong)
    return NetSpec(
        vlan=number_or_alias,
        physical_network=network,
        mac=mac or None,
        vnic_type=vnic_type,
        text=text,
    )


def _split(text: str, physical_networks: Collection[str]) -> tuple[str, str, str, str]:
    """Physical network, VLAN, MAC and driver, "" for what is not there; of a word that is
    nothing known, what stands where it does.
    """
    words = text.split(",")
    mac = driver = ""
    if (len(words) > 1 and words[-1] in DRIVERS) or (len(words) > 2 and ":" not in words[-1]):
        driver = words.pop()
    if len(words) > 2 or (len(words) == 2 and ":" in words[1]):
        mac = words.pop()
    if len(words) > 2 or not all(text.split(",")):
        raise InvalidField("net", text, f"expected {FORM}")
    if len(words) == 1:
        return "", words[0], mac, driver
    name, vlan = words
    if not mac and not driver and _NUMBER.fullmatch(name) and name not in physical_networks:
        return "", name, "", vlan
    return name, vlan, mac, driver


def _physical_network(name: str, known: Collection[str]) -> str:
    listed = ", ".join(sorted(known)) or "no physical network"
    if name and name not in known:
        raise InvalidField(
            "physical_network", name, f"[sriov_nic] physical_device_mappings has {listed}"
        )
    if not name and len(known) != 1:
        raise InvalidField(
            "physical_network",
            name,
            f"to be named: [sriov_nic] physical_device_mappings has {listed}",
        )
    return name or next(iter(known))


def _vlan(text: str, physical_networks: Collection[str]) -> int | str:
    if _NUMBER.fullmatch(text):
        return fields.integer(int(text), "vlan", 1, fields.MAX_VLAN)
    if text in physical_networks:
        raise InvalidField("vlan", text, "this is a physical network; its VLAN is to follow it")
    return alias(text, "vlan")


def _vnic_type(driver: str) -> str:
    if driver not in DRIVERS:
        raise InvalidField("driver", driver, f"expected one of {', '.join(DRIVERS)}")
    return DRIVERS[driver]


@contextmanager
def _noting(wrong: list[InvalidField]) -> Iterator[None]:
    try:
        yield
    except InvalidField as error:
        wrong.append(error)


def _in(text: str, errors: Sequence[InvalidField]) -> InvalidField:
    return InvalidField("net", text, "; ".join(map(str, errors)))
