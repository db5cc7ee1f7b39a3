# SPDX-License-Identifier: Apache-2.0
"""The host that the tests are about, and builders for what is on it.

::

    compute1                                             fabric
    +-------------------------------------------+
    | PF_A  0000:3b:00.0  ens1   physnet2       |---- swp1 [ leaf1 52:54:00:bb:00:01 ]
    |   VFs 0000:3b:02.0  .1  .2  .3            |
    | PF_B  0000:5e:00.0  ens2   physnet2       |---- swp1 [ leaf2 52:54:00:bb:00:02 ]
    |   VFs 0000:5e:02.0  .1  .2  .3            |
    | PF_C  0000:86:00.0  ens3   physnet3       |---- swp2 [ leaf2                   ]
    |   VFs 0000:86:02.0  .1  .2  .3            |
    +-------------------------------------------+
"""

from sriov_agent.core.model import (
    RELEASED,
    Cabling,
    LldpId,
    Neighbor,
    Pf,
    Segment,
    SwitchPort,
    Vf,
    VfSettings,
)
from sriov_agent.core.state import Claim, Interface, Observed, PortBinding
from tests.frozen import replace

HOST = "compute1"
PF_A, PF_B, PF_C = "0000:3b:00.0", "0000:5e:00.0", "0000:86:00.0"
NETDEVS = {PF_A: "ens1", PF_B: "ens2", PF_C: "ens3"}
PHYSICAL_NETWORKS = {PF_A: "physnet2", PF_B: "physnet2", PF_C: "physnet3"}
NUM_VFS = 4


def port_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def port_mac(number: int) -> str:
    return f"02:5a:00:00:00:{number:02x}"


def binding(number: int, **given: object) -> PortBinding:
    """Port ``number``, in VLAN 15 of physnet2 unless told otherwise."""
    asked = {
        "port_id": port_id(number),
        "mac": port_mac(number),
        "vlan": 15,
        "physical_network": "physnet2",
    }
    return PortBinding(**(asked | given))


def vf_address(pf: str, index: int) -> str:
    return f"{pf[:8]}{2 + index // 8:02x}.{index % 8}"


def vf(
    pf: str,
    index: int,
    settings: VfSettings = RELEASED,
    held_by: str = "",
    excluded: bool = False,
) -> Vf:
    return Vf(
        address=vf_address(pf, index),
        pf=pf,
        index=index,
        driver="igbvf",
        netdev=f"{NETDEVS[pf]}v{index}",
        settings=settings,
        held_by=held_by,
        excluded=excluded,
    )


def pf(address: str, *vfs: Vf, count: int = NUM_VFS, **given: object) -> Pf:
    """A PF with ``vfs``, and with unused ones at the indices these leave out."""
    listed = {vf.index: vf for vf in vfs}
    asked = {
        "netdev": NETDEVS[address],
        "mac": f"52:54:00:aa:00:{list(NETDEVS).index(address) + 1:02x}",
        "physical_network": PHYSICAL_NETWORKS[address],
        "carrier": True,
        "total_vfs": 7,
        "vfs": tuple(listed.get(index, vf(address, index)) for index in range(count)),
    }
    return Pf(address=address, **(asked | given))


def claim(number: int, pf: str, index: int) -> Claim:
    return Claim(
        port_id=port_id(number),
        vf=vf_address(pf, index),
        pf=pf,
        index=index,
        mac=port_mac(number),
    )


def interface(port: PortBinding, pf: str, index: int) -> Interface:
    return Interface(vf=vf_address(pf, index), mac=port.mac, vlan=port.vlan)


def neighbor(leaf: int = 1, port: str = "swp1", **given: object) -> Neighbor:
    """What leaf switch number ``leaf`` announces on one of its ports."""
    heard = Neighbor(
        chassis_id=LldpId("mac", f"52:54:00:bb:00:{leaf:02x}"),
        port_id=LldpId("ifname", port),
        system_name=f"leaf{leaf}",
        port_description=port,
        capabilities=frozenset({"Bridge"}),
        ttl=120,
    )
    return replace(heard, **given)


def switch_port(pf: str, leaf: int = 1, port: str = "swp1") -> SwitchPort:
    heard = neighbor(leaf, port)
    return SwitchPort(
        pf=pf,
        chassis_id=heard.chassis_id,
        port_id=heard.port_id,
        system_name=heard.system_name,
        port_description=heard.port_description,
    )


def carried(*vlans: int) -> frozenset[Segment]:
    """These VLANs as a link carries them, tagged, of networks that nobody tells apart."""
    return frozenset(map(Segment, vlans))


LEAF_A, LEAF_B, LEAF_C = (
    switch_port(PF_A),
    switch_port(PF_B, leaf=2),
    switch_port(PF_C, leaf=2, port="swp2"),
)
CABLING = {at.pf: Cabling(switch_port=at) for at in (LEAF_A, LEAF_B, LEAF_C)}


def observed(*pfs: Pf, **given: object) -> Observed:
    """The PFs given, cabled as drawn, with nothing open on the leaves."""
    seen = {
        "pfs": {pf.address: pf for pf in pfs},
        "cabling": {pf.address: CABLING[pf.address] for pf in pfs},
        "fabric": {
            at: frozenset() for at in (LEAF_A, LEAF_B, LEAF_C) if at.pf in {p.address for p in pfs}
        },
    }
    return Observed(**(seen | given))
