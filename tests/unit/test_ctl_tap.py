# SPDX-License-Identifier: Apache-2.0
"""``sriovctl tap`` and ``sriovctl mirror``, with no agent running."""

import json

import pytest

from sriov_agent.core.tap_plan import Status
from sriov_agent.sources.taps import TapRegistry
from tests.unit.test_sriovctl import ID, Host, one_sentence


@pytest.fixture
def host(tmp_path):
    made = Host(tmp_path)
    with made.config.open("a") as file:
        file.write("[local]\nbridge = br0\n")
    return made


def rows(host, *command):
    return json.loads(host.do(*command, "-f", "json"))


def refused(host, *command):
    status, out, err = host(*command)
    assert (status, out) == (1, "")
    return one_sentence(err)


def wanted(host):
    return TapRegistry(host.ports).taps()


def test_taps_from_first_to_last(host):
    made = rows(host, "tap", "create", "DMZ", "--ip", "10.0.0.1/24", "--ip", "2001:DB8::1/64")
    assert made == {
        "name": "tap101",
        "bridge": "br0",
        "vlan": 101,
        "alias": "DMZ",
        "ip": "10.0.0.1/24, 2001:db8::1/64",
        "state": "new",
        "unmet": "",
    }
    assert rows(host, "tap", "create", "DMZ")["name"] == "tap101-2"
    other = rows(host, "tap", "create", "1000", "--bridge", "br-ex", "--name", "probe")
    assert (other["bridge"], other["vlan"], other["alias"]) == ("br-ex", 1000, "")
    assert rows(host, "vlan", "list") == [{"alias": "DMZ", "vlan": 101, "ports": 0, "taps": 2}]
    assert rows(host, "vlan", "show", "DMZ")["taps"] == "tap101, tap101-2"
    assert rows(host, "vlan", "blacklist") == [{"first": 1000, "last": 1000}]
    assert rows(host, "tap", "show", "tap101") == made
    assert [row["name"] for row in rows(host, "tap", "list")] == ["probe", "tap101", "tap101-2"]
    host.do("tap", "delete", "tap101", "tap101-2", "probe")
    assert rows(host, "tap", "list") == []
    host.do("vlan", "delete", "DMZ")


def test_mirrors_from_first_to_last(host):
    for vlan in ("101", "102"):
        rows(host, "tap", "create", vlan)
    made = rows(host, "mirror", "create", "watch", "--source", "vnet3", "--tap", "tap101")
    assert made == {
        "name": "watch",
        "source": "vnet3",
        "tap": "tap101",
        "state": "new",
        "unmet": "",
    }
    rows(host, "mirror", "create", "both", "--source", "tap102", "--tap", "tap101")
    assert rows(host, "mirror", "show", "watch") == made
    assert [row["name"] for row in rows(host, "mirror", "list")] == ["both", "watch"]
    assert "in use by mirrors: both, watch" in refused(host, "tap", "delete", "tap101")
    host.do("mirror", "delete", "watch", "both")
    assert rows(host, "mirror", "list") == []
    host.do("tap", "delete", "tap101", "tap102")


def test_what_the_agent_saw_is_shown_and_waited_for(host):
    rows(host, "tap", "create", "DMZ")
    (tap,) = wanted(host).taps.values()
    why = "bridge br0 does not tell VLANs apart"
    status = Status(key=tap.tap_id, noun="tap", name=tap.name, state="unmet", unmet=(why,))
    host.store.save_taps([status])
    shown = rows(host, "tap", "show", tap.name)
    assert (shown["state"], shown["unmet"]) == ("unmet", why)
    host.do("tap", "delete", tap.name)
    assert rows(host, "tap", "list")[0]["state"] == "releasing"
    assert "tap101" in refused(host, "vlan", "delete", "DMZ")
    assert "deleted taps are still in their VLANs: tap101" in refused(host, "vlan", "delete", "DMZ")
    host.store.save_taps([])
    host.do("vlan", "delete", "DMZ")


def test_waiting_ends_with_why(host):
    said = refused(host, "tap", "create", "DMZ", "--wait", "0.1")
    assert "tap tap101 is not met after 0.1 s: the agent has not looked at it" in said
    (tap,) = wanted(host).taps.values()
    host.store.save_taps([Status(key=tap.tap_id, noun="tap", name=tap.name, unmet=("so it is",))])
    assert "not gone after 0.1 s: so it is" in refused(
        host, "tap", "delete", "--wait", "0.1", "tap101"
    )


def test_a_port_of_a_vf_is_no_source(host):
    rows(host, "tap", "create", "101")
    host.create("--id", ID, "--vlan", "101", "web1")
    for source in ("web1", ID):
        said = refused(host, "mirror", "create", "watch", "--source", source, "--tap", "tap101")
        assert "a port has a VF, whose frames pass the NIC and no bridge" in said


def test_a_tap_needs_a_bridge(tmp_path):
    bare = Host(tmp_path)
    assert "[local] bridge is empty: set it, or give --bridge" in refused(
        bare, "tap", "create", "DMZ"
    )
    assert rows(bare, "vlan", "list") == []


def test_taps_are_for_hosts_without_openstack(tmp_path):
    neutrons = Host(tmp_path, source="ml2")
    for command in (["tap", "create", "DMZ"], ["tap", "delete", "x"], ["mirror", "delete", "x"]):
        assert "[agent] source is ml2" in refused(neutrons, *command)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["tap", "create", "hostdev"], "vlan"),
        (["tap", "create", "0"], "vlan"),
        (["tap", "create", "4095"], "vlan"),
        (["tap", "create", "D\x1b[2J"], "vlan"),
        (["tap", "create", "DMZ", "--name", "x" * 16], "name"),
        (["tap", "create", "DMZ", "--name", "a\x1b"], "name"),
        (["tap", "create", "DMZ", "--ip", "10.0.0.1"], "ADDRESS/PREFIX"),
        (["tap", "create", "DMZ", "--bridge", "a/b"], "bridge"),
        (["tap", "show", "nosuch"], "no such tap"),
        (["tap", "delete", "nosuch"], "no such tap"),
        (["mirror", "show", "nosuch"], "no such mirror"),
        (["mirror", "delete", "nosuch"], "no such mirror"),
        (["mirror", "create", "m", "--source", "eth0", "--tap", "nosuch"], "no such tap"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence_and_changes_nothing(host, command, named):
    assert named in refused(host, *command)
    assert not wanted(host).taps
    assert rows(host, "vlan", "list") == []


def test_all_are_deleted_or_none(host):
    rows(host, "tap", "create", "DMZ")
    refused(host, "tap", "delete", "tap101", "nosuch")
    assert wanted(host).taps.keys() == {"tap101"}


def test_a_name_that_an_interface_has_is_not_taken(host):
    assert TapRegistry(host.ports).create(ID, "br0", 101, taken=["lo", "tap101"]).name == "tap101-2"
