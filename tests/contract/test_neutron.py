# SPDX-License-Identifier: Apache-2.0
"""The client of Neutron's API: openstacksdk over real HTTP, against a fake Neutron and Keystone."""

import subprocess
import sys

import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.exceptions import ConfigError, InvalidField, Refused, Unavailable
from sriov_agent.sources.neutron import Changed, Neutron, configured
from tests.fakes import neutron as fakes
from tests.fakes.contrail import Keystone, User

HOST = "compute1"
ROLES = {"admin": ("admin",), "service": ("service",), "demo": ("member",)}


def user(name, project=None):
    return User(name, "secret", {project or name: ROLES[name]})


@pytest.fixture
def keystone():
    with Keystone([user("admin"), user("service"), user("demo")], credentials={"id": "s"}) as made:
        yield made


@pytest.fixture
def neutron(keystone):
    with fakes.Neutron(keystone) as made:
        keystone.catalog["network"] = made.url
        yield made


@pytest.fixture
def client(keystone, neutron):
    """Makes clients, of the admin unless somebody else is named."""

    def made(name="admin", **given):
        return Neutron(settings(auth_url=keystone.auth_url, username=name, **given))

    return made


def settings(**given):
    """``[neutron]`` with its defaults, and what a user has."""
    conf = options.register(cfg.ConfigOpts())
    conf([])
    asked = {"password": "secret", "project_name": given.get("username"), "timeout": 5.0, **given}
    return {**conf.neutron, **asked}


def said(caught):
    """The sentence of an error: one line for any terminal, without the password."""
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert "secret" not in sentence
    return sentence


def test_the_ports_of_a_host_are_whole_and_its_own(client, neutron):
    network = neutron.add_network(15)
    here = neutron.add_port(network, HOST)
    neutron.add_port(network, "compute2")
    neutron.add_port(network, HOST, binding_vnic_type="normal")
    sub_port = {"port_id": here["id"], "segmentation_type": "vlan", "segmentation_id": 16}
    neutron.trunks[here["id"]] = [sub_port]

    (found,) = client().ports(HOST)
    assert found.pop("trunk_details")["sub_ports"] == [sub_port]
    assert found == here
    assert client().ports("compute3") == []


def test_pages_are_followed_to_the_last(client, neutron):
    neutron.page = 3
    network = neutron.add_network(15)
    made = [neutron.add_port(network)["id"] for _ in range(10)]
    assert [port["id"] for port in client().ports(HOST)] == sorted(made)
    assert len(neutron.calls("GET", "/ports")) == 4
    assert all(call.query["binding:host_id"] == HOST for call in neutron.calls("GET", "/ports"))


def test_a_list_that_ends_in_the_middle_is_unknown(client, neutron):
    neutron.page = 3
    network = neutron.add_network(15)
    made = sorted(neutron.add_port(network)["id"] for _ in range(10))
    asking = client()
    asking.ports(HOST)
    with neutron.lock:
        neutron.page = 4
    neutron.drop(times=None, path="/ports")
    with pytest.raises(Unavailable):
        asking.ports(HOST)
    neutron.heal()
    assert [port["id"] for port in asking.ports(HOST)] == made


def test_what_is_there_and_what_is_not(client, neutron):
    network = neutron.add_network(15)
    port = neutron.add_port(network)
    asking = client()
    assert asking.port(port["id"]) == port
    assert asking.network(network["id"]) == network
    nobody = "00000000-0000-4000-8000-000000000001"
    assert asking.port(nobody) is None
    assert asking.network(nobody) is None
    assert asking.network_ids([port["id"], nobody]) == {port["id"]: network["id"]}
    with pytest.raises(InvalidField):
        asking.port("../networks")


def test_many_ids_are_asked_for_in_few_requests(client, neutron):
    made = {network["id"]: network for network in (neutron.add_network(15) for _ in range(120))}
    found = client().networks(made)
    assert {network["id"]: network for network in found} == made
    assert len(neutron.calls("GET", "/networks")) == 3


def test_who_may_not_see_bindings_is_told_what_role_it_takes(client, neutron, keystone):
    project = keystone.project_id("demo")
    neutron.add_port(neutron.add_network(15), project_id=project)
    with pytest.raises(Refused) as caught:
        client("demo").ports(HOST)
    assert "binding:host_id" in said(caught)
    assert "role admin" in said(caught)


def test_only_an_administrators_list_makes_an_absence_a_fact(client, neutron):
    neutron.add_port(neutron.add_network(15))
    assert client().sees_all()
    for name in ("service", "demo"):
        assert client(name).ports(HOST) == [], "Neutron leaves them out without a word"
        assert not client(name).sees_all()


def test_without_a_keystone_all_is_seen():
    with fakes.Neutron() as neutron:
        port = neutron.add_port(neutron.add_network(15))
        for url in (neutron.url, f"{neutron.url}/v2.0/"):
            asking = Neutron(settings(auth_type="none", endpoint_override=url))
            assert asking.sees_all()
            assert asking.ports(HOST) == [port]


def test_an_application_credential_is_enough(keystone, neutron):
    asking = Neutron(
        settings(
            auth_type="v3applicationcredential",
            auth_url=keystone.auth_url,
            application_credential_id="id",
            application_credential_secret="s",
        )
    )
    assert asking.ports(HOST) == []


def test_a_token_that_was_revoked_is_taken_anew(client, neutron, keystone):
    asking = client()
    asking.ports(HOST)
    keystone.revoke_all()
    assert asking.ports(HOST) == []


@pytest.mark.parametrize("given", [{"password": "wrong"}, {"project_name": "nobody's"}])
def test_credentials_that_are_refused_are_named_by_their_group(client, given):
    with pytest.raises(Refused) as caught:
        client(**given).ports(HOST)
    assert "[neutron]" in said(caught)


def test_a_catalog_without_neutron_names_the_options(client):
    for given in ({"region_name": "elsewhere"}, {"interface": "admin"}):
        with pytest.raises(Refused) as caught:
            client(**given).ports(HOST)
        assert "region_name and interface" in said(caught)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_what_the_server_is_to_blame_for_is_unknown(client, neutron, status):
    asking = client()
    asking.ports(HOST)
    neutron.fail(status, times=None, path="/ports", body="\x1b[2J<html>")
    with pytest.raises(Unavailable) as caught:
        asking.ports(HOST)
    assert f"listing the ports of host {HOST}: HTTP {status}" in said(caught)
    neutron.heal()
    assert asking.ports(HOST) == []


def test_no_answer_is_unknown_after_the_timeout(client, neutron, keystone):
    asking = client(timeout=0.3)
    neutron.delay(30, times=None)
    with pytest.raises(Unavailable):
        asking.ports(HOST)
    neutron.stop()
    with pytest.raises(Unavailable):
        asking.ports(HOST)
    keystone.stop()
    with pytest.raises(Unavailable):
        client().ports(HOST)


@pytest.mark.parametrize("body", ["", "[]", "{}", "no JSON", '{"ports": [5]}', '{"ports": 5}'])
def test_an_answer_of_another_form_is_unknown(client, neutron, body):
    neutron.fail(200, times=None, path="/ports", body=body)
    with pytest.raises(Unavailable):
        client().ports(HOST)


def test_a_network_is_found_by_name_or_id(client, neutron):
    red = neutron.add_network(15, name="red")
    asking = client()
    assert asking.find_network("red") == red
    assert asking.find_network(red["id"]) == red
    twin = neutron.add_network(16, name="red")
    with pytest.raises(InvalidField) as caught:
        asking.find_network("red")
    assert caught.value.field == "network"
    assert all(one["id"] in said(caught) for one in (red, twin))
    with pytest.raises(InvalidField, match="no such network"):
        asking.find_network("blue")
    named_like_an_id = neutron.add_network(17, name="00000000-0000-4000-8000-000000000001")
    assert asking.find_network(named_like_an_id["name"]) == named_like_an_id


def test_the_vlan_of_a_network_is_set(client, neutron):
    network = neutron.add_network(15)
    changed = client().set_network(network, 16, "physnet2")
    assert changed["provider:segmentation_id"] == 16
    assert neutron.networks[network["id"]] == changed
    assert client().set_network(changed, 16, "physnet2") == changed
    assert len(neutron.calls("PUT")) == 1, "what is so already is not asked for"


def test_contrail_is_told_vlan_and_physical_network_together(keystone, client):
    with fakes.Neutron(keystone, contrail=True) as neutron:
        keystone.catalog["network"] = neutron.url
        network = neutron.add_network()
        changed = client().set_network(network, 16, "physnet2")
        assert changed["provider:physical_network"] == "physnet2"
        changed = client().set_network(changed, 17, "physnet2")
        assert changed["provider:physical_network"] == "physnet2"
        assert changed["provider:segmentation_id"] == 17
        assert client().set_network(changed, 17, "physnet2") == changed
        assert len(neutron.calls("PUT")) == 2


def test_neutrons_own_sentence_says_why_a_network_stays_as_it_is(client, neutron):
    network = neutron.add_network(15)
    neutron.add_network(17)
    for vlan, name, sentence in (
        (16, "physnet1", "does not support updating"),
        (17, "physnet2", "VLAN 17 on physical network physnet2 is in use"),
    ):
        with pytest.raises(Refused) as caught:
            client().set_network(network, vlan, name)
        assert sentence in said(caught)
        assert network["id"] in said(caught)
    neutron.add_port(network)
    with pytest.raises(Refused, match="cannot be updated if any port"):
        client().set_network(network, 18, "physnet2")
    for vlan, name in ((0, "physnet2"), (4095, "physnet2"), (15, "a b")):
        with pytest.raises(InvalidField):
            client().set_network(network, vlan, name)


def test_a_network_is_an_administrators_to_set(client, neutron, keystone):
    network = neutron.add_network(15, project_id=keystone.project_id("demo"))
    with pytest.raises(Refused) as caught:
        client("demo").set_network(network, 16, "physnet2")
    assert "HTTP 403" in said(caught)
    assert "role admin" in said(caught)


def test_a_profile_is_written_in_the_role_service_and_by_revision(client, neutron, keystone):
    project = keystone.project_id("service")
    port = neutron.add_port(neutron.add_network(15), project_id=project)
    profile = {"pci_slot": "0000:3b:02.0", "physical_network": "physnet2"}
    with pytest.raises(Refused) as caught:
        client().update_binding_profile(port["id"], profile, 3)
    assert "role service" in said(caught)
    assert not isinstance(caught.value, Changed)
    with pytest.raises(Changed, match="read it again"):
        client("service").update_binding_profile(port["id"], profile, 2)
    written = client("service").update_binding_profile(port["id"], profile, 3)
    assert written["binding:profile"] == profile
    assert written["revision_number"] == 5
    with pytest.raises(Changed):
        client("service").update_binding_profile(port["id"], profile, 3)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"auth_url": None}, "auth_url"),
        ({"username": None}, "username"),
        ({"password": None}, "password"),
        ({"project_name": None}, "project_name"),
        ({"auth_type": "v3applicationcredential"}, "application_credential_id"),
        ({"auth_type": "none"}, "endpoint_override"),
    ],
)
def test_an_option_that_is_missing_is_named(given, option):
    whole = {"auth_url": "http://127.0.0.1:1/v3", "username": "admin"}
    with pytest.raises(ConfigError, match=rf"\[neutron\] {option}") as caught:
        Neutron(settings(**(whole | given)))
    said(caught)


def test_a_host_that_does_not_use_it_loads_no_sdk():
    assert not configured(settings())
    assert configured(settings(auth_url="http://127.0.0.1/v3"))
    program = (
        "import sys; import sriov_agent.sources.neutron, sriov_agent.sources.notifications; "
        "sys.exit(any(name in sys.modules for name in ('openstack', 'keystoneauth1')))"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    assert subprocess.run(command, check=False).returncode == 0
