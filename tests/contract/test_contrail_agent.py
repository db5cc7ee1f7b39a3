# SPDX-License-Identifier: Apache-2.0
"""The whole pass, with Contrail's config API (a fake, over HTTP) at its end."""

import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.core.report import PortState
from sriov_agent.hook.loader import load
from sriov_agent.store import Store
from tests import neutron
from tests.fakes.contrail import ConfigApi, Fabric, Interface, Network, Switch, Topology
from tests.scenario.compute import Compute
from tests.topology import PF_A, PF_B

TOPOLOGY = Topology(
    fabrics=(Fabric("fab1"),),
    switches=tuple(Switch(f"leaf{n}", "fab1", (Interface("swp1"),)) for n in (1, 2)),
    projects=("admin",),
    networks=(Network("web", uuid=neutron.NETWORK_ID),),
)
CREATE = ("port.create.end", neutron.port(1))


@pytest.fixture
def api():
    with ConfigApi() as api:
        api.load(TOPOLOGY)
        yield api


@pytest.fixture
def compute(tmp_path, api):
    compute = Compute(tmp_path)

    def start():
        conf = options.register(cfg.ConfigOpts())
        conf([])
        conf.set_override("hook", "contrail", "fabric")
        conf.set_override("api_servers", [api.url], "hook_contrail")
        conf.set_override("bonds", [f"{PF_A}+{PF_B}"], "hook_contrail")
        compute.fabric = load(conf)
        compute.start()

    compute.restart = start
    start()
    return compute


def vlans(api, leaf="leaf1"):
    return {(vlan.id, vlan.tagged) for vlan in api.open_vlans(leaf, "swp1")}


def test_a_port_opens_its_networks_vlan_and_takes_it_back(compute, api):
    compute.hear(*CREATE)
    assert compute.report(1).state == PortState.MET
    assert vlans(api) == {(15, True)}
    (vmi,) = api.objects("virtual-machine-interface")
    assert vmi["virtual_network_refs"][0]["uuid"] == neutron.NETWORK_ID

    compute.hear("port.delete.end", neutron.deleted(1))
    assert vlans(api) == set()
    assert api.objects("virtual-machine-interface") == []
    assert api.objects("virtual-port-group") == []


def test_two_ports_of_a_network_on_a_pf_share_what_is_open(compute, api):
    for number in (1, 2, 3):
        compute.hear("port.create.end", neutron.port(number))
    assert {compute.report(number).state for number in (1, 2, 3)} == {PortState.MET}
    compute.hear("port.delete.end", neutron.deleted(1))
    assert vlans(api) == vlans(api, "leaf2") == {(15, True)}


def test_a_bonded_pf_opens_both_leaves_by_one_virtual_port_group(compute, api):
    compute.kernel.bonded = True
    compute.hear(*CREATE)
    assert compute.report(1).state == PortState.MET
    assert vlans(api) == vlans(api, "leaf2") == {(15, True)}
    (group,) = api.objects("virtual-port-group")
    assert len(group["physical_interface_refs"]) == 2


def test_what_is_left_of_a_lost_record_is_closed(compute, api):
    compute.hear(*CREATE)
    compute.ports.delete(neutron.port(1)["port"]["id"])
    for file in compute.directory.glob("agent.db*"):
        file.unlink()
    compute.restart()
    compute.reconcile()
    assert vlans(api) == set()


def test_while_contrail_is_away_nothing_is_lost_and_the_vf_is_set_all_the_same(compute, api):
    api.stop()
    compute.hear(*CREATE)
    assert compute.report(1).state == PortState.UNMET
    assert compute.settings()[compute.report(1).claim.vf].vlan == 15
    api.start()
    compute.restart()
    compute.reconcile()
    assert compute.report(1).state == PortState.MET
    assert Store(compute.directory / "agent.db").switch_ports()
