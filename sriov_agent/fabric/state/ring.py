# SPDX-License-Identifier: Apache-2.0
"""Which manager writes to which switch. Pure."""

import hashlib
from collections.abc import Iterable


def owner(switch: str, members: Iterable[str]) -> str | None:
    """The member that all who know the same members choose; ``None`` if there is none.

    Each member has a number for the switch, and the greatest wins (rendezvous hashing, D. Thaler
    and C. Ravishankar 1998): one that comes or goes moves no switch between two others.
    """
    return max(members, key=lambda member: (_weight(switch, member), member), default=None)


def _weight(switch: str, member: str) -> bytes:
    text = f"{len(switch)} {switch} {member}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
