# SPDX-License-Identifier: Apache-2.0
"""Which VLAN an alias has: laws over whatever an operator does, and what is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.core.vlans import DEFAULT_RANGES, Vlans, free_mac
from sriov_agent.exceptions import InvalidField

ALIASES = st.sampled_from(["A", "B", "C", "D"])
NUMBERS = st.integers(2, 9)
RANGES = st.lists(
    st.tuples(NUMBERS, NUMBERS).map(lambda ends: (min(ends), max(ends))), min_size=1, max_size=3
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("with_alias"), ALIASES),
        st.tuples(st.just("with_alias_of"), ALIASES, NUMBERS),
        st.tuples(st.just("without_alias"), ALIASES),
        st.tuples(st.just("with_ranges"), RANGES),
        st.tuples(st.just("blacklisting"), st.sets(NUMBERS)),
        st.tuples(st.just("allowing"), st.sets(NUMBERS)),
        st.tuples(st.just("naming"), st.sets(NUMBERS)),
    ),
    max_size=30,
)
USED = st.dictionaries(NUMBERS, st.just(("port",)), max_size=3)


@given(USED, STEPS)
def test_no_vlan_is_given_twice_nor_one_of_the_blacklist_and_an_alias_keeps_its_own(used, steps):
    vlans = Vlans(ranges=((2, 5),), used=used)
    for step, *arguments in steps:
        before = vlans
        with contextlib.suppress(InvalidField):
            vlans = getattr(before, step)(*arguments)
        had = before.aliases
        assert len(set(vlans.aliases.values())) == len(vlans.aliases)
        assert not vlans.blacklist & set(vlans.aliases.values())
        for alias, vlan in had.items():
            deleted = step == "without_alias" and arguments == [alias]
            assert vlans.aliases.get(alias) == vlan or (deleted and vlan not in used)
        for alias in vlans.aliases.keys() - had.keys():
            if step == "with_alias":
                vlan = vlans.aliases[alias]
                assert vlan not in used
                assert any(low <= vlan <= high for low, high in before.ranges)


@given(USED, RANGES, st.sets(NUMBERS))
def test_a_range_is_exhausted_when_each_of_its_vlans_is_taken(used, ranges, blacklist):
    vlans = Vlans(ranges=tuple(ranges), used=used, blacklist=frozenset(blacklist))
    within = {vlan for low, high in ranges for vlan in range(low, high + 1)}
    for number in range(len(within - used.keys() - blacklist)):
        vlans = vlans.with_alias(f"alias{number}")
    with pytest.raises(InvalidField, match=r"no VLAN is free in .*: see sriovctl vlan range"):
        vlans.with_alias("last")


def test_aliases_take_their_vlans_in_order_as_they_are_first_used():
    vlans = Vlans().with_alias("DMZ").with_alias("CORE")
    assert vlans.aliases == {"DMZ": 101, "CORE": 102}
    assert vlans.alias_of(102) == "CORE"
    assert vlans.alias_of(103) == vlans.alias_of(None) == ""
    assert Vlans().ranges == DEFAULT_RANGES
    assert vlans.with_alias("FAR", [(300, 399)]).aliases["FAR"] == 300


KNOWN = Vlans(
    aliases={"DMZ": 101, "CORE": 102},
    ranges=((101, 103), (300, 300)),
    blacklist=frozenset({103, 300}),
    used={101: ("port1", "port2")},
)


@pytest.mark.parametrize(
    ("step", "arguments", "sentence"),
    [
        ("with_alias", ["DMZ"], "alias 'DMZ': there already, for VLAN 101"),
        ("with_alias", ["NEW"], "no VLAN is free in 101-103,300: see sriovctl vlan range"),
        ("with_alias_of", ["CORE", 7], "alias 'CORE': there already, for VLAN 102"),
        ("with_alias_of", ["NEW", 102], "vlan 102: the VLAN of alias CORE"),
        ("with_alias_of", ["NEW", 103], "vlan 103: blacklisted; to use it: sriovctl vlan"),
        ("with_alias_of", ["NEW", 4095], "vlan 4095: out of range"),
        ("with_alias_of", ["NEW", 0], "vlan 0: out of range"),
        ("without_alias", ["DMZ"], "alias 'DMZ': in use by ports: port1, port2"),
        ("without_alias", ["NEW"], "alias 'NEW': no such alias; see sriovctl vlan list"),
        ("with_ranges", [[]], "range '': expected VLANs"),
        ("with_ranges", [[(1, 5)]], "range '1-5': expected 2..4094"),
        ("with_ranges", [[(5, 4095)]], "range '5-4095': expected"),
        ("with_ranges", [[(6, 5)]], "range '6-5': expected"),
        ("blacklisting", [[200, 102]], "vlan 102: the VLAN of alias CORE"),
        ("allowing", [[103, 200]], "vlan 200: not blacklisted"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(step, arguments, sentence):
    with pytest.raises(InvalidField) as caught:
        getattr(KNOWN, step)(*arguments)
    assert sentence in str(caught.value)


def test_a_number_that_is_named_leaves_the_ranges_unless_an_alias_has_it():
    vlans = Vlans(aliases={"DMZ": 101}, ranges=((101, 104),)).naming([0, 101, 102])
    assert vlans.blacklist == {102}
    assert vlans.free(vlans.ranges) == [103, 104]
    assert vlans.allowing({102}).with_alias("NEW").aliases["NEW"] == 102


@given(st.sets(st.integers(0, 20)), st.integers(0, 20))
def test_a_mac_that_is_made_is_one_that_nobody_has(taken, first):
    numbers = iter(range(first, 100))
    macs = {f"02:00:00:00:00:{number:02x}" for number in taken}
    made = free_mac(macs, lambda octets: next(numbers).to_bytes(octets))
    assert made not in macs
    assert made.startswith("02:")
    assert int(made[-2:], 16) == min(set(range(first, 100)) - taken)
