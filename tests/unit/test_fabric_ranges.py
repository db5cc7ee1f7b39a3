# SPDX-License-Identifier: Apache-2.0
"""Lists of VLANs as switches and operators write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.exceptions import InvalidField
from sriov_agent.fabric.ranges import edit, ranges, text, vlans

VLANS = st.frozensets(st.integers(1, 40))
ENTRIES = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 10)).map(lambda e: (e[0], sum(e))))


def covered(entries):
    return {vlan for low, high in entries for vlan in range(low, high + 1)}


@given(VLANS)
def test_what_is_written_is_read(some):
    assert vlans(text(some)) == some
    assert covered(ranges(some)) == some


@pytest.mark.parametrize("wrong", ["x", "1-", "-3", "0", "4095", "9-2", "1;2", "1-2-3", "\u0661"])
def test_anything_else_is_refused_with_the_field(wrong):
    with pytest.raises(InvalidField, match="allowed_vlans"):
        vlans(f"100,{wrong}", "allowed_vlans")


@given(ENTRIES, VLANS, VLANS)
def test_an_edit_opens_and_closes_exactly_what_it_is_asked(entries, add, remove):
    remove -= add
    out, put = edit(entries, add, remove)
    left = [entry for entry in dict.fromkeys(entries) if entry not in out]
    assert set(out) <= set(entries)
    assert covered(left + put) == (covered(entries) | add) - remove


@given(ENTRIES, VLANS)
def test_an_entry_without_a_vlan_that_goes_stays_as_it_is(entries, remove):
    out, _ = edit(entries, frozenset(), remove)
    assert all(remove & covered([entry]) for entry in out)


def test_the_foreign_part_of_a_range_stays_a_range():
    assert edit([(90, 110)], frozenset(), frozenset({100})) == ([(90, 110)], [(90, 99), (101, 110)])
