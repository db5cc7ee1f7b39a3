# SPDX-License-Identifier: Apache-2.0
"""``noop``: somebody else configures the switches."""

from collections.abc import Iterable, Mapping

from oslo_config import cfg

from sriov_agent.core.model import Segment, SwitchPort
from sriov_agent.exceptions import Refused
from sriov_agent.hook.base import Hook


class NoopHook(Hook):
    """Asks nobody: what is open is unknown, nothing is opened, and ports do not wait for it."""

    required = False

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        pass

    def read(self, links: Iterable[SwitchPort]) -> dict[SwitchPort, frozenset[Segment]]:
        return {}

    def apply(
        self, link: SwitchPort, wanted: Mapping[SwitchPort, frozenset[Segment]]
    ) -> frozenset[Segment]:
        raise Refused("[fabric] hook = noop opens nothing")
