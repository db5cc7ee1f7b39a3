# SPDX-License-Identifier: Apache-2.0
"""All rigs, by name: one that is added here is in the contract suite."""

from tests.switches.generic_switch import GenericSwitchRig
from tests.switches.netconfd import JunosRig, OpenConfigRig
from tests.switches.ovsdb import OvsdbRig
from tests.switches.rig import Rig

RIGS: dict[str, type[Rig]] = {
    "openconfig": OpenConfigRig,
    "junos": JunosRig,
    "ovsdb": OvsdbRig,
    "generic-switch": GenericSwitchRig,
}
