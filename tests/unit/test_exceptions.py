# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent import exceptions
from sriov_agent.exceptions import InvalidField, printable


@given(st.text() | st.dictionaries(st.text(), st.text()) | st.lists(st.text()) | st.floats())
def test_whatever_came_is_shown_on_one_short_line_without_control_characters(value):
    shown = printable(value)
    assert shown.isprintable()
    assert len(shown) <= 82


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("leaf1", "'leaf1'"),
        ("\x1b[2Jleaf1\n", r"'\x1b[2Jleaf1\n'"),
        ("it's", "'it's'"),
        (4095, "4095"),
        (None, "None"),
        ("x" * 100, "'" + "x" * 77 + "...'"),
    ],
)
def test_a_value_is_shown_quoted_if_it_is_text(value, shown):
    assert printable(value) == shown


def test_an_invalid_field_says_field_value_and_reason():
    error = InvalidField("vlan", 4095, "out of range 0..4094")
    assert (error.field, error.value, error.reason) == ("vlan", 4095, "out of range 0..4094")
    assert str(error) == "vlan 4095: out of range 0..4094"


def test_every_error_is_in_one_tree_which_is_drawn_as_it_is():
    errors = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]
    assert all(issubclass(kind, exceptions.SriovAgentError) for kind in errors)
    assert issubclass(exceptions.Unsupported, exceptions.Refused)
    for kind in errors:
        assert kind.__name__ in exceptions.__doc__
