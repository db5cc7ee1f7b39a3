# SPDX-License-Identifier: Apache-2.0
"""The agent's state as Neutron is told, beside what neutron-sriov-nic-agent 29.0.0 told."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from sriov_agent.core.model import Cabling, LldpId, SwitchPort
from sriov_agent.exceptions import ConfigError
from sriov_agent.sources import agent_state as states
from tests.topology import CABLING, PF_A, PF_B, pf, vf, vf_address

SAMPLES = Path(__file__).parents[1] / "samples" / "neutron"
CONFIGURED = {
    "mappings": [("physnet1", "ens1f0"), ("physnet1", "ens1f1")],
    "extensions": ("qos",),
    "bandwidths": {
        "ens1f0": {"egress": 10000000, "ingress": 10000000},
        "ens1f1": {"egress": 5000000, "ingress": None},
    },
    "inventory_defaults": {"allocation_ratio": 1.0, "min_unit": 1, "step_size": 1, "reserved": 0},
    "hypervisors": {"ens1f0": "vm", "ens1f1": "vm"},
}


def heard(name):
    """The arguments that the agent of Neutron itself called report_state with."""
    message = json.loads((SAMPLES / f"report_state_legacy_agent_{name}.json").read_text())
    return message["oslo.message"]["args"]


def reported(state, at):
    return json.loads(json.dumps(states.report_arguments(state, at)))


def test_the_first_report_is_that_of_the_agent_whose_place_is_taken():
    expected = heard("first")
    # What is not listened for has no version.
    versions = expected["agent_state"]["agent_state"]["resource_versions"]
    pinned = dict.fromkeys(versions.keys() & {"Port", "QosPolicy", "Trunk", "SubPort"})
    pinned = {name: versions[name] for name in pinned}
    expected["agent_state"]["agent_state"]["resource_versions"] = pinned

    state = states.agent_state(
        "compute9",
        states.configurations(**CONFIGURED),
        "2e4ba959-11d6-408d-a641-f4a49b7a8ffc",
        binary="neutron-sriov-nic-agent",
    ) | states.first_only(states.resource_versions(pinned))
    at = datetime(2026, 11, 20, 22, 9, 48, 141661, tzinfo=UTC)
    assert reported(state, at) == expected


def test_the_next_report_is_that_of_the_agent_whose_place_is_taken():
    state = states.agent_state(
        "compute9",
        states.configurations(**CONFIGURED, devices=0),
        "0f190b83-aad4-4f94-992e-83e2aefc98e3",
        binary="neutron-sriov-nic-agent",
    )
    here = timezone(timedelta(hours=2))
    at = datetime(2026, 11, 21, 0, 10, 18, 152001, tzinfo=here)
    assert reported(state, at) == heard("next")


def test_every_physical_network_has_its_devices_in_their_order():
    mappings = [("physnet2", "ens1"), ("physnet3", "0000:86:00.0"), ("physnet2", "ens2")]
    found = states.configurations(**CONFIGURED | {"mappings": mappings})
    assert found["device_mappings"] == {"physnet2": ["ens1", "ens2"], "physnet3": ["0000:86:00.0"]}


def test_facts_tell_free_vfs_and_the_switch_port():
    seen = [pf(PF_A, vf(PF_A, 2, held_by="netdev ens1v2 is up")), pf(PF_B)]
    found = states.facts(seen, {PF_A: CABLING[PF_A]}, {vf_address(PF_A, 0), vf_address(PF_B, 3)})
    assert found == {
        "ens1": {"address": PF_A, "vfs": 4, "free_vfs": 2, "switch": "leaf1", "port": "swp1"},
        "ens2": {"address": PF_B, "vfs": 4, "free_vfs": 3},
    }
    assert states.configurations(**CONFIGURED, facts=found)["sriov_agent"] == found


def test_a_pf_without_a_known_switch_port_tells_none():
    found = states.facts([pf(PF_A)], {PF_A: Cabling(reason="no LLDP neighbor")}, ())
    assert found["ens1"].keys() == {"address", "vfs", "free_vfs"}


def shouting(address):
    """A switch port whose names are as long and as hostile as LLDP allows."""
    name = "\x1b[2J\u202e<b>&" + "\U0001f600" * 240
    return Cabling(
        switch_port=SwitchPort(
            pf=address,
            chassis_id=LldpId("local", name),
            port_id=LldpId("local", name),
            system_name=name,
        )
    )


def test_names_from_the_wire_are_escaped_and_short():
    found = states.facts([pf(PF_A)], {PF_A: shouting(PF_A)}, ())["ens1"]
    for told in (found["switch"], found["port"]):
        assert told.startswith(r"\x1b[2J\u202e<b>&")
        assert told.isprintable()
        assert len(told) <= 64


def test_facts_that_neutron_could_not_keep_are_left_out():
    many = {f"ens{n}": {"switch": "x" * 64} for n in range(60)}
    assert states.configurations(**CONFIGURED, facts=many) == states.configurations(**CONFIGURED)
    few = {f"ens{n}": {"switch": "x" * 64} for n in range(20)}
    found = states.configurations(**CONFIGURED, facts=few)
    assert found["sriov_agent"] == few
    assert len(json.dumps(found)) <= states.CONFIGURATIONS_LIMIT


def test_the_pins_are_what_every_server_since_yoga_knows():
    assert states.resource_versions() == {"Port": "1.7", "QosPolicy": "1.10"}


@pytest.mark.parametrize("version", ["1.7", "1.8", "1.9", "1.10", "1.11"])
def test_a_port_version_that_a_release_has_is_accepted(version):
    assert states.resource_versions({"Port": version}) == {"Port": version}


@pytest.mark.parametrize(
    ("pins", "why"),
    [
        ({"Port": "1.6"}, "Port '1.6': expected one of 1.7, 1.8, 1.9, 1.10, 1.11"),
        ({"Port": "1.99"}, "1.10 2024.2, 1.11 2026.2"),
        ({"Port": "latest\n"}, r"'latest\n'"),
        ({"Port": "1.7", "QosPolicy": "1.11"}, "QosPolicy '1.11': expected one of 1.10. "),
        ({"Trunk": "1.0"}, "stops the pushes of Trunk for the whole cloud"),
        ({"Network": "1.3"}, "it is not listened for"),
    ],
)
def test_a_version_that_no_server_has_is_refused(pins, why):
    with pytest.raises(ConfigError) as caught:
        states.resource_versions(pins, "[ml2_agent] port_version")
    assert str(caught.value).startswith("[ml2_agent] port_version: ")
    assert why in str(caught.value)
    assert "for the whole cloud" in str(caught.value)
