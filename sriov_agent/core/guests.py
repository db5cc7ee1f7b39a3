# SPDX-License-Identifier: Apache-2.0
"""What running guests have of the host's VFs: pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sriov_agent.core.model import Pf, Vf

UNANSWERED = "a guest may have it, and libvirt does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One device of a running domain: a PCI function by address, or a macvtap by its netdev."""

    domain: str
    address: str = ""
    netdev: str = ""


def with_guests(pfs: Mapping[str, Pf], held: Iterable[Held] | None) -> dict[str, Pf]:
    """The PFs, whose VFs tell which running domain has them.

    :param held: what running domains have; ``None``: it is unknown, so a VF that could be in
        a guest is taken to be in one
    """
    devices = None if held is None else list(held)
    by_address = {device.address: device.domain for device in devices or () if device.address}
    by_netdev = {device.netdev: device.domain for device in devices or () if device.netdev}

    def seen(vf: Vf) -> Vf:
        if devices is None:
            held_by = vf.held_by or UNANSWERED
            return replace(vf, domain=None, held_by=held_by) if vf.passed_through else vf
        domain = by_address.get(vf.address) or by_netdev.get(vf.netdev or "", "")
        held_by = vf.held_by if vf.excluded else f"domain {domain} has it"
        return replace(vf, domain=domain, held_by=held_by) if domain else vf

    return {address: replace(pf, vfs=tuple(map(seen, pf.vfs))) for address, pf in pfs.items()}
