# SPDX-License-Identifier: Apache-2.0
"""``noop``: somebody else configures the switches; the template of a driver."""

from collections.abc import Iterable

from oslo_config import cfg

from sriov_agent.core.model import SwitchPort
from sriov_agent.hook.base import Hook


class NoopHook(Hook):
    """Remembers what was asked, and changes nothing. Ports do not wait for it."""

    required = False

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._vlans: dict[SwitchPort, frozenset[int]] = {}

    def read(self, switch_ports: Iterable[SwitchPort]) -> dict[SwitchPort, frozenset[int]]:
        return {port: self._vlans.get(port, frozenset()) for port in switch_ports}

    def apply(self, switch_port: SwitchPort, vlans: frozenset[int]) -> frozenset[int]:
        self._vlans[switch_port] = vlans
        return vlans
