# SPDX-License-Identifier: Apache-2.0
"""Laws of intent and plan, over random hosts, ports, claims, cabling and fabric."""

from collections.abc import Mapping
from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.core.actions import Action, DropClaim, RecordClaim, SetFabric, SetVfs
from sriov_agent.core.intent import intent
from sriov_agent.core.model import RELEASED, Bindings, Observed, Scope
from sriov_agent.core.plan import plan
from tests.simulator import Simulator
from tests.topology import port_id, vf_address
from tests.worlds import NUMBERS, World, worlds


def refused_steps() -> st.SearchStrategy:
    """Any step may be refused, any time it is tried."""
    return st.functions(
        like=lambda step: False, returns=st.sampled_from([False, False, False, True]), pure=False
    )


class Watch:
    """Looks at every action before it is carried out, and holds it to the laws."""

    def __init__(self, world: World, fabric_first: bool = True) -> None:
        self.host = world.simulator
        self.bindings = world.bindings
        self.fabric_first = fabric_first
        named = {port.pci_slot for port in world.bindings.ports.values()}
        claimed = {claim.vf for claim in self.host.claims.values()}
        macs = {port.mac for port in world.bindings.ports.values()}
        macs |= {found.mac for found in self.host.interfaces.values() if found}
        self.others = {
            vf.address
            for vf in self.host.observe().vfs().values()
            if vf.held_by
            and vf.address not in claimed | named
            and vf.settings.mac not in macs
        }

    def __call__(self, action: Action) -> None:
        match action:
            case RecordClaim(claim):
                holder = self.holder(claim.vf)
                assert holder in (None, claim.port_id) or not self.living(holder), (
                    "a VF was taken from a port that is bound here"
                )
                assert claim.vf not in self.others
            case DropClaim(claim):
                assert claim.pf not in self.host.hidden
                assert not self.living(claim.port_id) or self.moving(claim.port_id)
            case SetFabric():
                self.fabric(action)
            case SetVfs():
                self.vfs(action)

    def fabric(self, action: SetFabric) -> None:
        assert action.switch_port not in self.host.dark
        closed = self.host.fabric[action.switch_port] - action.vlans
        pf = action.switch_port.pf
        in_use = {
            self.host.vfs[claim.vf].settings.vlan
            for claim in self.host.claims.values()
            if claim.vf in self.host.vfs and self.host.vfs[claim.vf].pf == pf
        }
        assert not closed & in_use, "a VLAN was closed while a VF of ours is in it"
        assert not closed or pf not in self.host.hidden

    def vfs(self, action: SetVfs) -> None:
        assert action.pf not in self.host.hidden
        assert list(action.changes) == sorted(action.changes, key=lambda change: change[0])
        for index, change in action.changes:
            address = vf_address(action.pf, index)
            port = self.holder(address)
            assert port is not None, "a VF was programmed for no port on record"
            assert address not in self.others
            assert port not in self.bindings.invalid
            if change.vlan and self.fabric_first:
                cabling = self.host.cabling.get(action.pf)
                at = cabling.switch_port if cabling else None
                if at and at not in self.host.dark:
                    assert change.vlan in self.host.fabric[at], "a VF went before the fabric"

    def holder(self, vf: str) -> str | None:
        return next((c.port_id for c in self.host.claims.values() if c.vf == vf), None)

    def living(self, port: str) -> bool:
        return port in self.bindings.ports or port in self.bindings.invalid

    def moving(self, port: str) -> bool:
        return intent(self.bindings, self.host.observe()).unmet.get(port, "").startswith("moving")


@given(worlds())
def test_a_pass_converges_and_the_next_one_plans_nothing(world):
    _, done = world.simulator.settle(world.bindings, watch=Watch(world))

    assert done
    seen = world.simulator.observe()
    assert plan(intent(world.bindings, seen), seen) == ()


@given(worlds(), refused_steps())
def test_with_refusals_the_laws_hold_and_the_passes_after_them_converge(world, refuses):
    watch = Watch(world, fabric_first=False)
    world.simulator.settle(world.bindings, refuses=refuses, watch=watch)
    world.simulator.dark = frozenset()
    _, done = world.simulator.settle(world.bindings, watch=watch)

    assert done
    seen = world.simulator.observe()
    assert plan(intent(world.bindings, seen), seen) == ()
