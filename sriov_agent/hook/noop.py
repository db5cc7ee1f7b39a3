# SPDX-License-Identifier: Apache-2.0
"""``noop``: somebody else configures the switches; the template of a driver."""

from collections.abc import Iterable, Mapping

from oslo_config import cfg

from sriov_agent.core.model import Segment, SwitchPort
from sriov_agent.hook.base import Hook


class NoopHook(Hook):
    """Remembers what was asked, and changes nothing. Ports do not wait for it."""

    required = False

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._asked: dict[SwitchPort, frozenset[Segment]] = {}

    def read(self, links: Iterable[SwitchPort]) -> dict[SwitchPort, frozenset[Segment]]:
        return {link: self._asked.get(link, frozenset()) for link in links}

    def apply(
        self, link: SwitchPort, wanted: Mapping[SwitchPort, frozenset[Segment]]
    ) -> frozenset[Segment]:
        self._asked[link] = wanted[link]
        return wanted[link]
