# SPDX-License-Identifier: Apache-2.0
"""Guests of a libvirt that keep VFs, and the libvirt that sets a VF back as it had found it."""

from sriov_agent.core.guests import Held, Reserved
from sriov_agent.core.model import VfSettings
from sriov_agent.exceptions import Unavailable
from tests import topology
from tests.fakes.kernel import Kernel
from tests.frozen import replace


class Guests:
    """``sriov_agent.reconciler.Domains``. ``away``: libvirtd does not answer.
    ``networks``: what active ones give away.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.away = False
        self.networks: list[Reserved] = []
        self._found: dict[str, tuple[str, int, VfSettings]] = {}

    def start(self, domain: str, pf: str, index: int) -> None:
        """A domain begins that has this VF."""
        vf = self.kernel.vf(pf, index)
        self._found[domain] = pf, index, vf.settings
        vf.driver = "vfio-pci"

    def end(self, domain: str) -> None:
        """It ends, and libvirt sets MAC and VLAN as they were when it began."""
        pf, index, found = self._found.pop(domain)
        vf = self.kernel.vf(pf, index)
        vf.driver = "igbvf"
        vf.settings = replace(vf.settings, mac=found.mac, vlan=found.vlan, qos=found.qos)

    def reserved(self) -> list[Reserved]:
        if self.away:
            raise Unavailable("qemu:///system does not answer")
        return list(self.networks)

    def held(self) -> list[Held]:
        if self.away:
            raise Unavailable("qemu:///system does not answer")
        return [
            Held(domain=domain, address=topology.vf_address(pf, index))
            for domain, (pf, index, _) in self._found.items()
        ]
