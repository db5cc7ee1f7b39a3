# SPDX-License-Identifier: Apache-2.0
"""What running guests have of the host's VFs: pure."""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from sriov_agent.core.model import Pf, Vf

UNANSWERED = "a guest may have it, and libvirt does not answer"


class Held(Struct, frozen=True, kw_only=True):
    """One device of a running domain: a PCI function by address, or a macvtap by its netdev."""

    domain: str
    address: str = ""
    netdev: str = ""


class Reserved(Struct, frozen=True, kw_only=True):
    """What an active network of libvirt gives its guests, one each and by its own choice.

    :param pf: netdev of the PF whose VFs these are, "" if they are named one by one
    """

    network: str
    pf: str = ""
    addresses: frozenset[str] = frozenset()
    netdevs: frozenset[str] = frozenset()

    def includes(self, pf: Pf, vf: Vf) -> bool:
        """Whether a guest may get this VF of this PF."""
        named = vf.address in self.addresses or (vf.netdev or "") in self.netdevs
        return named or (bool(self.pf) and pf.netdev == self.pf)


def with_guests(
    pfs: Mapping[str, Pf], held: Iterable[Held] | None, reserved: Iterable[Reserved] = ()
) -> dict[str, Pf]:
    """The PFs, whose VFs tell which running domain has them, or which network may give them away.

    :param held: what running domains have; ``None``: it is unknown, so a VF that could be in
        a guest is taken to be in one
    """
    networks = list(reserved)
    devices = None if held is None else list(held)
    if not networks and devices == []:
        return dict(pfs)
    by_address = {device.address: device.domain for device in devices or () if device.address}
    by_netdev = {device.netdev: device.domain for device in devices or () if device.netdev}

    def seen(pf: Pf, vf: Vf) -> Vf:
        theirs = [each.network for each in networks if each.includes(pf, vf)]
        if theirs and not vf.held_by:
            vf = replace(vf, held_by=f"libvirt's network {theirs[0]} may give it to a guest")
        if devices is None:
            held_by = vf.held_by or UNANSWERED
            return replace(vf, domain=None, held_by=held_by) if vf.passed_through else vf
        domain = by_address.get(vf.address) or by_netdev.get(vf.netdev or "", "")
        held_by = vf.held_by if vf.excluded else f"domain {domain} has it"
        return replace(vf, domain=domain, held_by=held_by) if domain else vf

    return {
        address: replace(pf, vfs=tuple(seen(pf, vf) for vf in pf.vfs))
        for address, pf in pfs.items()
    }
