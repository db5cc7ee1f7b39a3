# SPDX-License-Identifier: Apache-2.0
"""Links and wants as tests need them."""

from sriov_agent.core.model import LldpId
from sriov_agent.fabric.model import Link, Want
from tests.topology import PF_A

LEAF = LldpId("mac", "52:54:00:bb:00:01")


def link(host="compute1", pf=PF_A, chassis=LEAF, port="swp1"):
    return Link(host, pf, chassis, LldpId("ifname", port))


def want(*vlans, at=None, epoch=1, sequence=1, **more):
    vlans = frozenset(vlans)
    return Want(link=at or link(), vlans=vlans, epoch=epoch, sequence=sequence, **more)
