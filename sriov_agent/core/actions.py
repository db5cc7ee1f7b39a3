# SPDX-License-Identifier: Apache-2.0
"""What a plan is made of: data that an adapter carries out. Equal actions are the same."""

from dataclasses import dataclass

from sriov_agent.core.model import Segment, SwitchPort, VfSettings
from sriov_agent.core.state import Claim, Interface


@dataclass(frozen=True, slots=True)
class RecordClaim:
    """Record that the port holds the VF; whoever held either before no longer does."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class SetFabric:
    """Have exactly these segments open on the switch port for this host's PF."""

    switch_port: SwitchPort
    segments: frozenset[Segment]


@dataclass(frozen=True, slots=True)
class SetVfs:
    """Set what changes on the VFs of one PF: (VF index, settings), by index."""

    pf: str
    changes: tuple[tuple[int, VfSettings], ...]


@dataclass(frozen=True, slots=True)
class WriteInterface:
    """Write the port's libvirt interface XML."""

    port_id: str
    interface: Interface


@dataclass(frozen=True, slots=True)
class RemoveInterface:
    """Remove the port's libvirt interface XML."""

    port_id: str


@dataclass(frozen=True, slots=True)
class DropClaim:
    """Forget that the port held a VF."""

    claim: Claim


Action = RecordClaim | SetFabric | SetVfs | WriteInterface | RemoveInterface | DropClaim
