# SPDX-License-Identifier: Apache-2.0
"""What is told to Neutron of ports, and what is not."""

import pytest

from sriov_agent.core.report import PortReport, PortState, Report
from sriov_agent.sources.ml2.status import Said, news
from tests.topology import binding, port_id

ID = port_id(1)


def bound(status, revision=3, **given):
    return {ID: binding(1, status=status, revision_number=revision, **given)}


def seen(connected):
    return Report(ports={ID: PortReport(port_id=ID, state=PortState.MET, connected=connected)})


@pytest.mark.parametrize(
    ("status", "connected", "told"),
    [
        ("DOWN", True, True),
        ("BUILD", True, True),
        ("", True, True),
        ("ACTIVE", True, None),
        ("ACTIVE", False, False),
        ("DOWN", None, None),
        ("ACTIVE", None, None),
        ("BUILD", None, None),
        # Neutron holds a port that was never up to be down.
        ("DOWN", False, None),
        ("BUILD", False, None),
    ],
)
def test_what_neutron_does_not_know_is_told(status, connected, told):
    found = news(bound(status), seen(connected), {})
    assert found == ({} if told is None else {ID: Said(told, 3, status)})


@pytest.mark.parametrize("connected", [True, False, None])
def test_a_port_that_is_put_down_is_not_active_whatever_its_vf_does(connected):
    down = {"link_state": "disable"}
    told = {ID: Said(False, 3, "ACTIVE")}
    assert news(bound("ACTIVE", **down), seen(connected), {}) == told
    assert news(bound("DOWN", **down), seen(connected), {}) == {}


def test_nothing_is_told_of_a_port_that_no_pass_has_seen():
    assert news(bound("DOWN"), Report(), {}) == {}
    assert news({}, seen(True), {}) == {}


def test_what_was_said_is_not_said_again_until_neutron_says_something_new():
    said = news(bound("DOWN"), seen(True), {})
    assert news(bound("DOWN"), seen(True), said) == {}
    assert news(bound("DOWN", revision=4), seen(True), said) == {ID: Said(True, 4, "DOWN")}
    assert news(bound("BUILD"), seen(True), said) == {ID: Said(True, 3, "BUILD")}
    assert news(bound("ACTIVE", revision=4), seen(True), said) == {}


def test_a_port_that_goes_up_and_down_is_followed():
    said = news(bound("DOWN"), seen(True), {})
    said |= news(bound("ACTIVE", 4), seen(False), said)
    assert said == {ID: Said(False, 4, "ACTIVE")}
    said |= news(bound("DOWN", 5), seen(True), said)
    assert said == {ID: Said(True, 5, "DOWN")}
