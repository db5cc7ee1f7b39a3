# SPDX-License-Identifier: Apache-2.0
"""The picture of this host, from the agent's record and the table of ports."""

from sriov_agent.core.topology import Topology, topology
from sriov_agent.sources.ports import Ports
from sriov_agent.store import Store


def picture(host: str, store: Store, ports: Ports) -> Topology:
    """As the agent saw it last.

    :raises Unavailable: if the files cannot be used
    """
    return topology(host, store.pfs(), store.status(), store.lldp(), ports.bindings().ports)
