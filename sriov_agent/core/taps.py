# SPDX-License-Identifier: Apache-2.0
"""Host taps and mirrors: what is wanted, what is seen, and what leads from one to the other. Pure.

A tap is the host's own leg in a VLAN. On a bridge of the kernel it is one end of a veth pair whose
other end is a port of the bridge; on Open vSwitch it is an internal port.
"""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct, field, structs
from msgspec.structs import replace

from sriov_agent.core import fields
from sriov_agent.exceptions import InvalidField

#: What the interfaces of taps are described as; see :attr:`Tap.alias`.
MARK = "sriov-agent tap "

#: The names of the bridge's ends of taps, which say whose they are.
_END = re.compile(r"sv[0-9a-f]{12}")

DIRECTIONS = ("ingress", "egress")


class Tap(Struct, frozen=True, kw_only=True):
    """A host tap.

    :param tap_id: a UUID; another tap of the same name has another
    :param name: of the interface
    :param addresses: with the lengths of their prefixes
    """

    tap_id: str
    name: str
    bridge: str
    vlan: int
    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fields.port_id(self.tap_id)
        fields.netdev(self.name, "name")
        fields.netdev(self.bridge, "bridge")
        fields.integer(self.vlan, "vlan", 1, fields.MAX_VLAN)
        addresses = tuple(dict.fromkeys(map(fields.address, self.addresses)))
        structs.force_setattr(self, "addresses", addresses)
        if _END.fullmatch(self.name):
            raise InvalidField("name", self.name, "a name that the bridge's ends of taps have")

    @property
    def end(self) -> str:
        """The name of the bridge's end, where it is a veth pair."""
        return f"sv{self.tap_id[-12:]}"

    @property
    def alias(self) -> str:
        """What its interfaces are described as."""
        return f"{MARK}{self.name}"


class Mirror(Struct, frozen=True, kw_only=True):
    """What passes a port of a tap's bridge, in and out, shown on the tap too.

    :param source: a port of the bridge, or another tap of it
    :param tap: the tap's name
    """

    mirror_id: str
    name: str
    source: str
    tap: str

    def __post_init__(self) -> None:
        fields.port_id(self.mirror_id)
        fields.alias(self.name, "name")
        fields.netdev(self.source, "source")
        fields.netdev(self.tap, "tap")


class Taps(Struct, frozen=True, kw_only=True):
    """What is wanted of this host, by name."""

    taps: Mapping[str, Tap] = field(default_factory=dict)
    mirrors: Mapping[str, Mirror] = field(default_factory=dict)

    def with_tap(self, tap: Tap) -> "Taps":
        """With another tap.

        :raises InvalidField: if its name or an address of it is another's
        """
        if tap.name in self.taps:
            raise InvalidField(
                "name", tap.name, "there is a tap of this name; see sriovctl tap list"
            )
        for other in self.taps.values():
            for address in tap.addresses:
                if address.partition("/")[0] in {
                    each.partition("/")[0] for each in other.addresses
                }:
                    raise InvalidField("ip", address, f"already the address of tap {other.name}")
        return replace(self, taps={**self.taps, tap.name: tap})

    def without_tap(self, name: str) -> "Taps":
        """Without a tap that no mirror has to do with.

        :raises InvalidField: if there is none of this name, or a mirror's source or end is it
        """
        if name not in self.taps:
            raise InvalidField("tap", name, "no such tap; see sriovctl tap list")
        if users := [
            each.name for each in self.mirrors.values() if name in (each.tap, each.source)
        ]:
            raise InvalidField("tap", name, f"in use by mirrors: {', '.join(users)}")
        return replace(self, taps={key: tap for key, tap in self.taps.items() if key != name})

    def with_mirror(self, mirror: Mirror) -> "Taps":
        """With another mirror.

        :raises InvalidField: if its name is another's, it has no tap, or it would go round
        """
        if mirror.name in self.mirrors:
            raise InvalidField(
                "name", mirror.name, "there is a mirror of this name; see sriovctl mirror list"
            )
        if mirror.tap not in self.taps:
            raise InvalidField("tap", mirror.tap, "no such tap; see sriovctl tap list")
        others = self.mirrors.values()
        if mirror.source == mirror.tap or mirror.source in {each.tap for each in others}:
            raise InvalidField(
                "source", mirror.source, "a tap that a mirror ends at is not mirrored in its turn"
            )
        if mirror.tap in {each.source for each in others}:
            raise InvalidField("tap", mirror.tap, "a tap that is mirrored is no mirror's end")
        if same := [e.name for e in others if (e.source, e.tap) == (mirror.source, mirror.tap)]:
            raise InvalidField("source", mirror.source, f"mirror {same[0]} does this already")
        return replace(self, mirrors={**self.mirrors, mirror.name: mirror})

    def without_mirror(self, name: str) -> "Taps":
        """Without a mirror.

        :raises InvalidField: if there is none of this name
        """
        if name not in self.mirrors:
            raise InvalidField("mirror", name, "no such mirror; see sriovctl mirror list")
        return replace(self, mirrors={key: m for key, m in self.mirrors.items() if key != name})


def free_name(vlan: int, taken: Iterable[str]) -> str:
    """A name for a tap in this VLAN that is not taken: ``tap101``, ``tap101-2`` ..."""
    known = frozenset(taken)
    number = 1
    while (name := f"tap{vlan}" + (f"-{number}" if number > 1 else "")) in known:
        number += 1
    return name


class Netdev(Struct, frozen=True, kw_only=True):
    """One network interface of the kernel's.

    :param kind: iproute2's name of its type, "" for hardware
    :param alias: its description (``ip link set DEV alias``)
    :param master: the bridge or bond that it is a port of, "" for none
    :param peer: the other end of a veth; "" if that is in another network namespace
    :param vlans: as a bridge's port: (VLAN id, pvid, untagged) of each
    :param filtering: as a bridge: whether it tells VLANs apart
    """

    name: str
    kind: str = ""
    alias: str = ""
    master: str = ""
    peer: str = ""
    up: bool = False
    mtu: int = 1500
    addresses: frozenset[str] = frozenset()
    vlans: frozenset[tuple[int, bool, bool]] = frozenset()
    filtering: bool = False


class Tee(Struct, frozen=True, kw_only=True):
    """One filter of ours that copies what passes an interface: ``tc ... matchall ... mirred``.

    :param direction: of :data:`DIRECTIONS`
    :param to: the interface that sends the copies; "" if that is gone
    :param pref: the filter's place among others
    """

    source: str
    direction: str
    to: str
    pref: int


class OvsPort(Struct, frozen=True, kw_only=True):
    """A port of Open vSwitch.

    :param uuid: of its row
    :param tag: the VLAN it is an access port of, ``None`` if it is none
    :param tap_id: of the tap that it is, "" if it is none of ours
    :param error: why it has no interface, "" if it has
    """

    name: str
    uuid: str
    bridge: str
    tag: int | None = None
    tap_id: str = ""
    error: str = ""


class OvsMirror(Struct, frozen=True, kw_only=True):
    """A mirror of ours on a bridge of Open vSwitch; ports by name, "" if it is not one each.

    :param uuid: of its row
    """

    mirror_id: str
    uuid: str
    bridge: str
    source: str
    output: str


class Ovs(Struct, frozen=True, kw_only=True):
    """What Open vSwitch has."""

    bridges: frozenset[str] = frozenset()
    ports: Mapping[str, OvsPort] = field(default_factory=dict)
    mirrors: tuple[OvsMirror, ...] = ()


class Seen(Struct, frozen=True, kw_only=True):
    """What was seen of this host. ``ovs`` is ``None`` where that is unknown, for ``ovs_error``."""

    netdevs: Mapping[str, Netdev] = field(default_factory=dict)
    tees: frozenset[Tee] = frozenset()
    ovs: Ovs | None = None
    ovs_error: str = ""


def is_end(netdev: Netdev, known: Iterable[str]) -> bool:
    """Whether this is the bridge's end of a tap of ours.

    :param known: names of ends that were once recorded, marked yet or not
    """
    if netdev.kind != "veth" or not _END.fullmatch(netdev.name):
        return False
    return netdev.alias.startswith(MARK) or netdev.name in known
