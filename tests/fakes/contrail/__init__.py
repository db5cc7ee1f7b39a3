# SPDX-License-Identifier: Apache-2.0
"""A fake Contrail (Tungsten Fabric): its config API and its Keystone, over real HTTP.

It keeps state and refuses what the real one refuses, in the behaviour of two releases. What it
shows was measured; what of it may not be relied on, the tests of the fake say.
"""

from tests.fakes.contrail.keystone import Keystone, User
from tests.fakes.contrail.objects import Refused, Snapshot
from tests.fakes.contrail.schema import Flavour
from tests.fakes.contrail.server import ConfigApi, Vlan
from tests.fakes.contrail.service import Request
from tests.fakes.contrail.topology import DEMO, Fabric, Interface, Network, Switch, Topology

__all__ = [
    "DEMO",
    "ConfigApi",
    "Fabric",
    "Flavour",
    "Interface",
    "Keystone",
    "Network",
    "Refused",
    "Request",
    "Snapshot",
    "Switch",
    "Topology",
    "User",
    "Vlan",
]
