# SPDX-License-Identifier: Apache-2.0
"""What a plan of host taps and mirrors is made of: data that an adapter carries out.

Equal actions are the same; as text they say what is done, for a sentence.
"""

from msgspec import Struct

from sriov_agent.core.taps import OvsMirror, OvsPort, Tee


class MakeVeth(Struct, frozen=True):
    """Make a tap's veth pair, both ends down and in no bridge."""

    name: str
    end: str
    mtu: int

    def __str__(self) -> str:
        return f"make the interfaces {self.name} and {self.end}"


class RemoveVeth(Struct, frozen=True):
    """Remove the pair that this is the bridge's end of."""

    end: str

    def __str__(self) -> str:
        return f"remove the interface {self.end}"


class SetAlias(Struct, frozen=True):
    """Describe an interface."""

    netdev: str
    alias: str

    def __str__(self) -> str:
        return f"describe {self.netdev} as {self.alias!r}"


class Join(Struct, frozen=True):
    """Make an interface a port of a bridge."""

    netdev: str
    bridge: str

    def __str__(self) -> str:
        return f"make {self.netdev} a port of bridge {self.bridge}"


class SetVlan(Struct, frozen=True):
    """Put a port in this VLAN, untagged, and take it out of others."""

    netdev: str
    vlan: int
    others: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"put {self.netdev} in VLAN {self.vlan} alone"


class SetUp(Struct, frozen=True):
    """Set an interface up."""

    netdev: str

    def __str__(self) -> str:
        return f"set {self.netdev} up"


class AddAddress(Struct, frozen=True):
    """Give an interface an address."""

    netdev: str
    address: str

    def __str__(self) -> str:
        return f"give {self.netdev} the address {self.address}"


class AddTee(Struct, frozen=True):
    """Copy what passes an interface in one direction."""

    source: str
    direction: str
    to: str

    def __str__(self) -> str:
        return f"mirror the {self.direction} of {self.source} to {self.to}"


class RemoveTee(Struct, frozen=True):
    """Copy it no more."""

    tee: Tee

    def __str__(self) -> str:
        return f"end the mirror of the {self.tee.direction} of {self.tee.source}"


class MakePort(Struct, frozen=True):
    """Make a tap's internal port of Open vSwitch."""

    tap_id: str
    name: str
    bridge: str
    vlan: int

    def __str__(self) -> str:
        return f"make the port {self.name} of bridge {self.bridge} in VLAN {self.vlan}"


class SetTag(Struct, frozen=True):
    """Make a tap's port an access port of this VLAN."""

    port: OvsPort
    vlan: int

    def __str__(self) -> str:
        return f"put port {self.port.name} in VLAN {self.vlan}"


class RemovePort(Struct, frozen=True):
    """Remove a tap's port."""

    port: OvsPort

    def __str__(self) -> str:
        return f"remove port {self.port.name} of bridge {self.port.bridge}"


class MakeMirror(Struct, frozen=True):
    """Make a mirror of Open vSwitch; both ports are rows of this bridge."""

    mirror_id: str
    name: str
    bridge: str
    source: OvsPort
    output: OvsPort

    def __str__(self) -> str:
        return f"make the mirror {self.name} of bridge {self.bridge}"


class RemoveMirror(Struct, frozen=True):
    """Remove a mirror."""

    mirror: OvsMirror

    def __str__(self) -> str:
        return f"end the mirror of port {self.mirror.source} of bridge {self.mirror.bridge}"


KernelAction = (
    MakeVeth | RemoveVeth | SetAlias | Join | SetVlan | SetUp | AddAddress | AddTee | RemoveTee
)
OvsAction = MakePort | SetTag | RemovePort | MakeMirror | RemoveMirror
Action = KernelAction | OvsAction
