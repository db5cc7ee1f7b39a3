# SPDX-License-Identifier: Apache-2.0
"""What a plan is made of: data that an adapter carries out. Equal actions are the same."""

from msgspec import Struct

from sriov_agent.core.model import Segment, SwitchPort, VfSettings
from sriov_agent.core.state import Claim, Interface


class RecordClaim(Struct, frozen=True):
    """Record that the port holds the VF; whoever held either before no longer does."""

    claim: Claim


class SetFabric(Struct, frozen=True):
    """Have exactly these segments open on the switch port for this host's PF."""

    switch_port: SwitchPort
    segments: frozenset[Segment]


class SetVfs(Struct, frozen=True):
    """Set what changes on the VFs of one PF: (VF index, settings), by index."""

    pf: str
    changes: tuple[tuple[int, VfSettings], ...]


class WriteInterface(Struct, frozen=True):
    """Write the port's libvirt interface XML."""

    port_id: str
    interface: Interface


class RemoveInterface(Struct, frozen=True):
    """Remove the port's libvirt interface XML."""

    port_id: str


class DropClaim(Struct, frozen=True):
    """Forget that the port held a VF."""

    claim: Claim


Action = RecordClaim | SetFabric | SetVfs | WriteInterface | RemoveInterface | DropClaim
