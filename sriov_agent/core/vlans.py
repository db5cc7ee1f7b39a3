# SPDX-License-Identifier: Apache-2.0
"""Which VLAN an alias has, and which one a new alias takes: plain frozen data, no I/O."""

from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from sriov_agent.core import fields
from sriov_agent.exceptions import InvalidField

#: A range of VLANs, first and last.
Range = tuple[int, int]

#: VLANs that aliases take until the operator says which.
DEFAULT_RANGES: tuple[Range, ...] = ((101, fields.MAX_VLAN),)
#: 1 is what switches put a port in that nobody configured.
MIN_ALIAS_VLAN = 2


class Vlans(Struct, frozen=True, kw_only=True):
    """What is decided about this host's VLANs. Each method returns what then holds.

    An alias keeps its VLAN until it is deleted, whatever becomes of ranges and blacklist.

    :param aliases: VLAN id by alias; no two have the same
    :param ranges: where new aliases take their VLANs from
    :param blacklist: VLANs that no alias gets: asked for, or once named by number
    :param used: the ids of the ports in each VLAN that has some
    :param taps: the names of the host taps in each VLAN that has some
    """

    aliases: Mapping[str, int] = field(default_factory=dict)
    ranges: tuple[Range, ...] = DEFAULT_RANGES
    blacklist: frozenset[int] = frozenset()
    used: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    taps: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def alias_of(self, vlan: object) -> str:
        """The alias that has the VLAN, "" if none has."""
        return next((alias for alias, its in self.aliases.items() if its == vlan), "")

    def free(self, ranges: Iterable[Range]) -> list[int]:
        """VLAN ids of these ranges that an alias could take, the lowest first."""
        taken = {*self.aliases.values(), *self.blacklist, *self.used, *self.taps}
        listed = {vlan for low, high in ranges for vlan in range(low, high + 1)}
        return sorted(listed - taken)

    def with_alias(self, alias: str, ranges: Iterable[Range] | None = None) -> "Vlans":
        """With a new alias, and the lowest VLAN that is free.

        :param ranges: where to take it from; default: the registry's
        :raises InvalidField: if there is such an alias, or no VLAN is free
        """
        self._new(alias)
        within = self.ranges if ranges is None else tuple(ranges)
        free = self.free(within)
        if not free:
            raise InvalidField(
                "alias", alias, f"no VLAN is free in {_text(within)}: see sriovctl vlan range"
            )
        return replace(self, aliases={**self.aliases, alias: free[0]})

    def with_alias_of(self, alias: str, vlan: int) -> "Vlans":
        """With a new alias of this VLAN, which may be outside the ranges and have ports already.

        :raises InvalidField: if there is such an alias, or the VLAN is another's or blacklisted
        """
        self._new(alias)
        fields.integer(vlan, "vlan", 1, fields.MAX_VLAN)
        if other := self.alias_of(vlan):
            raise InvalidField("vlan", vlan, f"the VLAN of alias {other}")
        if vlan in self.blacklist:
            raise InvalidField(
                "vlan", vlan, f"blacklisted; to use it: sriovctl vlan blacklist --remove {vlan}"
            )
        return replace(self, aliases={**self.aliases, alias: vlan})

    def without_alias(self, alias: str) -> "Vlans":
        """Without an alias that no port and no tap uses.

        :raises InvalidField: if there is no such alias, or ports or taps are in its VLAN
        """
        if alias not in self.aliases:
            raise InvalidField("alias", alias, "no such alias; see sriovctl vlan list")
        if ports := self.used.get(self.aliases[alias]):
            raise InvalidField("alias", alias, f"in use by ports: {', '.join(ports)}")
        if taps := self.taps.get(self.aliases[alias]):
            raise InvalidField("alias", alias, f"in use by taps: {', '.join(taps)}")
        kept = {name: vlan for name, vlan in self.aliases.items() if name != alias}
        return replace(self, aliases=kept)

    def with_ranges(self, ranges: Collection[Range]) -> "Vlans":
        """With these ranges for new aliases.

        :raises InvalidField: if there is none, or one is not within 2..4094
        """
        if not ranges:
            raise InvalidField("range", "", "expected VLANs as 101-199,300")
        for low, high in ranges:
            if not MIN_ALIAS_VLAN <= low <= high <= fields.MAX_VLAN:
                raise InvalidField(
                    "range", f"{low}-{high}", f"expected {MIN_ALIAS_VLAN}..{fields.MAX_VLAN}"
                )
        return replace(self, ranges=tuple(sorted(ranges)))

    def blacklisting(self, vlans: Collection[int]) -> "Vlans":
        """With VLANs that no alias gets from now on.

        :raises InvalidField: if one is an alias' already
        """
        for vlan in sorted(vlans):
            if alias := self.alias_of(vlan):
                raise InvalidField("vlan", vlan, f"the VLAN of alias {alias}: delete that first")
        return replace(self, blacklist=self.blacklist | frozenset(vlans))

    def allowing(self, vlans: Collection[int]) -> "Vlans":
        """With VLANs that aliases may get again.

        :raises InvalidField: if one is not blacklisted
        """
        for vlan in sorted(vlans):
            if vlan not in self.blacklist:
                raise InvalidField("vlan", vlan, "not blacklisted")
        return replace(self, blacklist=self.blacklist - frozenset(vlans))

    def naming(self, vlans: Iterable[int]) -> "Vlans":
        """After VLANs were named by number: those that are no alias' leave the ranges.

        0, which is none, names nothing.
        """
        named = frozenset(vlans) - {0, *self.aliases.values()}
        return replace(self, blacklist=self.blacklist | named)

    def _new(self, alias: str) -> None:
        if alias in self.aliases:
            raise InvalidField("alias", alias, f"there already, for VLAN {self.aliases[alias]}")


def free_mac(taken: Collection[str], random: Callable[[int], bytes]) -> str:
    """A unicast, locally administered MAC address that is not taken.

    :param random: that many random octets
    """
    while True:
        mac = bytes([0x02, *random(5)]).hex(":")
        if mac not in taken:
            return mac


def _text(ranges: Iterable[Range]) -> str:
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
