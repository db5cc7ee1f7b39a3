# SPDX-License-Identifier: Apache-2.0
"""The DevStack plugin on a real NIC: from its settings to a port of a real Neutron, and back.

A systemd in namespaces of the guest runs what DevStack starts. DevStack's own functions run the
phases where SRIOV_TEST_DEVSTACK names a checkout, the stand-ins elsewhere.
"""

import configparser
from pathlib import Path

import pytest

from tests.devstack.box import missing
from tests.devstack.stage import DEST, Stage
from tests.lab.test_neutron import FLOOR_VLAN, holder, status, until
from tools.demo import witness

pytestmark = [pytest.mark.openstack, pytest.mark.namespaces]

HOST = "devstack1"
MAC = "fa:16:3e:00:01:01"
VLAN = 25
#: what of the guest the agent and the leaves' program use
KEPT = ("/run/sriov-lab", "/run/netns", "/run/lldpd.socket")


@pytest.fixture
def stage(tmp_path, pfs, neutron):
    """DevStack on this host, whose Neutron is elsewhere, with both PFs."""
    if why := missing():
        pytest.skip(why)
    conf = configparser.RawConfigParser()
    conf.read(neutron.conf_file)
    mappings = f"physnet2:{pfs[0]['netdev']},physnet2:{pfs[1]['pci']}"
    settings = [
        f"SRIOV_AGENT_HOST={HOST}",
        f"SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS={mappings}",
        "SRIOV_AGENT_NUM_VFS=3",
        "SRIOV_AGENT_HOOK=exec",
        f"SRIOV_AGENT_HOOK_COMMAND={DEST}/sriov-agent/tools/lab/guest/leaf-fabric",
    ]
    url = conf["DEFAULT"]["transport_url"]
    more = ["[[post-config|$NEUTRON_CONF]]", "[DEFAULT]", f"transport_url = {url}"]
    stage = Stage(tmp_path, kept=KEPT, network=True)
    stage.configure(without=("SRIOV_AGENT_",), after=settings, more=more)
    yield stage
    stage.clean()
    stage.close()


def number_of_vfs(pf):
    return int(Path(f"/sys/bus/pci/devices/{pf['pci']}/sriov_numvfs").read_text())


def test_a_port_gets_a_vf_that_devstack_made_and_clean_restores_what_was(stage, neutron, pfs):
    api = neutron.api()
    before = [number_of_vfs(pf) for pf in pfs]
    assert 3 not in before
    stage.stack()
    assert [number_of_vfs(pf) for pf in pfs] == [3, 3]
    until(lambda: any(agent["alive"] for agent in api.list("agent", host=HOST)))
    network = api.create(
        "network",
        name="devstack",
        provider_network_type="vlan",
        provider_physical_network="physnet2",
        provider_segmentation_id=VLAN,
    )
    port = api.create(
        "port",
        network_id=network["id"],
        device_owner="test:vm",
        binding_vnic_type="direct",
        binding_host_id=HOST,
        mac_address=MAC,
    )
    until(lambda: status(api, port) == "ACTIVE", "the port is not ACTIVE")
    pf, vf = holder(pfs, MAC)
    assert (vf["vlan"], vf["vf"] < 3) == (VLAN, True)
    assert witness.open_vlans(pf["leaf"], pf["port"]) == {FLOOR_VLAN, VLAN}

    stage.unstack()
    assert not stage.active("sriov-agent")
    assert holder(pfs, MAC), "a stop changes no VF"
    stage.stack()
    api.delete("port", port["id"])
    until(lambda: holder(pfs, MAC) is None, "the VF was not given back")
    until(lambda: witness.open_vlans(pf["leaf"], pf["port"]) == {FLOOR_VLAN})
    api.delete("network", network["id"])

    stage.clean()
    assert [number_of_vfs(pf) for pf in pfs] == before
    assert stage.left() == set()
