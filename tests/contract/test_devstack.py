# SPDX-License-Identifier: Apache-2.0
"""The DevStack plugin, phase by phase, with a real systemd and the real programs.

DevStack's own functions run the phases where SRIOV_TEST_DEVSTACK names a checkout of it, with one
of openstack/requirements beside it; that takes minutes, since pip and apt are real as well. The
stand-ins of ``tests/devstack/standins.sh`` run them everywhere. Here is no PF; ``tests/lab`` has.
"""

import json
import os

import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.conf import device_manager
from tests.devstack.box import missing
from tests.devstack.stage import CONF, DEST, MANAGER_CONF, ML2_CONF, SAMPLES, Stage

CHECKOUT = "SRIOV_TEST_DEVSTACK"
NEUTRON_CONF = "/etc/neutron/neutron.conf"
NOVA_CONF = "/etc/nova/nova.conf"
KEY = "/etc/sriov-device-manager-leaf1.key"
#: the PF of the samples is not here, so no VFs can be made
NO_PF = ("SRIOV_AGENT_NUM_VFS",)

pytestmark = pytest.mark.namespaces


@pytest.fixture(
    scope="module", params=["stand-ins", *(["DevStack"] if CHECKOUT in os.environ else [])]
)
def host(request, tmp_path_factory):
    """A host with DevStack's functions or the stand-ins."""
    if why := missing():
        pytest.skip(why)
    devstack = os.environ[CHECKOUT] if request.param == "DevStack" else None
    host = Stage(tmp_path_factory.mktemp("devstack"), devstack)
    yield host
    host.close()


@pytest.fixture
def stage(host):
    """The host without anything of another test."""
    yield host
    host.clean()


def read_by_the_agent(stage, tmp_path, *files, register=options.register):
    """The configuration as the program itself takes it."""
    copies = []
    for number, file in enumerate(files):
        copies.append(tmp_path / f"{number}.conf")
        copies[-1].write_text(stage.box.read(file))
    conf = register(cfg.ConfigOpts())
    conf([f"--config-file={copy}" for copy in copies])
    return conf


def test_it_takes_the_place_of_q_sriov_agt(stage, tmp_path):
    stage.configure(without=NO_PF)
    stage.stack()
    assert stage.active("sriov-agent")
    assert stage.unit("sriov-agent")["User"] == ["root"]
    command = f"{DEST}/venv/bin/sriov-agent --config-file {NEUTRON_CONF} --config-file {CONF}"
    assert stage.unit("sriov-agent")["ExecStart"] == [command]
    conf = read_by_the_agent(stage, tmp_path, NEUTRON_CONF, CONF)
    assert (conf.agent.source, conf.fabric.hook) == ("ml2", "noop")
    assert options.mappings(conf) == (("physnet2", "enp59s0f0"),)
    said = ["rabbit://stackrabbit:secret@127.0.0.1:5672/"]
    assert stage.ini(NEUTRON_CONF)["DEFAULT"]["transport_url"] == said
    ml2 = stage.ini(ML2_CONF)
    assert ml2["ml2"]["mechanism_drivers"] == ["openvswitch,sriovnicswitch"]
    assert ml2["ml2_type_vlan"]["network_vlan_ranges"] == ["physnet2:100:200"]
    nova = stage.ini(NOVA_CONF)
    assert (
        nova["filter_scheduler"]["enabled_filters"][0].split(",").count("PciPassthroughFilter") == 1
    )
    (spec,) = nova["pci"]["device_spec"]
    assert json.loads(spec) == {"devname": "enp59s0f0", "physical_network": "physnet2"}


def test_what_is_run_again_does_no_harm_and_clean_leaves_nothing(stage):
    stage.configure(without=NO_PF, after=["SRIOV_AGENT_STATE_PATH=/srv/sriov-agent"])
    stage.stack()
    before = [stage.box.read(path) for path in (CONF, ML2_CONF, NOVA_CONF)]
    pid = stage.do("systemctl", "show", "-P", "MainPID", "devstack@sriov-agent").strip()
    assert stage.box.run("test", "-d", f"/proc/{pid}").returncode == 0
    for _ in range(2):
        stage.unstack()
        assert not stage.active("sriov-agent")
        assert stage.box.run("test", "-d", f"/proc/{pid}").returncode == 1
    stage.stack()
    assert stage.active("sriov-agent")
    assert [stage.box.read(path) for path in (CONF, ML2_CONF, NOVA_CONF)] == before
    for _ in range(2):
        stage.clean()
        assert not stage.active("sriov-agent")
        assert stage.left() == set()


def test_what_neutron_and_nova_lack_is_added(stage):
    settings = [
        "SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS=physnet2:enp59s0f0,physnet3:0000:3b:00.1",
        "ML2_VLAN_RANGES=physnet2:100:200",
        "Q_ML2_PLUGIN_MECHANISM_DRIVERS=ovn",
    ]
    stage.configure(without=NO_PF, after=settings)
    stage.stack()
    ml2 = stage.ini(ML2_CONF)
    assert ml2["ml2"]["mechanism_drivers"] == ["ovn,sriovnicswitch"]
    assert ml2["ml2_type_vlan"]["network_vlan_ranges"] == ["physnet2:100:200,physnet3"]
    assert [json.loads(spec) for spec in stage.ini(NOVA_CONF)["pci"]["device_spec"]] == [
        {"devname": "enp59s0f0", "physical_network": "physnet2"},
        {"address": "0000:3b:00.1", "physical_network": "physnet3"},
    ]


def test_notifications_with_contrail(stage, tmp_path):
    stage.configure("notifications-local.conf.sample", without=NO_PF)
    stage.stack()
    assert stage.active("sriov-agent")
    command = f"{DEST}/venv/bin/sriov-agent --config-file {CONF}"
    assert stage.unit("sriov-agent")["ExecStart"] == [command]
    conf = read_by_the_agent(stage, tmp_path, CONF)
    assert (conf.agent.source, conf.fabric.hook) == ("notifications", "contrail")
    said = ["rabbit://stackrabbit:secret@192.0.2.5:5672/"]
    assert stage.ini(CONF)["DEFAULT"]["transport_url"] == said
    assert conf.hook_contrail.api_servers == ["http://192.0.2.5:8082"]
    account = (conf.neutron.username, conf.neutron.password, conf.neutron.project_name)
    assert account == ("admin", "secret", "admin")
    assert stage.box.run("test", "-e", MANAGER_CONF).returncode == 1


def test_neutron_notifies_where_it_is_on_this_host(stage):
    stage.configure(without=NO_PF, after=["SRIOV_AGENT_SOURCE=notifications"])
    stage.stack()
    assert stage.ini(NEUTRON_CONF)["oslo_messaging_notifications"]["driver"] == ["messagingv2"]
    assert stage.ini(CONF)["DEFAULT"]["transport_url"] == [
        "rabbit://stackrabbit:secret@127.0.0.1:5672/"
    ]


def test_with_the_device_manager(stage, tmp_path):
    stage.configure("device-manager-local.conf.sample", without=NO_PF)
    stage.do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY)
    stage.do("sh", "-c", f"rm {KEY}.pub && chown stack {KEY}")
    stage.stack()
    assert stage.active("sriov-agent")
    assert stage.active("sriov-device-manager")
    assert stage.unit("sriov-device-manager")["User"] == ["stack"]
    conf = read_by_the_agent(stage, tmp_path, NEUTRON_CONF, CONF)
    assert (conf.agent.source, conf.fabric.hook) == ("ml2", "rpc")
    manager = read_by_the_agent(stage, tmp_path, MANAGER_CONF, register=device_manager.register)
    assert manager.device_manager.switches == ["leaf1"]
    assert [conf.hook_rpc.transport_url] == stage.ini(MANAGER_CONF)["DEFAULT"]["transport_url"]
    stage.unstack()
    assert not stage.active("sriov-device-manager")
    stage.clean()
    assert stage.left() == {KEY}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS="], "has no PF. Without a NIC"),
        (["SRIOV_AGENT_NUM_VFS=4"], "enp59s0f0 of SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS is no PF"),
        (["enable_service q-sriov-agt"], "disable_service q-sriov-agt"),
        (["enable_service neutron-sriov-agent"], "disable_service q-sriov-agt"),
        (["SRIOV_AGENT_SOURCE=nova"], "it has to be ml2, notifications or local"),
        (["SRIOV_AGENT_LAB=True", "disable_service rabbit"], "enable_service rabbit"),
        (["SRIOV_AGENT_LAB=True", "SRIOV_AGENT_SOURCE=local"], "enable_service rabbit"),
    ],
)
def test_what_cannot_work_ends_the_stack_in_its_first_phase(stage, settings, said):
    stage.configure(without=NO_PF, after=settings)
    done = stage.run("check")
    assert done.returncode == 1
    assert said in done.stdout + done.stderr


def test_a_neutron_that_hears_no_agent_is_refused(stage):
    more = ["[[post-config|$NEUTRON_CONF]]", "[DEFAULT]", "rpc_workers = 0"]
    stage.configure(without=NO_PF, more=more)
    done = stage.run("stack")
    assert done.returncode == 1
    assert "nobody would hear sriov-agent" in done.stdout + done.stderr


def test_an_agent_that_does_not_run_ends_the_stack(stage):
    more = "SRIOV_AGENT_HOOK=none-of-this-name"
    stage.configure(without=NO_PF, after=[more])
    done = stage.run("stack")
    assert done.returncode == 1
    assert "sriov-agent does not run" in done.stdout + done.stderr


def test_a_service_that_is_disabled_leaves_the_host_alone(stage):
    stage.configure(without=NO_PF, before=["disable_service sriov-agent"])
    stage.stack()
    assert not stage.active("sriov-agent")
    assert stage.box.run("test", "-e", CONF).returncode == 1


def test_every_sample_names_settings_that_there_are():
    known = (SAMPLES / "settings").read_text()
    for sample in SAMPLES.glob("*local.conf.sample"):
        for line in sample.read_text().splitlines():
            name = line.lstrip("#").split("=")[0]
            if name.startswith("SRIOV_"):
                assert f"\n{name}=" in known or f"\n    {name}=" in known, (sample.name, name)
