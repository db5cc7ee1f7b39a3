# SPDX-License-Identifier: Apache-2.0
"""``contrail``: Contrail (Tungsten Fabric) configures the switches, asked by its config API.

Whether an object is there is all that the API tells. The Device Manager takes it from there and
pushes it to the switch; of that the API shows nothing.
"""

from sriov_agent.hook.contrail.driver import ContrailHook

__all__ = ["ContrailHook"]
