# SPDX-License-Identifier: Apache-2.0
"""What is measured, as plain data, and what a report says in numbers: pure."""

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from sriov_agent.core.report import PortState, Report


class Histogram(Struct, frozen=True):
    """How long things took: ``buckets`` are cumulative counts by upper limit, in seconds."""

    buckets: tuple[tuple[float, int], ...]
    total: float


Value = float | Histogram
Samples = Mapping[tuple[str, ...], Value]


class Family(Struct, frozen=True):
    """One metric. ``kind``: gauge, counter or histogram; ``samples``: values by label values."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    samples: Samples = field(default_factory=dict)


def single(name: str, kind: str, help_: str, value: Value) -> Family:
    """A metric without labels."""
    return Family(name, kind, help_, (), {(): value})


def counted(prefix: str, counters: Mapping[str, int]) -> list[Family]:
    """Every counter, and the times among them, which end in ``_at``."""
    counts: Samples = {
        (name,): float(n) for name, n in counters.items() if not name.endswith("_at")
    }
    times: Samples = {
        (name[:-3],): float(n) for name, n in counters.items() if name.endswith("_at")
    }
    return [
        Family(
            f"{prefix}_counts_total",
            "counter",
            "What happened since the start, by name",
            ("what",),
            counts,
        ),
        Family(
            f"{prefix}_last_timestamp_seconds",
            "gauge",
            "When it happened last, Unix time",
            ("what",),
            times,
        ),
    ]


def of_agent(
    report: Report,
    counters: Mapping[str, int],
    waiting: int,
    passes: Histogram,
    lag: Histogram,
) -> Sequence[Family]:
    """What there is to measure of an agent.

    :param report: of the last pass
    :param waiting: how many ports, or the host itself, wait to be tried again
    :param passes: how long passes took
    :param lag: from an event to the end of the pass that saw to it
    """
    states: dict[str, float] = dict.fromkeys(PortState, 0.0)
    for entry in report.ports.values():
        states[entry.state] += 1
    claimed = {entry.claim.vf for entry in report.ports.values() if entry.claim}
    labels = ("pf", "netdev", "physical_network")
    pfs = {(pf.address, pf.netdev, pf.physical_network): pf for pf in report.pfs.values()}
    free: Samples = {
        key: float(sum(not vf.held_by and vf.address not in claimed for vf in pf.vfs))
        for key, pf in pfs.items()
    }
    used: Samples = {
        key: float(sum(bool(vf.held_by) or vf.address in claimed for vf in pf.vfs))
        for key, pf in pfs.items()
    }
    ambiguous: Samples = {
        (address,): float(found.reason.startswith("ambiguous"))
        for address, found in report.cabling.items()
    }
    return [
        Family(
            "sriov_agent_ports",
            "gauge",
            "Ports by state: met, unplugged, unmet, releasing",
            ("state",),
            {(str(state),): number for state, number in states.items()},
        ),
        single(
            "sriov_agent_unmet",
            "gauge",
            "What is unmet and belongs to no single port",
            float(len(report.unmet)),
        ),
        Family("sriov_agent_vfs_free", "gauge", "VFs in nobody's use", labels, free),
        Family("sriov_agent_vfs_used", "gauge", "VFs in use, by whomever", labels, used),
        Family(
            "sriov_agent_pf_carrier",
            "gauge",
            "Whether the PF's link is up",
            labels,
            {key: float(pf.up and pf.carrier) for key, pf in pfs.items()},
        ),
        Family(
            "sriov_agent_lldp_ambiguous",
            "gauge",
            "Whether several LLDP neighbors are heard on the uplink",
            ("uplink",),
            ambiguous,
        ),
        single(
            "sriov_agent_retries_waiting", "gauge", "What waits to be tried again", float(waiting)
        ),
        single(
            "sriov_agent_retries_total",
            "counter",
            "What was tried again",
            float(counters.get("retries", 0)),
        ),
        single(
            "sriov_agent_fabric_failures_total",
            "counter",
            "Questions to the device manager that failed",
            float(counters.get("fabric.failed", 0)),
        ),
        single("sriov_agent_pass_seconds", "histogram", "How long a pass takes", passes),
        single(
            "sriov_agent_event_lag_seconds",
            "histogram",
            "From an event to the end of the pass that saw to it",
            lag,
        ),
        *counted("sriov_agent", counters),
    ]
