# SPDX-License-Identifier: Apache-2.0
"""The short form of a port's network: every one is read as it was meant, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.core.netspec import DRIVERS, NetSpec, alias, netspecs, together
from sriov_agent.exceptions import InvalidField

MAC = "02:00:00:00:00:01"


def read(text, *physical_networks):
    specs, problems = netspecs([text], physical_networks or ("physnet2",), "direct")
    if problems:
        raise together(problems)
    return specs[0]


@given(
    st.sampled_from([None, "physnet2", "100", "phys:net"]),
    st.sampled_from([1, 100, 4094, "DMZ", "a", "aa-bb-cc-dd-ee-ff", "f" * 32]),
    st.sampled_from([None, MAC]),
    st.sampled_from([None, *DRIVERS]),
)
def test_only_the_vlan_is_mandatory_and_the_order_is_kept(name, vlan, mac, driver):
    known = (name or "only",)
    text = ",".join(str(word) for word in (name, vlan, mac, driver) if word is not None)
    assert read(text, *known) == NetSpec(
        vlan=vlan,
        physical_network=known[0],
        mac=mac,
        vnic_type=DRIVERS[driver] if driver else "direct",
        text=text,
    )


@given(st.text(st.sampled_from("a1:,0f-"), max_size=20))
def test_whatever_is_said_is_read_or_refused(text):
    specs, problems = netspecs([text], {"physnet2"}, "direct")
    assert len(specs) + len(problems) == 1


def test_a_network_without_a_driver_has_the_vnic_type_that_was_asked_for():
    specs, _ = netspecs(["100", "101,hostdev"], {"physnet2"}, "macvtap")
    assert [spec.vnic_type for spec in specs] == ["macvtap", "direct"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ["expected [PHYSICAL_NETWORK,]VLAN[,MAC][,DRIVER]"]),
        (",100", ["expected ["]),
        ("100,", ["expected ["]),
        ("physnet2,100,,macvtap", ["expected ["]),
        (f"physnet2,100,{MAC},macvtap,more", ["expected ["]),
        ("0", ["vlan 0", "1..4094"]),
        ("4095", ["vlan 4095"]),
        ("9" * 30, ["vlan '99", "an alias is"]),
        ("-1", ["vlan '-1'", "an alias is"]),
        ("d" * 33, ["at most 32"]),
        ("D\x1b[2JZ", [r"vlan 'D\x1b[2JZ'"]),
        ("macvtap", ["vlan 'macvtap'", "name of a driver"]),
        ("physnet2", ["vlan 'physnet2'", "a physical network"]),
        ("100,i82559c", ["driver 'i82559c'", "hostdev", "macvtap"]),
        (f"100,{MAC},i82559c", ["driver 'i82559c'"]),
        ("physnet2,100,i82559c", ["driver 'i82559c'"]),
        ("bridge0,100", ["physical_network 'bridge0'", "physical_device_mappings has physnet2"]),
        ("100,02:00:00:00:00", ["mac_address '02:00:00:00:00'"]),
        ("100,01:00:5e:00:00:01", ["mac_address", "multicast"]),
        ("bridge0,5000,00:00:00:00:00:00,e1000", ["bridge0", "vlan 5000", "all-zero", "'e1000'"]),
    ],
)
def test_what_is_wrong_with_it_is_told_and_all_of_it(text, named):
    with pytest.raises(InvalidField) as caught:
        read(text)
    assert caught.value.field == "net"
    assert str(caught.value).isprintable()
    for each in named:
        assert each in str(caught.value)


@pytest.mark.parametrize("known", [(), ("physnet1", "physnet2")])
def test_where_there_is_not_one_physical_network_it_is_to_be_named(known):
    _, (problem,) = netspecs(["100"], known, "direct")
    assert "to be named" in str(problem)
    assert (", ".join(known) or "no physical network") in str(problem)


def test_several_are_read_together_and_told_together():
    specs, problems = netspecs(["100", "0", "DMZ", "x y"], {"physnet2"}, "direct")
    assert [spec.vlan for spec in specs] == [100, "DMZ"]
    sentence = str(together(problems))
    assert sentence.startswith("net '0': vlan 0: ")
    assert "; net 'x y': vlan 'x y': " in sentence


def test_an_alias_is_never_taken_for_anything_else():
    assert alias("DMZ") == "DMZ"
    for text in (*DRIVERS, "100", "1a", "a,b", "a:b", "a b", "", "ä", "a\n", None):
        with pytest.raises(InvalidField):
            alias(text)
