# SPDX-License-Identifier: Apache-2.0
"""What ``make bench`` measures, what is to be reached, and the report of what was."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Metric:
    """One that is reported.

    :ivar peer: what ``ours`` is divided by, where it is not neutron-sriov-nic-agent
    :ivar most: the highest ratio that is good; ``below`` that it is to be below that
    :ivar zero: whether ``ours`` is to be 0 instead
    """

    name: str
    unit: str
    peer: str = "neutron-sriov-nic-agent"
    most: float | None = None
    below: bool = False
    zero: bool = False


METRICS = (
    Metric("event_to_active", "s", most=1 / 6),
    Metric("setting_to_kernel", "s"),
    Metric("burst_to_active", "s", most=1 / 3),
    Metric("idle_cpu", "s in 60 s", most=1 / 10),
    Metric("rss", "MiB", most=1 / 2),
    Metric("start_to_heartbeat", "s"),
    Metric("amqp_connections", "connections", most=1, below=True),
    Metric("restart_status_changes", "changes", zero=True),
    Metric("netlink_program", "s", peer="a message packed by hand", most=1.5),
    Metric("netlink_scan", "s", peer="neutron-sriov-nic-agent's calls"),
    Metric("push_to_kernel", "s", peer="one delivery, one message", most=3.0),
    Metric("fabric_200_vlans", "s", peer="ncclient, one edit and commit", most=1.3),
    Metric("fabric_transactions_per_switch", "transactions", peer="bursts of 100 hosts", most=2.0),
    Metric("fabric_event_to_seen", "s", peer="ncclient, one edit and commit", most=2.0, below=True),
)

#: What begins so needs neither the guest nor Neutron.
FABRIC = "fabric_"


@dataclass
class Measured:
    """What a run has of one metric."""

    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def entry(metric: Metric, found: Measured) -> dict[str, Any]:
    """The metric as ``report.json`` has it; what is missing is ``None``."""
    ours = statistics.median(found.ours) if found.ours else None
    peer = statistics.median(found.peer) if found.peer else None
    ratio = ours / peer if ours is not None and peer else None
    return {
        "name": metric.name,
        "unit": metric.unit,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        "samples": {"ours": found.ours, "peer": found.peer},
        "peer_is": metric.peer,
        "target": target(metric),
        "reached": _reached(metric, ours, ratio),
        "notes": found.notes,
        "errors": found.errors,
    }


def target(metric: Metric) -> str:
    """What is to be reached, in words; "" where nothing is asked for."""
    if metric.zero:
        return "ours 0"
    if metric.most is None:
        return ""
    return f"{'<' if metric.below else '<='} {metric.most:.3g}"


def _reached(metric: Metric, ours: float | None, ratio: float | None) -> bool | None:
    if metric.zero:
        return None if ours is None else ours == 0
    if metric.most is None or ratio is None:
        return None
    return ratio < metric.most if metric.below else ratio <= metric.most


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """The entries as lines for a terminal; seconds below one are shown in milliseconds."""
    heads = ("metric", "ours", "peer", "ours/peer", "target", "", "n", "peer")
    lines = ["{:32}{:>11} {:>11} {:>10}  {:9}{:4}{:>7}  {}".format(*heads)]
    for each in entries:
        ratio = "-" if each["ratio"] is None else f"{each['ratio']:.3f}"
        verdict = {True: "ok", False: "MISS", None: ""}[each["reached"]]
        samples = each["samples"]
        number = f"{len(samples['ours'])}/{len(samples['peer'])}"
        lines.append(
            f"{each['name']:32}{_shown(each['ours'], each['unit']):>11} "
            f"{_shown(each['peer'], each['unit']):>11} {ratio:>10}  {each['target']:9}"
            f"{verdict:4}{number:>7}  {each['peer_is']}"
        )
        lines += [f"    {note}" for note in each["notes"]]
        lines += [f"    FAILED {error}" for error in each["errors"]]
    return "\n".join(lines)


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "s":
        return f"{value * 1000:.2f} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:.4g} {unit.split(maxsplit=1)[0][:4]}"
