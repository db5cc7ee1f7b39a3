# SPDX-License-Identifier: Apache-2.0
"""What Neutron may be told of where a port is, in its ``binding:profile``: pure.

Source: ``pci_slot`` and ``physical_network`` as nova writes them; ``local_link_information`` as
ironic does.
"""

from collections.abc import Mapping

from sriov_agent.core.report import PortReport
from sriov_agent.core.state import PortBinding
from sriov_agent.sources.payload import WRITTEN_BY

Json = object


def profile(
    binding: PortBinding, known: Mapping[str, Json], entry: PortReport, host: str
) -> dict[str, Json] | None:
    """The port's profile as it should be; ``None`` where it is, or is nova's to write.

    :param known: as Neutron has it
    :param host: this host's name, by which an agent of another one knows whose word it is
    """
    if entry.claim is None or binding.plugged_by_nova:
        return None
    told: dict[str, Json] = {
        WRITTEN_BY: host,
        "pci_slot": entry.claim.vf,
        "physical_network": binding.physical_network,
        "local_link_information": [
            {
                "switch_id": at.chassis_id.value,
                "port_id": at.port_id.value,
                "switch_info": at.system_name,
            }
            for at in entry.switch_ports
        ],
    }
    return None if known.items() >= told.items() else {**known, **told}
