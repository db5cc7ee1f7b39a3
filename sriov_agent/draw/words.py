# SPDX-License-Identifier: Apache-2.0
"""What a picture says, in whichever language: on one line, harmless, and short enough."""

import bisect
import itertools
from collections.abc import Sequence
from unicodedata import east_asian_width

from sriov_agent.core.topology import FREE, DrawnPf, DrawnPort


def shown(text: str, limit: int = 60) -> str:
    """Text from the wire: what does not print as an escape, and what is too wide cut.

    :param limit: columns; a wide character takes two
    """
    text = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
    ends = list(itertools.accumulate(2 if east_asian_width(c) in "WF" else 1 for c in text))
    if not ends or ends[-1] <= limit:
        return text
    return f"{text[: bisect.bisect_left(ends, limit)]}…"


def port_name(port: DrawnPort) -> str:
    """Its name, or its id where it has none."""
    return port.name or port.id


def vlans(numbers: Sequence[int] | None) -> str:
    """``VLAN 15``, ``VLANs 15, 16``, ``untagged``; "" where that is unknown."""
    if numbers is None:
        return ""
    listed = [str(number) for number in numbers if number]
    if not listed:
        return "untagged"
    return f"VLAN{'s' if len(listed) > 1 else ''} {', '.join(listed)}"


def usage(pf: DrawnPf) -> str:
    """``3 of 8 VFs in use``."""
    used = sum(state != FREE for state in pf.vfs)
    return f"{used} of {len(pf.vfs)} VFs in use"
