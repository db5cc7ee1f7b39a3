# SPDX-License-Identifier: Apache-2.0
"""What there is to measure of a device manager: its switches' transactions, and drift."""

import time
from collections.abc import Iterable, Mapping, Sequence

from sriov_agent.core.metrics import Family, counted
from sriov_agent.counters import Counters, Durations
from sriov_agent.fabric.model import Applied, Ports, PortStatus
from sriov_agent.fabric.switch.base import Decide, Switch


class Measured(Switch):
    """A switch whose transactions are timed, and whose failures are counted."""

    def __init__(self, switch: Switch) -> None:
        super().__init__(switch.login)
        self.switch = switch
        self.needs_a_vlan = switch.needs_a_vlan
        self.transactions = Durations()
        self.counters = Counters()

    def describe(self) -> list[str]:
        return self.switch.describe()

    def read(self, ports: Iterable[str]) -> Ports:
        try:
            return self.switch.read(ports)
        except Exception:
            self.counters.count("failed")
            raise

    def apply(self, ports: Iterable[str], decide: Decide) -> Applied:
        began = time.monotonic()
        try:
            return self.switch.apply(ports, decide)
        except Exception:
            self.counters.count("failed")
            raise
        finally:
            self.transactions.add(time.monotonic() - began)

    def close(self) -> None:
        self.switch.close()


def families(
    switches: Mapping[str, Measured],
    statuses: Iterable[PortStatus],
    counters: Mapping[str, int],
) -> Sequence[Family]:
    """What there is to measure now.

    :param switches: by their names
    :param statuses: of their ports
    """
    drift = dict.fromkeys(switches, 0.0)
    for status in statuses:
        if status.switch in drift and status.seen is not None:
            lacking = status.tried - status.seen - status.refused.keys()
            drift[status.switch] += len(lacking)
    return [
        Family(
            "sriov_device_manager_transaction_seconds",
            "histogram",
            "How long a transaction with the switch takes, failed ones too",
            ("switch",),
            {(name,): switch.transactions.snapshot() for name, switch in switches.items()},
        ),
        Family(
            "sriov_device_manager_failures_total",
            "counter",
            "Transactions and reads that failed or were refused",
            ("switch",),
            {
                (name,): float(switch.counters.snapshot().get("failed", 0))
                for name, switch in switches.items()
            },
        ),
        Family(
            "sriov_device_manager_drift_vlans",
            "gauge",
            "VLANs that were asked for, not refused, and are not on their port",
            ("switch",),
            {(name,): vlans for name, vlans in drift.items()},
        ),
        *counted("sriov_device_manager", counters),
    ]
