# SPDX-License-Identifier: Apache-2.0
"""``ml2``: ports come from Neutron's ML2 plugin, as they come to neutron-sriov-nic-agent.

The agent is a 'NIC Switch agent' to Neutron, so that the mechanism driver sriovnicswitch binds
ports on its host. It takes oslo.messaging alone, and nothing of Neutron's.
"""

from sriov_agent.sources.ml2.source import Ml2

__all__ = ["Ml2"]
