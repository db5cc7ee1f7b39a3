# SPDX-License-Identifier: Apache-2.0
"""Laws of intent, plan and report, over random hosts, ports, claims, cabling and fabric."""

import copy

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import fields

from sriov_agent.core.fields import ZERO_MAC
from sriov_agent.core.intent import intent
from sriov_agent.core.plan import plan
from sriov_agent.core.report import PortState
from sriov_agent.core.state import PLUGGED_SETTINGS, Bindings, Scope
from sriov_agent.service import SETTLED
from tests.frozen import replace
from tests.simulator import SimulatedVf, Simulator
from tests.topology import (
    CABLING,
    LEAF_A,
    LEAF_B,
    LEAF_C,
    PF_A,
    PF_B,
    PF_C,
    binding,
    carried,
    claim,
    interface,
    port_id,
    vf_address,
)
from tests.watch import Watch, unreleased
from tests.worlds import NUMBERS, World, sources, worlds


def steps_refused() -> st.SearchStrategy:
    """Any step may be refused, any time it is tried."""
    return st.functions(
        like=lambda step: False, returns=st.sampled_from([False, False, False, True]), pure=False
    )


def nothing_left(world: World) -> bool:
    seen = world.simulator.observe()
    return plan(intent(world.bindings, seen), seen) == ()


@given(worlds())
def test_a_pass_converges_and_the_next_one_plans_nothing(world):
    _, done = world.simulator.settle(world.bindings, watch=Watch(world))

    assert done
    assert nothing_left(world)


@given(worlds(), steps_refused())
def test_when_steps_are_refused_the_laws_hold_and_the_next_pass_converges(world, refuses):
    watch = Watch(world, fabric_first=False)
    world.simulator.settle(world.bindings, refuses=refuses, watch=watch)
    world.simulator.dark = frozenset()
    _, done = world.simulator.settle(world.bindings, watch=watch)

    assert done
    assert nothing_left(world)


@given(worlds(), st.frozensets(st.sampled_from(NUMBERS), max_size=2))
def test_a_pass_touches_the_ports_in_its_scope_alone(world, numbers):
    scope = Scope(frozenset(map(port_id, numbers)))
    _, done = world.simulator.settle(world.bindings, scope, watch=Watch(world, scope))

    assert done


@given(worlds())
def test_equal_states_have_the_same_plan_in_whatever_order_they_are_told(world):
    seen = world.simulator.observe()
    told = replace(
        seen,
        **{
            f.name: dict(reversed(getattr(seen, f.name).items()))
            for f in fields(seen)
            if f.name != "errors"
        },
    )
    bindings = Bindings(
        ports=dict(reversed(world.bindings.ports.items())), invalid=world.bindings.invalid
    )

    assert intent(bindings, told) == intent(world.bindings, seen)
    assert plan(intent(bindings, told), told) == plan(intent(world.bindings, seen), seen)


@given(worlds())
def test_planning_changes_nothing(world):
    before = copy.deepcopy(world)
    seen = world.simulator.observe()
    plan(intent(world.bindings, seen), seen)

    assert world == before


@given(worlds(), steps_refused())
def test_every_port_is_reported_and_met_means_seen(world, refuses):
    report, _ = world.simulator.settle(world.bindings, refuses=refuses)
    host = world.simulator

    assert world.bindings.ports.keys() | world.bindings.invalid.keys() <= report.ports.keys()
    for port, entry in report.ports.items():
        assert bool(entry.unmet) == (entry.state not in SETTLED)
        assert (entry.connected is True) == (entry.state == PortState.MET)
        if entry.state in SETTLED:
            bound = world.bindings.ports[port]
            held = host.claims[port]
            lacking = host.learnt.get(held.pf, frozenset())
            vf = host.vfs[held.vf]
            wanted = bound.vf_settings()
            if entry.state == PortState.UNPLUGGED:
                assert bound.plugged_by_nova
                assert vf.net or vf.settings.mac != bound.mac
                wanted = wanted.without(PLUGGED_SETTINGS)
            missing = wanted.differing(vf.settings).items()
            assert set(entry.unsupported) == missing.keys() <= lacking
            assert host.interfaces[port] == interface(bound, held.pf, held.index)
            if bound.vlan:
                at = host.cabling[held.pf].switch_port
                assert bound.vlan in {segment.vlan for segment in host.fabric[at]}
                assert at not in host.dark


@given(worlds())
def test_no_two_ports_share_a_vf_and_no_vf_is_wanted_twice(world):
    world.simulator.settle(world.bindings)
    desired = intent(world.bindings, world.simulator.observe())

    held = [claim.vf for claim in desired.claims.values()]
    assert len(held) == len(set(held))
    assert set(held) == desired.vfs.keys()
    held = [claim.vf for claim in world.simulator.claims.values()]
    assert len(held) == len(set(held))


@given(worlds(seen=True))
def test_release_leaves_every_vf_that_was_ours_exactly_as_an_unused_one(world):
    host = world.simulator
    seen = host.observe().pfs.keys()
    host.claims = {port: held for port, held in host.claims.items() if held.pf in seen}
    ours = [held for held in host.claims.values() if held.vf in host.vfs]
    gone = World(host, Bindings())
    _, done = host.settle(gone.bindings, watch=Watch(gone))

    assert done
    assert host.claims == {}
    assert host.interfaces == {}
    for held in ours:
        assert unreleased(host, held) == {}
    assert set(host.fabric.values()) <= {frozenset()}


@given(worlds(seen=True, shared=False), st.integers(0, 5))
def test_a_failing_port_changes_no_other_ports_outcome(world, number):
    settled = settled_ports(world)
    assume(settled)
    failing = settled[number % len(settled)]
    other = copy.deepcopy(world)
    expected, _ = other.simulator.settle(other.bindings)

    def refuses(step):
        match step:
            case "SetVfs", pf, index, _:
                held = world.simulator.claims.get(failing)
                return held is not None and held.vf == vf_address(pf, index)
            case "WriteInterface", port:
                return port == failing
            case _:
                return False

    report, _ = world.simulator.settle(world.bindings, refuses=refuses)

    for port in world.bindings.ports.keys() - {failing}:
        assert replace(report.ports[port], unmet=()) == replace(expected.ports[port], unmet=())
        held = expected.ports[port].claim
        if held and held.vf in other.simulator.vfs:
            assert world.simulator.vfs[held.vf] == other.simulator.vfs[held.vf]
            assert world.simulator.interfaces.get(port) == other.simulator.interfaces.get(port)


def settled_ports(world: World) -> list[str]:
    """Ports that have, or will get, a VF for which no other port waits."""
    seen = world.simulator.observe()
    return [
        port
        for port, held in intent(world.bindings, seen).claims.items()
        if seen.claims.get(port) in (None, held) and held.vf in world.simulator.vfs
    ]


def handovers() -> st.SearchStrategy:
    """The moments at which a pass runs: of the old port, of the new one, or of both."""
    scopes = st.sampled_from([frozenset({1}), frozenset({2}), frozenset({1, 2})])
    return st.lists(st.tuples(st.sampled_from(["delete", "create", "pass"]), scopes), max_size=8)


@given(handovers(), st.booleans(), st.sampled_from([0, 15, 20]))
def test_a_vf_handed_to_a_new_port_is_never_reset_by_the_old_ports_deletion(
    moments, slot_named, vlan
):
    old = binding(1)
    slot = vf_address(PF_A, 0) if slot_named else None
    new = binding(2, vlan=vlan, pci_slot=slot)
    host = Simulator(
        vfs={vf_address(PF_A, 0): SimulatedVf(PF_A, 0)},
        cabling={PF_A: CABLING[PF_A]},
        fabric={LEAF_A: frozenset()},
    )
    known = {old.port_id: old}
    host.settle(Bindings(ports=known))
    assert host.claims == {old.port_id: claim(1, PF_A, 0)}

    handed_over = False
    for event, numbers in [*moments, ("delete", {1}), ("create", {2}), ("pass", {1, 2})]:
        if event == "delete":
            known.pop(old.port_id, None)
        elif event == "create":
            known[new.port_id] = new
        bindings = Bindings(ports=dict(known))
        scope = Scope(frozenset(map(port_id, numbers)))
        host.settle(bindings, scope, watch=Watch(World(host, bindings), scope))
        holder = next(iter(host.claims), None)
        handed_over = handed_over or holder == new.port_id
        if handed_over:
            assert host.vfs[vf_address(PF_A, 0)].settings == new.vf_settings()
            assert host.claims == {new.port_id: claim(2, PF_A, 0)}
        elif old.port_id in known:
            assert host.vfs[vf_address(PF_A, 0)].settings == old.vf_settings()

    assert handed_over
    assert host.interfaces == {new.port_id: interface(new, PF_A, 0)}
    assert host.fabric == {LEAF_A: carried(*{vlan} - {0})}


@st.composite
def histories(draw: st.DrawFn) -> list[Bindings]:
    """What the source says, one time after the other."""
    return [draw(sources(shared=True)) for _ in range(draw(st.integers(1, 3)))]


@given(histories(), steps_refused(), st.booleans())
def test_when_all_ports_are_gone_the_host_is_as_before_the_first(history, refuses, own_macs):
    vfs = {
        vf_address(pf, index): SimulatedVf(pf, index)
        for pf, index in [(PF_A, 0), (PF_A, 1), (PF_B, 0), (PF_C, 0)]
    }
    for number, vf in enumerate(vfs.values()):
        vf.own_mac = f"02:fe:00:00:00:{number:02x}" if own_macs else vf.own_mac
        vf.set("mac", ZERO_MAC)
    host = Simulator(
        vfs=copy.deepcopy(vfs),
        cabling=CABLING,
        fabric={at: frozenset() for at in (LEAF_A, LEAF_B, LEAF_C)},
    )
    for bindings in history:
        host.settle(
            bindings, refuses=refuses, watch=Watch(World(host, bindings), fabric_first=False)
        )
        host.dark = frozenset()
    for _ in range(2):
        host.settle(Bindings())

    assert host.vfs == vfs
    assert (host.claims, host.interfaces) == ({}, {})
    assert set(host.fabric.values()) == {frozenset()}
