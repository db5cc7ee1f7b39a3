# SPDX-License-Identifier: Apache-2.0
"""Which VLANs a trunk carries, from its subports and their networks."""

import pytest

from sriov_agent.core.model import Segment
from sriov_agent.exceptions import InvalidField
from sriov_agent.sources.trunk import Network, SubPort, segments

RED, BLUE, GREEN = "red", "blue", "green"
NO_VLAN = Segment(0, BLUE)
NETWORKS = {
    RED: Network(RED, 1, 15, "physnet2"),
    BLUE: Network(BLUE, 1, 16, "physnet2"),
    GREEN: Network(GREEN, 1, segments=((17, "physnet2"), (18, "physnet1"))),
    "flat": Network("flat", 1, 0, "physnet2"),
    "tunnel": Network("tunnel", 1, None, None),
    "elsewhere": Network("elsewhere", 1, 15, "physnet1"),
    "twice": Network("twice", 1, segments=((15, "physnet2"), (16, "physnet2"))),
}


def carried(*sub_ports, native=NO_VLAN):
    numbered = [SubPort(f"port-{at}", *each) for at, each in enumerate(sub_ports)]
    return segments(native, "physnet2", numbered, NETWORKS)


def test_a_subport_is_the_tagged_vlan_of_its_network():
    assert carried((15, RED), (17, GREEN)) == (Segment(15, RED), Segment(17, GREEN))


def test_the_parents_own_network_is_untagged_where_it_has_a_vlan():
    assert carried((15, RED), native=Segment(16, BLUE)) == (
        Segment(16, BLUE, tagged=False),
        Segment(15, RED),
    )
    assert carried(native=Segment(16, BLUE)) == (Segment(16, BLUE, tagged=False),)
    assert carried() == ()


@pytest.mark.parametrize(
    ("vlan", "network", "names"),
    [
        (16, RED, ["segmentation_id 16", "red", "port-0", "VLAN 15", "equal"]),
        (18, GREEN, ["segmentation_id 18", "VLAN 17"]),
        (15, "flat", ["segmentation_id 15", "VLAN 0"]),
        (15, "tunnel", ["port-0", "tunnel has no VLAN on physnet2"]),
        (15, "elsewhere", ["elsewhere has no VLAN on physnet2"]),
        (15, "twice", ["twice has no VLAN on physnet2"]),
        (15, "", ["port-0", "not known"]),
        (15, "never heard of", ["port-0", "not known"]),
    ],
)
def test_a_subport_whose_vlan_is_not_its_networks_is_refused(vlan, network, names):
    with pytest.raises(InvalidField) as caught:
        carried((vlan, network), (15, RED))
    for name in names:
        assert name in str(caught.value)
