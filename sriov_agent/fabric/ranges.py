# SPDX-License-Identifier: Apache-2.0
"""Lists of VLANs as switches write them: numbers and ranges. Pure."""

import re
from collections.abc import Iterable

from sriov_agent.core.fields import MAX_VLAN
from sriov_agent.exceptions import InvalidField

_ENTRY = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")

#: A range of VLANs, first and last.
Range = tuple[int, int]


def vlans(text: str, field: str = "vlans") -> frozenset[int]:
    """``2-9,100`` as a set.

    :raises InvalidField: if it is anything else
    """
    found: set[int] = set()
    for entry in filter(None, (entry.strip() for entry in text.split(","))):
        match = _ENTRY.fullmatch(entry)
        if not match:
            raise InvalidField(field, entry, "expected VLANs as 2-9,100")
        low, high = int(match[1]), int(match[2] or match[1])
        if not 1 <= low <= high <= MAX_VLAN:
            raise InvalidField(field, entry, f"expected VLANs 1..{MAX_VLAN}, the lower one first")
        found.update(range(low, high + 1))
    return frozenset(found)


def ranges(vlans: Iterable[int]) -> list[Range]:
    """The fewest ranges that are exactly these VLANs, in order."""
    found: list[Range] = []
    for vlan in sorted(set(vlans)):
        if found and vlan == found[-1][1] + 1:
            found[-1] = found[-1][0], vlan
        else:
            found.append((vlan, vlan))
    return found


def text(vlans: Iterable[int]) -> str:
    """``2-9,100`` for people."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges(vlans))


def edit(
    entries: Iterable[Range], add: frozenset[int], remove: frozenset[int]
) -> tuple[list[Range], list[Range]]:
    """The entries of a list to take out, and those to put in.

    An entry that has nothing to do with the change stays as it is. One that covers a VLAN which
    goes makes room for what else it covers.

    :param entries: the list as it is
    """
    listed = list(dict.fromkeys(entries))
    out = [(low, high) for low, high in listed if any(low <= vlan <= high for vlan in remove)]
    covered = {vlan for low, high in out for vlan in range(low, high + 1)}
    kept = {vlan for low, high in set(listed) - set(out) for vlan in range(low, high + 1)}
    put: list[Range] = ranges(covered - remove - kept)
    put += [(vlan, vlan) for vlan in sorted(add - kept - (covered - remove))]
    return out, sorted(put)
