# SPDX-License-Identifier: Apache-2.0
"""From port bindings to the desired state of the host: which port gets which VF.

A port keeps the VF it holds. Otherwise it gets, in this order: the VF that its binding names
(``pci_slot``: nova chose it); the one that its interface XML names or that carries its MAC and
VLAN (a lost claim file is rebuilt from these); a free one of its physical network, on the PF
with most free VFs, the lowest index first.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from sriov_agent.core.lldp import links
from sriov_agent.core.model import Segment, SwitchPort, Vf
from sriov_agent.core.state import (
    PLUGGED_SETTINGS,
    Bindings,
    Claim,
    Desired,
    Interface,
    Observed,
    PortBinding,
)
from sriov_agent.exceptions import InvalidField


def intent(bindings: Bindings, observed: Observed, *, networks: bool = False) -> Desired:
    """The desired state for these bindings, given what is there to satisfy them.

    :param networks: whether the fabric tells networks apart, or knows VLANs alone
    """
    choice = _Choice(bindings, observed)
    unmet = dict(bindings.invalid)
    claims: dict[str, Claim] = {}
    moving: set[str] = set()
    for binding in choice.in_order():
        try:
            vf = choice.vf_for(binding)
        except InvalidField as error:
            unmet[binding.port_id] = str(error)
            continue
        if vf is None:
            choice.macs[binding.mac] = binding.port_id
            claims[binding.port_id] = observed.claims[binding.port_id]
            continue
        held = observed.claims.get(binding.port_id)
        if held and held.vf != vf.address:
            moving.add(binding.port_id)
            unmet[binding.port_id] = f"moving from VF {held.vf} to VF {vf.address}"
            continue
        choice.take(vf, binding)
        claims[binding.port_id] = Claim(
            port_id=binding.port_id,
            vf=vf.address,
            pf=vf.pf,
            index=vf.index,
            mac=binding.mac,
            former_mac=choice.former_mac(vf, binding),
        )

    ports = {port: bindings.ports[port] for port in claims}
    unplugged = frozenset(
        port
        for port, binding in ports.items()
        if binding.plugged_by_nova and not _plugged(binding, choice.vfs.get(claims[port].vf))
    )
    segments = {port: _segments(binding, networks) for port, binding in ports.items()}
    return Desired(
        claims=claims,
        vfs={
            claims[port].vf: binding.vf_settings().without(
                PLUGGED_SETTINGS if port in unplugged else ()
            )
            for port, binding in ports.items()
        },
        interfaces={
            port: _interface(binding, claims[port], choice, observed)
            for port, binding in ports.items()
        },
        segments=segments,
        fabric=_fabric(segments, claims, observed),
        held=(frozenset(unmet) & observed.claims.keys()) - moving,
        unplugged=unplugged,
        unmet=unmet,
    )


class _Choice:
    """The VFs of the host while they are being given out."""

    def __init__(self, bindings: Bindings, observed: Observed) -> None:
        self.bindings = bindings
        self.observed = observed
        self.vfs = observed.vfs()
        self.living = bindings.ports.keys() | bindings.invalid.keys()
        self.recorded = {claim.vf: claim for claim in observed.claims.values()}
        self.holder = {vf: claim.port_id for vf, claim in self.recorded.items()}
        self.macs: dict[str, str] = {}
        self.carried: dict[str, dict[int, tuple[bool, str]]] = {}
        self.carrying: dict[str | None, list[Vf]] = {}
        for _, vf in sorted(self.vfs.items()):
            self.carrying.setdefault(vf.settings.mac, []).append(vf)
        self.free = {
            pf.address: {
                vf.address: vf
                for vf in sorted(pf.vfs, key=lambda vf: vf.index)
                if vf.address not in self.holder and not vf.held_by
            }
            for pf in observed.pfs.values()
        }

    def in_order(self) -> list[PortBinding]:
        """Ports that hold a VF first: whoever has something keeps it."""
        return sorted(
            self.bindings.ports.values(),
            key=lambda b: (b.port_id not in self.observed.claims, b.port_id),
        )

    def take(self, vf: Vf, binding: PortBinding) -> None:
        self.holder[vf.address] = binding.port_id
        self.free[vf.pf].pop(vf.address, None)
        carried = self.carried.setdefault(vf.pf, {})
        for segment in binding.segments():
            carried[segment.vlan] = segment.tagged, binding.port_id
        self.macs[binding.mac] = binding.port_id

    def vf_for(self, binding: PortBinding) -> Vf | None:
        """The VF for this port; ``None`` when it holds one that cannot be seen now.

        :raises InvalidField: when there is none for it, naming the field that asks too much
        """
        self._check_mac(binding)
        claim = self.observed.claims.get(binding.port_id)
        if claim and claim.pf not in self.observed.pfs:
            return None
        held = self.vfs.get(claim.vf) if claim else None
        if binding.pci_slot is not None:
            vf = self._named(binding, binding.pci_slot)
        elif held and self._serves(held, binding):
            vf = self._included(held)
        else:
            vf = self._recorded(binding) or self._carrying(binding) or self._free(binding)
        self._check_mac_on_vfs(binding, vf)
        if binding.vnic_type == "macvtap" and not vf.netdev:
            raise InvalidField(
                "binding:vnic_type",
                binding.vnic_type,
                f"VF {vf.address} has no network device for a macvtap (driver "
                f"{vf.driver or 'none'})",
            )
        conflict = self._conflict(binding, vf.pf)
        if conflict:
            raise InvalidField("trunk", binding.port_id, conflict)
        return vf

    def former_mac(self, vf: Vf, binding: PortBinding) -> str:
        """The MAC of the port's past, or of the VF's last holder, that is still on the VF.

        The driver of a free VF may show the port's own one; see :attr:`Claim.unset`.
        """
        seen = vf.settings.mac or ""
        claim = self.recorded.get(vf.address)
        if seen == binding.mac:
            shown = not vf.held_by if claim is None else claim.port_id == binding.port_id
            return seen if shown and (claim is None or claim.unset) else ""
        ours = claim is not None and seen in (claim.mac, claim.former_mac)
        return seen if ours else ""

    def _check_mac(self, binding: PortBinding) -> None:
        if binding.mac in self.macs:
            raise InvalidField(
                "mac_address", binding.mac, f"already the MAC of port {self.macs[binding.mac]}"
            )
        for pf in self.observed.pfs.values():
            if pf.mac == binding.mac:
                raise InvalidField(
                    "mac_address", binding.mac, f"already the MAC of PF {pf.address}"
                )

    def _check_mac_on_vfs(self, binding: PortBinding, own: Vf) -> None:
        for vf in self.carrying.get(binding.mac, ()):
            mine = vf.address == own.address or self.holder.get(vf.address) == binding.port_id
            if not mine:
                raise InvalidField("mac_address", binding.mac, f"already on VF {vf.address}")

    def _conflict(self, binding: PortBinding, pf: str) -> str:
        """Why a link of the PF cannot carry this port beside those that have a VF of it."""
        carried = self.carried.get(pf)
        if not carried:
            return ""
        native = {vlan: port for vlan, (tagged, port) in carried.items() if not tagged}
        for segment in sorted(binding.segments()):
            tagged, port = carried.get(segment.vlan, (segment.tagged, ""))
            if tagged != segment.tagged:
                how = "tagged" if tagged else "untagged"
                return f"VLAN {segment.vlan} is {how} on PF {pf} for port {port}"
            if not segment.tagged and native.keys() - {segment.vlan}:
                ((vlan, port),) = native.items()
                return f"VLAN {vlan} is the untagged one of PF {pf}, for port {port}"
        return ""

    def _serves(self, vf: Vf, binding: PortBinding) -> bool:
        return self.observed.pfs[vf.pf].physical_network == binding.physical_network

    def _named(self, binding: PortBinding, address: str) -> Vf:
        vf = self.vfs.get(address)
        if vf is None:
            raise InvalidField("pci_slot", address, "no such VF on the PFs of this agent")
        if not self._serves(vf, binding):
            network = self.observed.pfs[vf.pf].physical_network
            raise InvalidField(
                "pci_slot",
                address,
                f"on physical network {network}, not {binding.physical_network}",
            )
        holder = self.holder.get(address, binding.port_id)
        if holder != binding.port_id and holder in self.living:
            raise InvalidField("pci_slot", address, f"held by port {holder}")
        claim = self.recorded.get(address)
        known = claim is not None and claim.port_id == binding.port_id
        if vf.domain and not known and vf.settings.mac != binding.mac:
            raise InvalidField(
                "pci_slot", address, f"in use by domain {vf.domain}: detach it there first"
            )
        return self._included(vf)

    @staticmethod
    def _included(vf: Vf) -> Vf:
        if vf.excluded:
            raise InvalidField("pci_slot", vf.address, vf.held_by)
        return vf

    def _recorded(self, binding: PortBinding) -> Vf | None:
        interface = self.observed.interfaces.get(binding.port_id)
        vf = self.vfs.get(interface.vf) if interface else None
        if vf is None or not self._may_adopt(vf, binding):
            return None
        return vf if vf.settings.mac == binding.mac else None

    def _may_adopt(self, vf: Vf, binding: PortBinding) -> bool:
        return vf.address not in self.holder and not vf.excluded and self._serves(vf, binding)

    def _carrying(self, binding: PortBinding) -> Vf | None:
        """The VF that has the port's MAC. A guest can set a MAC, but not a VLAN."""
        same = self.carrying.get(binding.mac, [])
        if len(same) != 1 or not self._may_adopt(same[0], binding):
            return None
        programmed = binding.vlan != 0 and same[0].settings.vlan == binding.vlan
        return same[0] if programmed or not same[0].held_by else None

    def _free(self, binding: PortBinding) -> Vf:
        pfs = [
            pf
            for pf in self.observed.pfs.values()
            if pf.physical_network == binding.physical_network
        ]
        if not pfs:
            served = sorted({pf.physical_network for pf in self.observed.pfs.values()})
            unseen = [why for what, why in self.observed.errors.items() if what.startswith("pf ")]
            reason = "no PF of this host serves it; served: " + (", ".join(served) or "none")
            raise InvalidField(
                "physical_network", binding.physical_network, "; ".join([reason, *unseen])
            )
        pf = min(
            pfs,
            key=lambda pf: (
                bool(self._conflict(binding, pf.address)),
                -len(self.free[pf.address]),
                pf.address,
            ),
        )
        if not self.free[pf.address]:
            total = sum(len(pf.vfs) for pf in pfs)
            claimed = sum(vf.address in self.holder for pf in pfs for vf in pf.vfs)
            raise InvalidField(
                "physical_network",
                binding.physical_network,
                f"no free VF: of {total} VFs {claimed} are held by ports and "
                f"{total - claimed} used by others",
            )
        return next(iter(self.free[pf.address].values()))


def _plugged(binding: PortBinding, vf: Vf | None) -> bool:
    """Also where the VF cannot be seen: what it has is not to be taken for less than it was."""
    return vf is None or binding.plugged_into(vf)


def _interface(
    binding: PortBinding, claim: Claim, choice: "_Choice", observed: Observed
) -> Interface:
    netdev = ""
    if binding.vnic_type == "macvtap":
        vf, written = choice.vfs.get(claim.vf), observed.interfaces.get(binding.port_id)
        netdev = (vf.netdev if vf else written.netdev if written else None) or ""
    return Interface(vf=claim.vf, mac=binding.mac, vlan=binding.vlan, netdev=netdev)


def _segments(binding: PortBinding, networks: bool) -> frozenset[Segment]:
    segments = binding.segments()
    return segments if networks else frozenset(replace(s, network_id="") for s in segments)


def _fabric(
    segments: Mapping[str, frozenset[Segment]], claims: Mapping[str, Claim], observed: Observed
) -> dict[SwitchPort, frozenset[Segment]]:
    """The segments of each PF on the switch ports it is cabled to.

    While it cannot be told where all of a PF's links end, what is open for it and still wanted
    stays open where it was opened.
    """
    by_pf: dict[str, frozenset[Segment]] = {}
    for port, asked in segments.items():
        if asked:
            pf = claims[port].pf
            by_pf[pf] = by_pf.get(pf, frozenset()) | asked
    wanted: dict[SwitchPort, frozenset[Segment]] = {}
    for pf, asked in by_pf.items():
        known = links(observed.pfs.get(pf), observed.cabling)
        wanted |= dict.fromkeys(known.switch_ports, asked)
        if not known.whole:
            wanted |= {
                at: seen & asked
                for at, seen in observed.fabric.items()
                if at.pf == pf and at not in known.switch_ports
            }
    return wanted
