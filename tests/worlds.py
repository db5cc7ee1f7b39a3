# SPDX-License-Identifier: Apache-2.0
"""Random hosts with random ports, for hypothesis: everything that could be found at a start."""

import itertools
from dataclasses import dataclass

from hypothesis import strategies as st

from sriov_agent.core.fields import ZERO_MAC
from sriov_agent.core.model import (
    RELEASED,
    Cabling,
    LinkState,
    SwitchPort,
    VfSettings,
)
from sriov_agent.core.state import Bindings, Claim, Interface, PortBinding
from tests.frozen import replace
from tests.simulator import SimulatedVf, Simulator
from tests.topology import (
    CABLING,
    PF_A,
    PF_B,
    PF_C,
    binding,
    carried,
    claim,
    port_id,
    port_mac,
    switch_port,
    vf_address,
)

NUMBERS = range(1, 7)
VLANS = (0, 10, 15, 20)
#: MAC addresses that no port has
FOREIGN_MACS = ("02:ff:00:00:00:01", "02:ff:00:00:00:02")
MOST_VFS = 3
PFS = (PF_A, PF_B, PF_C)
ALL_VFS = [vf_address(pf, index) for pf in PFS for index in range(MOST_VFS)]
IGB = frozenset({"link_state", "min_tx_rate"})


@dataclass(frozen=True, repr=False)
class World:
    """A host as found, and what its source says of the ports."""

    simulator: Simulator
    bindings: Bindings

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:
        """For hypothesis, when it shows the world in which a law does not hold."""
        printer.text(
            "\n".join(
                [
                    "",
                    *map(str, self.bindings.ports.values()),
                    *(f"invalid {port}" for port in self.bindings.invalid),
                    *(f"VF {address} {vf}" for address, vf in self.simulator.vfs.items()),
                    *map(str, self.simulator.claims.values()),
                    *(f"XML of {port}: {xml}" for port, xml in self.simulator.interfaces.items()),
                    *(
                        f"PF {pf} at {at.switch_port or at}"
                        for pf, at in self.simulator.cabling.items()
                    ),
                    *(f"open at {at}: {sorted(ids)}" for at, ids in self.simulator.fabric.items()),
                    f"lacking {self.simulator.lacking}, hidden {self.simulator.hidden}",
                    f"dark {self.simulator.dark}",
                ]
            )
        )


def vf_settings(shared: bool) -> st.SearchStrategy[VfSettings]:
    macs = st.sampled_from([ZERO_MAC, *FOREIGN_MACS, *map(port_mac, NUMBERS if shared else ())])
    dirty = st.builds(
        VfSettings,
        mac=macs,
        vlan=st.sampled_from(VLANS),
        qos=st.sampled_from((0, 3)),
        spoofchk=st.booleans(),
        trust=st.booleans(),
        link_state=st.sampled_from(LinkState),
        min_tx_rate=st.sampled_from((0, 10)),
        max_tx_rate=st.sampled_from((0, 100)),
    )
    tenants = st.builds(
        lambda mac, vlan: replace(RELEASED, mac=mac, vlan=vlan), macs, st.sampled_from(VLANS)
    )
    return st.just(RELEASED) | tenants | dirty


@st.composite
def port_bindings(draw: st.DrawFn, number: int, shared: bool) -> PortBinding:
    vlan = draw(st.sampled_from(VLANS))
    slot = draw(st.none() | st.none() | st.sampled_from(ALL_VFS))
    return binding(
        number,
        mac=port_mac(draw(st.sampled_from([number] * 5 + [1] * shared))),
        vlan=vlan,
        qos=draw(st.sampled_from((0, 0, 5))) if vlan else 0,
        physical_network=draw(st.sampled_from(["physnet2"] * 4 + ["physnet3", "elsewhere"])),
        pci_slot=slot,
        plugged_by_nova=slot is not None and draw(st.booleans()),
        trust=draw(st.booleans()),
        link_state=draw(st.sampled_from(LinkState)),
        min_tx_rate=draw(st.sampled_from((0, 0, 10))),
        max_tx_rate=draw(st.sampled_from((0, 100))),
    )


@st.composite
def sources(draw: st.DrawFn, shared: bool) -> Bindings:
    known = draw(st.sets(st.sampled_from(NUMBERS), max_size=5))
    refused = draw(st.sets(st.sampled_from(NUMBERS), max_size=2))
    return Bindings(
        ports={port_id(n): draw(port_bindings(n, shared)) for n in sorted(known - refused)},
        invalid=dict.fromkeys(map(port_id, sorted(refused)), "vlan 4095: out of range 0..4094"),
    )


@st.composite
def simulators(draw: st.DrawFn, seen: bool, shared: bool) -> Simulator:
    pfs = draw(st.lists(st.sampled_from(PFS), min_size=1, unique=True))
    vfs = {
        vf_address(pf, index): SimulatedVf(
            pf=pf,
            index=index,
            settings=draw(vf_settings(shared)),
            used=draw(st.sampled_from(["", "", "", "netdev v0 is up"])),
            net=draw(st.booleans()),
        )
        for pf in pfs
        for index in range(draw(st.integers(1, MOST_VFS)))
    }
    former = {pf: switch_port(pf, leaf=3) for pf in pfs}
    cabling = draw(_cabling(pfs, former, seen))
    ports = {found.switch_port for found in cabling.values() if found.switch_port}
    ports |= {former[pf] for pf in pfs if draw(st.booleans())}
    return Simulator(
        vfs=vfs,
        claims=draw(_claims()),
        interfaces=draw(_interfaces()),
        cabling=cabling,
        fabric={
            port: carried(*draw(st.frozensets(st.sampled_from(VLANS[1:]))))
            for port in sorted(ports, key=str)
        },
        lacking={pf: draw(st.sampled_from((frozenset(), IGB))) for pf in pfs},
        hidden=frozenset() if seen else draw(st.frozensets(st.sampled_from(pfs), max_size=1)),
        dark=frozenset()
        if seen or not ports
        else draw(st.frozensets(st.sampled_from(sorted(ports, key=str)), max_size=1)),
    )


@st.composite
def _cabling(
    draw: st.DrawFn, pfs: list[str], former: dict[str, SwitchPort], seen: bool
) -> dict[str, Cabling]:
    found: dict[str, Cabling] = {}
    for pf in pfs:
        choices = [CABLING[pf], CABLING[pf], Cabling(switch_port=former[pf])]
        choices += [] if seen else [Cabling(reason="no LLDP neighbor"), None]
        answer = draw(st.sampled_from(choices))
        if answer:
            found[pf] = answer
    return found


@st.composite
def _claims(draw: st.DrawFn) -> dict[str, Claim]:
    """Ports on VFs of their own: of this host, gone, or with an index that was another's."""
    numbers = draw(st.lists(st.sampled_from(NUMBERS), max_size=5, unique=True))
    held = draw(st.permutations(list(itertools.product(PFS, range(MOST_VFS)))))
    found: dict[str, Claim] = {}
    for number, (pf, index) in zip(numbers, held, strict=False):
        moved = draw(st.sampled_from([False] * 7 + [True]))
        found[port_id(number)] = replace(claim(number, pf, index), index=index + moved)
    return found


@st.composite
def _interfaces(draw: st.DrawFn) -> dict[str, Interface | None]:
    numbers = draw(st.lists(st.sampled_from(NUMBERS), max_size=4, unique=True))
    written = st.builds(
        Interface,
        vf=st.sampled_from(ALL_VFS),
        mac=st.sampled_from([port_mac(number) for number in NUMBERS]),
        vlan=st.sampled_from(VLANS),
    )
    return {port_id(number): draw(st.none() | written | written) for number in numbers}


@st.composite
def worlds(draw: st.DrawFn, seen: bool = False, shared: bool = True) -> World:
    """A host as it may be found.

    :param seen: everything can be seen, and LLDP names a switch port for every PF
    :param shared: ports may have the same MAC address, and VFs that of a port
    """
    return World(draw(simulators(seen, shared)), draw(sources(shared)))
