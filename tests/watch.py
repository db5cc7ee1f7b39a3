# SPDX-License-Identifier: Apache-2.0
"""The laws that hold for every single action, whatever went before it."""

from collections.abc import Mapping

from sriov_agent.core.actions import (
    Action,
    DropClaim,
    RecordClaim,
    RemoveInterface,
    SetFabric,
    SetVfs,
    WriteInterface,
)
from sriov_agent.core.intent import intent
from sriov_agent.core.model import RELEASED, VfSettings
from sriov_agent.core.state import ALL, PLUGGED_SETTINGS, Claim, Desired, Scope
from tests.simulator import Simulator
from tests.topology import vf_address
from tests.worlds import World


class Watch:
    """Looks at every action before it is carried out, and holds it to the laws.

    :param fabric_first: whether the fabric does all it is asked
    """

    def __init__(self, world: World, scope: Scope = ALL, fabric_first: bool = True) -> None:
        self.host = world.simulator
        self.bindings = world.bindings
        self.scope = scope
        self.fabric_first = fabric_first
        named = {port.pci_slot for port in world.bindings.ports.values()}
        claimed = {claim.vf for claim in self.host.claims.values()}
        macs = {port.mac for port in world.bindings.ports.values()}
        macs |= {found.mac for found in self.host.interfaces.values() if found}
        #: VFs that somebody else holds, with no trace of a port of this host on them
        self.others = {
            vf.address
            for vf in self.host.observe().vfs().values()
            if vf.held_by and vf.address not in claimed | named and vf.settings.mac not in macs
        }

    def __call__(self, action: Action) -> None:
        match action:
            case RecordClaim(claim):
                assert claim.port_id in self.scope
                assert claim.vf not in self.others
                holder = self.holder(claim.vf)
                assert holder in (None, claim.port_id) or not self.bound(holder), (
                    "a VF was taken from a port that is bound here"
                )
            case DropClaim(claim):
                assert claim.port_id in self.scope
                assert claim.port_id not in self.bindings.invalid
                assert claim.port_id not in self.host.interfaces
                assert claim.pf not in self.host.hidden
                if claim.vf in self.host.vfs:
                    assert not unreleased(self.host, claim), "dropped before it was released"
            case WriteInterface(port, interface):
                assert port in self.scope
                assert self.holder(interface.vf) == port
            case RemoveInterface(port):
                assert port in self.scope
                assert port not in self.bindings.invalid
                self._no_last_trace(port)
            case SetFabric():
                self._fabric(action)
            case SetVfs():
                self._vfs(action)

    def _no_last_trace(self, port: str) -> None:
        """An interface XML is not removed while nothing else tells whose the VF is.

        What tells it is a claim, the XML of another port that says the same, or a port that is
        bound here and has the MAC.
        """
        left = self.host.interfaces[port]
        vf = self.host.vfs.get(left.vf) if left else None
        if vf and vf.pf not in self.host.hidden and vf.settings.mac == left.mac:
            told = port in self.host.claims or self.holder(left.vf)
            told = told or left.mac in {bound.mac for bound in self.bindings.ports.values()}
            told = told or any(
                other != port and said and (said.vf, said.mac) == (left.vf, left.mac)
                for other, said in self.host.interfaces.items()
            )
            assert told, "the last trace of a port on its VF was removed"

    def _fabric(self, action: SetFabric) -> None:
        held = (*self.host.claims.values(), *self._desired().claims.values())
        if self.scope != ALL:
            assert action.switch_port.pf in {c.pf for c in held if c.port_id in self.scope}
        assert action.switch_port not in self.host.dark
        closed = {s.vlan for s in self.host.fabric[action.switch_port] - action.segments}
        pf = action.switch_port.pf
        in_use = {
            self.host.vfs[claim.vf].settings.vlan
            for claim in self.host.claims.values()
            if claim.vf in self.host.vfs and self.host.vfs[claim.vf].pf == pf
        }
        cabling = self.host.cabling.get(pf)
        if cabling and cabling.switch_port not in (None, action.switch_port):
            return
        assert not closed & in_use, "a VLAN was closed while a VF of ours is in it"
        assert not closed or pf not in self.host.hidden

    def _vfs(self, action: SetVfs) -> None:
        assert action.pf not in self.host.hidden
        assert list(action.changes) == sorted(action.changes, key=lambda change: change[0])
        for index, change in action.changes:
            address = vf_address(action.pf, index)
            port = self.holder(address)
            assert port is not None, "a VF was programmed for no port on record"
            assert port in self.scope
            assert address not in self.others
            assert port not in self.bindings.invalid
            if self._desired().claims.get(port) == self.host.claims[port]:
                wanted = self.bindings.ports[port].vf_settings().items()
                assert change.items().items() <= wanted.items(), "a port's VF was reset"
                self._plugged(port, address, change)
            if change.vlan and self.fabric_first:
                cabling = self.host.cabling.get(action.pf)
                at = cabling.switch_port if cabling else None
                if at and at not in self.host.dark:
                    assert change.vlan in {s.vlan for s in self.host.fabric[at]}, (
                        "a VF went before the fabric"
                    )

    def _plugged(self, port: str, address: str, change: VfSettings) -> None:
        """What nova plugs is given MAC and VLAN by libvirt; the guest has it then."""
        binding, vf = self.bindings.ports[port], self.host.vfs[address]
        if binding.plugged_by_nova and (vf.net or vf.settings.mac != binding.mac):
            touched = change.items().keys() & set(PLUGGED_SETTINGS)
            assert not touched, "a VF was programmed in the place of who plugs it"

    def _desired(self) -> Desired:
        return intent(self.bindings, self.host.observe())

    def holder(self, vf: str) -> str | None:
        return next((c.port_id for c in self.host.claims.values() if c.vf == vf), None)

    def bound(self, port: str) -> bool:
        return port in self.bindings.ports or port in self.bindings.invalid


def unreleased(host: Simulator, claim: Claim) -> Mapping[str, object]:
    """What the port of this claim left on its VF, as far as the driver can unset it.

    A MAC address that is not the port's is none of its leavings.
    """
    vf = host.vfs[claim.vf]
    left = RELEASED.without(host.learnt.get(vf.pf, ())).differing(vf.settings)
    return (left if vf.settings.mac == claim.mac else left.without(["mac"])).items()
