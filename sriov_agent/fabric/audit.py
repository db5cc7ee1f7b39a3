# SPDX-License-Identifier: Apache-2.0
"""One line for each port that was changed on a switch, as JSON, on the logger of this module."""

import json
import logging
from collections.abc import Iterable

from sriov_agent.fabric.model import Change, Link, Ports
from sriov_agent.fabric.ranges import text

LOG = logging.getLogger(__name__)


def say(
    switch: str,
    port: str,
    change: Change,
    users: Iterable[Link],
    before: Ports,
    after: Ports | None,
) -> None:
    """Who had which VLANs of a port opened and closed, and what it was seen to carry.

    :param users: the links on the port
    :param after: ``None`` if nothing was changed, since that was not wanted
    """
    was = _carried(port, before)
    line: dict[str, object] = {
        "switch": switch,
        "port": port,
        "for": sorted(f"{link.host} {link.pf}" for link in users),
        "added": text(change.add),
        "removed": text(change.remove),
        "before": text(was),
    }
    if after is None:
        line["result"] = "dry run"
    else:
        now = _carried(port, after)
        line["after"] = text(now)
        done = change.add <= now and not change.remove & now
        line["result"] = "seen" if done else "not seen"
    LOG.info("%s", json.dumps(line))


def _carried(port: str, ports: Ports) -> frozenset[int]:
    """What the port or aggregate carries, from what was read of it or of a member."""
    of = [seen.vlans for at, seen in ports.items() if port in (at, seen.lag)]
    return frozenset().union(*of)
