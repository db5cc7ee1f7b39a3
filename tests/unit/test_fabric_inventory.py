# SPDX-License-Identifier: Apache-2.0
"""Which switch port a link is, and which it never is."""

import pytest

from sriov_agent.core.model import LldpId
from sriov_agent.exceptions import ConfigError, Refused
from sriov_agent.fabric.inventory import Place, Rules, parse, place
from sriov_agent.fabric.model import Link, Want

PF = "0000:3b:00.0"
LEAF1 = LldpId("mac", "52:54:00:BB:00:01")
SWITCHES = {
    "leaf1": Rules(
        name="leaf1",
        names=frozenset({"leaf1.example"}),
        ports=("Ethernet*", "Port-Channel*"),
        uplinks=("Ethernet49", "Port-Channel99"),
        port_map={"17": "Ethernet17"},
    ),
    "leaf2": Rules(name="leaf2", chassis_ids=frozenset({"52:54:00:bb:00:02"})),
}
INVENTORY = """
# host    PF            switch  port        aggregate
compute1  0000:3b:00.0  leaf1   Ethernet1   # the first rack
compute1  0000:3B:00.1  leaf1   Ethernet2   Port-Channel2
compute2  *             leaf1   Ethernet3
compute2  *             leaf1   Ethernet4   Port-Channel99
"""


def want(port="Ethernet1", host="compute1", pf=PF, name="leaf1.example", chassis=LEAF1, **more):
    port_id = port if isinstance(port, LldpId) else LldpId("ifname", port)
    return Want(
        link=Link(host, pf, chassis, port_id),
        vlans=frozenset({100}),
        epoch=1,
        sequence=1,
        system_name=name,
        **more,
    )


def placed(*given, inventory=None, **named):
    return place(want(*given, **named), SWITCHES, inventory)


@pytest.fixture(scope="module")
def inventory():
    return parse(INVENTORY, SWITCHES)


def test_without_an_inventory_lldp_decides():
    assert placed() == Place("leaf1", "Ethernet1")
    assert placed(name="LEAF1.example") == Place("leaf1", "Ethernet1")


def test_a_chassis_id_counts_more_than_a_name():
    by_id = LldpId("mac", "52:54:00:BB:00:02")
    assert placed("swp1", name="anything", chassis=by_id) == Place("leaf2", "swp1")
    with pytest.raises(Refused, match="no switch is configured"):
        placed("swp1", name="leaf2")


def test_a_port_that_lldp_gives_another_name_is_found():
    assert placed(LldpId("local", "17")) == Place("leaf1", "Ethernet17")
    by_description = placed(LldpId("local", "18"), port_description="Ethernet18")
    assert by_description == Place("leaf1", "Ethernet18")


@pytest.mark.parametrize(
    ("port", "why"),
    [
        ("Ethernet49", "is an uplink: it is never touched"),
        ("Management1", "not among its ports for hosts"),
        ("Ethernet1; touch owned", "no name that a switch has"),
        ("$(touch owned)", "no name that a switch has"),
        ("Ethernet1</name><name>Ethernet2", "no name that a switch has"),
        ("Ethernet1\nno vlan", "no name that a switch has"),
        ("", "no name that a switch has"),
        ("E" * 65, "no name that a switch has"),
    ],
)
def test_a_port_that_is_no_hosts_is_refused(port, why):
    with pytest.raises(Refused, match=why):
        placed(port)


def test_two_switches_of_one_name_are_ambiguous():
    both = {name: Rules(name=name, names=frozenset({"leaf"})) for name in ("a", "b")}
    with pytest.raises(Refused, match="may be a, b: give them chassis_ids"):
        place(want(name="leaf"), both, None)


def test_lldp_must_agree_with_the_inventory(inventory):
    assert placed(inventory=inventory) == Place("leaf1", "Ethernet1")
    with pytest.raises(Refused, match=r"conflict: LLDP sees PF 0000:3b:00\.0 .* Ethernet2"):
        placed("Ethernet2", inventory=inventory)
    with pytest.raises(Refused, match="the inventory has it on nowhere"):
        placed(host="compute9", inventory=inventory)


def test_the_aggregate_of_the_inventory_is_what_is_configured(inventory):
    other = placed("Ethernet2", pf="0000:3b:00.1", inventory=inventory)
    assert other == Place("leaf1", "Port-Channel2")


def test_any_pf_of_a_host_may_be_on_its_ports_and_never_on_an_uplink(inventory):
    any_pf = placed("Ethernet3", host="compute2", pf="0000:af:00.1", inventory=inventory)
    assert any_pf == Place("leaf1", "Ethernet3")
    with pytest.raises(Refused, match="Port-Channel99 of switch leaf1 is an uplink"):
        placed("Ethernet4", host="compute2", inventory=inventory)


def test_every_line_that_is_wrong_is_told_at_once():
    text = "compute1 0000:3b:00.0 leaf1\ncompute1 * leaf9 Ethernet1\ncompute1 * leaf1 Eth;1\n"
    with pytest.raises(ConfigError) as error:
        parse(text, SWITCHES, "inventory_file hosts")
    said = str(error.value)
    assert said.startswith("inventory_file hosts: line 1: expected HOST PF SWITCH PORT [LAG]")
    assert "line 2: switch 'leaf9' is not configured" in said
    assert "line 3: port 'Eth;1'" in said
