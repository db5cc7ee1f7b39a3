# SPDX-License-Identifier: Apache-2.0
import string
import uuid

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sriov_agent.core import fields
from sriov_agent.exceptions import InvalidField

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
CHECKS = {
    fields.port_id: "id",
    fields.mac: "mac_address",
    fields.vlan: "vlan",
    fields.pci_address: "pci_slot",
    fields.physical_network: "physical_network",
}


@given(st.sampled_from(list(CHECKS)), ANY_JSON)
def test_a_field_is_brought_to_a_form_that_stays_or_refused_by_its_name(check, value):
    try:
        canonical = check(value)
    except InvalidField as error:
        refused = error
    else:
        assert check(canonical) == canonical
        return
    assert refused.field == CHECKS[check]
    assert str(refused).startswith(CHECKS[check])
    assert str(refused).isprintable()


def test_the_name_by_which_the_sender_knows_the_field_is_in_the_error():
    with pytest.raises(InvalidField, match=r"^provider:segmentation_id 4095: out of range 0\.\."):
        fields.vlan(4095, "provider:segmentation_id")


@given(st.uuids())
def test_a_port_id_is_a_uuid_with_hyphens_in_lower_case(number):
    assert fields.port_id(str(number)) == str(number)
    assert fields.port_id(str(number).upper()) == str(number)
    for other in (number.hex, f"{{{number}}}", number.urn, f"{number}\n", f" {number}"):
        with pytest.raises(InvalidField):
            fields.port_id(other)


@given(st.text(st.sampled_from(string.hexdigits + "-{}:_ \n"), max_size=40))
def test_a_port_id_is_safe_as_a_file_name(text):
    try:
        canonical = fields.port_id(text)
    except InvalidField:
        return
    assert str(uuid.UUID(canonical)) == canonical


@given(st.binary(min_size=6, max_size=6), st.sampled_from(":-"))
def test_a_unicast_mac_is_written_with_colons_in_lower_case(octets, separator):
    assume(not octets[0] & 1)
    assume(any(octets))
    assert fields.mac(octets.hex(separator).upper()) == octets.hex(":")


@given(st.binary(min_size=6, max_size=6))
def test_a_multicast_mac_is_refused_as_such(octets):
    multicast = bytes([octets[0] | 1]) + octets[1:]
    with pytest.raises(InvalidField, match=r"^mac_address .*multicast"):
        fields.mac(multicast.hex(":"))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("00:00:00:00:00:00", "all-zero"),
        ("ff:ff:ff:ff:ff:ff", "multicast"),
        ("02:5a:00:00:00", "six"),
        ("02:5a:00:00:00:00:00", "six"),
        ("02:5a:00:00:00:0g", "six"),
        ("025a00000001", "six"),
        ("02:5a:00:00:00:01\x1b[2J", "six"),
        ("\uff10\uff12:5a:00:00:00:01", "six"),
        ("", "six"),
        (None, "a MAC address"),
        (0x025A00000001, "a MAC address"),
    ],
)
def test_what_is_no_usable_mac_is_refused_with_the_reason(value, why):
    with pytest.raises(InvalidField, match=why):
        fields.mac(value)


@given(st.integers())
def test_a_vlan_is_0_to_4094(number):
    if 0 <= number <= 4094:
        assert fields.vlan(number) == number
    else:
        with pytest.raises(InvalidField, match=r"out of range 0\.\.4094"):
            fields.vlan(number)


@pytest.mark.parametrize("value", [True, False, 15.0, "15", None, [15], {"vlan": 15}])
def test_only_a_whole_number_is_a_vlan(value):
    with pytest.raises(InvalidField, match="whole number"):
        fields.vlan(value)


@pytest.mark.parametrize("value", ["0000:3B:00.2", " 0000:3b:00.2\n", "0000:3b:00.2"])
def test_a_pci_address_is_written_as_sysfs_writes_it(value):
    assert fields.pci_address(value) == "0000:3b:00.2"


@pytest.mark.parametrize(
    "value", ["3b:00.2", "0000:3b:20.0", "0000:3b:00.8", "0000:3b:00", "0000:3b:00.2/..", None, 0]
)
def test_what_is_no_pci_address_is_refused(value):
    with pytest.raises(InvalidField, match="PCI address"):
        fields.pci_address(value)


@pytest.mark.parametrize("value", ["physnet2", "Rack-1.left:a_b", "x" * 64])
def test_a_physical_network_is_taken_as_it_is(value):
    assert fields.physical_network(value) == value


@pytest.mark.parametrize(
    "value", ["", "x" * 65, "-f", ".", "two words", "<b>", "a\n", "a\x1b[31m", "ph\u00fd", None, 2]
)
def test_what_is_no_physical_network_is_refused(value):
    with pytest.raises(InvalidField, match=r"^physical_network"):
        fields.physical_network(value)


@given(ANY_JSON)
def test_a_boolean_is_true_or_false_and_nothing_else(value):
    if value is True or value is False:
        assert fields.boolean(value, "trust") is value
    else:
        with pytest.raises(InvalidField, match=r"^trust .*expected true or false$"):
            fields.boolean(value, "trust")


def test_text_is_kept_as_it_came_but_not_without_end():
    hostile = "\x1b[31m<b>\x00\ud800" + "x" * 200
    assert fields.text(hostile, "name") == hostile
    for value in ("x" * 256, None, 7, ["x"]):
        with pytest.raises(InvalidField, match=r"^name .*at most 255"):
            fields.text(value, "name")
