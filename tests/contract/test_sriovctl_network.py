# SPDX-License-Identifier: Apache-2.0
"""``sriovctl network`` against a fake Neutron and a fake Contrail, over HTTP."""

import json

import pytest

from tests.ctl import run
from tests.fakes import contrail
from tests.fakes.neutron import Neutron
from tests.unit.test_sriovctl import one_sentence


@pytest.fixture(params=[False, True], ids=["ml2", "contrail"])
def neutron(request):
    with Neutron(contrail=request.param) as fake:
        yield fake


@pytest.fixture
def sriovctl(tmp_path, neutron):
    config = tmp_path / "sriov-agent.conf"
    config.write_text(
        f"[DEFAULT]\nstate_path = {tmp_path}\n"
        f"[neutron]\nauth_type = none\nendpoint_override = {neutron.url}\n"
    )

    def command(*arguments, more=""):
        with config.open("a") as appended:
            appended.write(more)
        return run("--config-file", str(config), *arguments)

    return command


def shown(outcome):
    status, out, err = outcome
    assert (status, err) == (0, "")
    return json.loads(out)


def test_a_network_is_set_and_shown_by_name_or_id(sriovctl, neutron):
    network = neutron.add_network(15, name="red")
    made = shown(
        sriovctl(
            *("network", "set", "--vlan", "16", "--physical-network", "physnet2"),
            *("-f", "json", "red"),
        )
    )
    assert (made["id"], made["vlan"], made["physical_network"]) == (network["id"], 16, "physnet2")
    assert neutron.networks[network["id"]]["provider:segmentation_id"] == 16
    for name in ("red", network["id"]):
        assert shown(sriovctl("network", "show", "-f", "json", name)) == made


def test_a_name_of_several_networks_is_an_error_with_their_ids(sriovctl, neutron):
    ids = [neutron.add_network(vlan, name="red")["id"] for vlan in (15, 16)]
    status, _, err = sriovctl("network", "show", "red")
    assert status == 1
    one_sentence(err, *ids)
    status, _, err = sriovctl("network", "show", "blue\x1b[2J")
    assert status == 1
    one_sentence(err, "no such network")


def test_what_neutron_refuses_is_said_in_its_words(sriovctl, neutron):
    network = neutron.add_network(15, name="red")
    neutron.add_port(network)
    command = ("network", "set", "--vlan", "16", "--physical-network", "physnet2", "red")
    status, _, err = sriovctl(*command)
    if neutron.contrail:
        assert status == 0
    else:
        assert status == 1
        one_sentence(err, "cannot be updated if any port in the network")


@pytest.mark.parametrize("vlan", ["0", "4095", "-1"])
def test_what_is_no_vlan_is_refused_before_anything_is_asked(sriovctl, neutron, vlan):
    command = ("network", "set", f"--vlan={vlan}", "--physical-network", "physnet2", "red")
    status, _, err = sriovctl(*command)
    assert status == 1
    one_sentence(err, "vlan", vlan)
    assert neutron.calls() == []


def test_without_a_neutron_the_option_is_named():
    status, _, err = run("network", "show", "red")
    assert status == 1
    one_sentence(err, "[neutron] auth_url")


WITHOUT_VLAN = ("network", "set", "--physical-network", "physnet2", "-f", "json", "red")


@pytest.fixture
def numbered(neutron):
    """Contrail with the network red, and what ``sriovctl`` needs to find it."""
    network = neutron.add_network(15, name="red")
    with contrail.ConfigApi() as api:
        known = contrail.Network("red", uuid=network["id"])
        api.load(contrail.Topology(networks=(known,)))
        yield api, network["id"]


def test_without_a_vlan_it_is_contrails_number_of_the_network(sriovctl, numbered):
    api, network_id = numbered
    number = api.object(network_id)["virtual_network_network_id"]
    more = f"[fabric]\nhook = contrail\n[hook_contrail]\napi_servers = {api.url}\n"
    assert shown(sriovctl(*WITHOUT_VLAN, more=more))["vlan"] == number


def test_a_number_that_is_no_vlan_is_refused(sriovctl, numbered, neutron):
    api, network_id = numbered
    api.update("virtual-network", network_id, {"virtual_network_network_id": 4095})
    more = f"[fabric]\nhook = contrail\n[hook_contrail]\napi_servers = {api.url}\n"
    status, _, err = sriovctl(*WITHOUT_VLAN, more=more)
    assert status == 1
    one_sentence(err, "4095", "VN id", "--vlan")
    assert neutron.calls("PUT") == []


def test_a_network_that_contrail_does_not_know_has_no_number(sriovctl, numbered):
    api, network_id = numbered
    api.delete("virtual-network", network_id)
    more = f"[fabric]\nhook = contrail\n[hook_contrail]\napi_servers = {api.url}\n"
    status, _, err = sriovctl(*WITHOUT_VLAN, more=more)
    assert status == 1
    one_sentence(err, network_id, "under Neutron's id")


def test_without_a_device_manager_a_vlan_is_asked_for(sriovctl, neutron):
    neutron.add_network(15, name="red")
    status, _, err = sriovctl(*WITHOUT_VLAN)
    assert status == 1
    one_sentence(err, "hook", "VLAN")
