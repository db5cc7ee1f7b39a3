# SPDX-License-Identifier: Apache-2.0
"""What a plan for VPP is made of: data that an adapter carries out."""

from enum import StrEnum

from msgspec import Struct


class Table(Struct, frozen=True, order=True):
    """A routing table of one version of IP."""

    version: int
    number: int

    def __str__(self) -> str:
        return f"table {self.number} of IPv{self.version}"


class Domain(Struct, frozen=True, order=True):
    """The bridge domain of a VLAN."""

    vlan: int

    def __str__(self) -> str:
        return f"bridge domain {self.vlan}"


class Gateway(Struct, frozen=True, order=True):
    """The loopback of a VLAN."""

    vlan: int

    def __str__(self) -> str:
        return f"loop{self.vlan}"


class Guest(Struct, frozen=True, order=True):
    """The vhost-user interface of a socket."""

    socket: str

    def __str__(self) -> str:
        return self.socket


class Sub(Struct, frozen=True, order=True):
    """The sub-interface of a VLAN of a socket."""

    socket: str
    vlan: int

    def __str__(self) -> str:
        return f"{self.socket} VLAN {self.vlan}"


Member = Gateway | Sub
Target = Table | Domain | Member | Guest


class Verb(StrEnum):
    """What is done; in brackets what its value is."""

    ADD = "add"  # of a guest: whether VPP makes the socket
    REMOVE = "remove"
    TAG = "tag"
    UP = "set up"
    MODE = "set mode"  # whether VPP makes the socket
    JOIN = "join"  # a bridge domain, as its BVI if it is a gateway
    POP = "pop tag"
    BIND = "set table"  # a table
    ADD_ADDRESS = "add address"  # with prefix length
    REMOVE_ADDRESS = "remove address"  # with prefix length


class Change(Struct, frozen=True):
    """One thing that VPP is asked for."""

    verb: Verb
    on: Target
    value: bool | str | Domain | Table | None = None

    def __str__(self) -> str:
        return f"{self.verb} {self.on} {self.shown}".strip()

    @property
    def needs(self) -> tuple[Target, ...]:
        """What must be there for it, besides what it is on."""
        found: list[Target] = [self.value] if isinstance(self.value, Domain | Table) else []
        if isinstance(self.on, Sub):
            found.append(Guest(self.on.socket))
        return tuple(found)

    @property
    def shown(self) -> str:
        """Its value for people."""
        if isinstance(self.value, bool):
            return "server" if self.value else "client"
        return "" if self.value is None else str(self.value)
