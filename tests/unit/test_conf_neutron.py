# SPDX-License-Identifier: Apache-2.0
"""neutron.conf and sriov_agent.ini as they are on a compute node, read before our own file."""

import logging
import socket
from pathlib import Path

import pytest
from oslo_config import cfg
from oslo_log import log

from sriov_agent import conf as options
from sriov_agent.conf.nic import canonical_hostname
from sriov_agent.exceptions import ConfigError
from sriov_agent.sources.notifications import oslo_messaging

SAMPLES = Path(__file__).parents[1] / "samples" / "config"
NEUTRON = [f"--config-file={SAMPLES / name}" for name in ("neutron.conf", "sriov_agent.ini")]
MAPPED = "physical_device_mappings = physnet2:ens1,physnet2:0000:5e:00.0\n"


def conf(*arguments):
    found = options.register(cfg.ConfigOpts())
    log.register_options(found)
    options.parse(found, arguments, version="0")
    return found


@pytest.fixture
def own(tmp_path):
    """The argument that names a file of our own."""

    def write(text=""):
        path = tmp_path / "sriov-agent.conf"
        path.write_text(text)
        return f"--config-file={path}"

    return write


@pytest.fixture
def nic(own):
    """The configuration with two PFs and these lines below ``[sriov_nic]``."""
    return lambda *lines: conf(own("\n".join([f"[sriov_nic]\n{MAPPED}", *lines, ""])))


def test_the_files_of_neutron_are_read_unchanged(own):
    found = conf(*NEUTRON, own("[fabric]\nhook = exec\n"), "--agent-source", "ml2")
    assert found.agent.source == "ml2"
    assert found.host == "compute1.example.net"
    assert found.fabric.hook == "exec"
    assert found.agent.polling_interval == 5
    assert options.extensions(found) == ("qos",)
    assert options.mappings(found) == (
        ("physnet1", "ens1f0"),
        ("physnet1", "ens1f1"),
        ("physnet2", "ens2f0"),
    )
    assert options.excluded_vfs(found) == {"0000:06:00.2", "0000:06:00.3", "0000:06:10.1"}
    assert options.resource_provider_bandwidths(found) == {
        "ens1f0": {"egress": 10000000, "ingress": 10000000},
        "ens1f1": {"egress": 5000000, "ingress": None},
    }
    assert options.resource_provider_hypervisors(found) == {
        "ens1f0": "compute1.example.net",
        "ens1f1": "compute1-b.example.net",
        "ens2f0": "compute1.example.net",
    }
    assert options.resource_provider_inventory_defaults(found) == {
        "allocation_ratio": 1.5,
        "min_unit": 1,
        "reserved": 0,
        "step_size": 1000,
    }


def test_every_option_has_a_value_beside_those_of_neutron(own):
    found = conf(*NEUTRON, own())
    for group, several in options.GROUPS.items():
        for option in several:
            found[option.dest] if group == "DEFAULT" else found[group][option.dest]


def test_the_directory_of_neutron_is_not_ours(own):
    assert str(options.store_path(conf(*NEUTRON, own()))) == "/var/lib/sriov-agent/agent.db"


def test_agent_and_AGENT_are_one_group_and_the_last_file_counts(own):
    assert conf(NEUTRON[0]).agent.report_interval == 20
    assert conf(*NEUTRON).agent.report_interval == 10
    assert conf(*NEUTRON, own("[agent]\nreport_interval = 15\n")).agent.report_interval == 15


def test_the_command_line_counts_more_than_any_file(own):
    local = own("[agent]\nsource = local\n")
    assert conf(local).agent.source == "local"
    assert conf(local, "--agent-source", "ml2").agent.source == "ml2"
    assert conf("--agent-source=notifications", local).agent.source == "notifications"


def test_a_source_that_is_none_is_a_usage_error(own, capsys):
    with pytest.raises(SystemExit):
        conf(own(), "--agent-source", "nova")
    assert "argument --agent_source" in capsys.readouterr().err


def test_the_broker_is_spoken_to_as_neutron_does(own):
    found = conf(*NEUTRON, own())
    transport = oslo_messaging.get_rpc_transport(found)
    try:
        assert [host.hostname for host in transport._driver._url.hosts] == [
            "192.0.2.11",
            "192.0.2.12",
        ]
        rabbit = found.oslo_messaging_rabbit
        assert rabbit.rabbit_quorum_queue is True
        assert rabbit.rabbit_transient_quorum_queue is True
        assert rabbit.amqp_durable_queues is True
        assert rabbit.ssl is True
        assert rabbit.heartbeat_timeout_threshold == 42
    finally:
        transport.cleanup()


def test_an_extension_that_is_not_built_in_is_told_and_left_out(own, caplog):
    found = conf(own("[agent]\nextensions = qos,fdb\n"))
    with caplog.at_level(logging.WARNING):
        assert options.extensions(found) == ("qos",)
    [record] = caplog.records
    assert "[agent] extensions: 'fdb' is left out" in record.getMessage()


@pytest.mark.parametrize(
    ("value", "excluded"),
    [
        ("", set()),
        ("ens1:", set()),
        ("ens1:0000:3b:02.0", {"0000:3b:02.0"}),
        ("ens1: 0000:3B:02.0 ; ;0000:3b:02.1;", {"0000:3b:02.0", "0000:3b:02.1"}),
        (
            "0000:5e:00.0:0000:5e:02.0;0000:5e:02.1,ens1:0000:3b:02.0",
            {"0000:5e:02.0", "0000:5e:02.1", "0000:3b:02.0"},
        ),
    ],
)
def test_vfs_are_excluded_by_the_device_that_is_mapped(nic, value, excluded):
    assert options.excluded_vfs(nic(f"exclude_devices = {value}")) == excluded


@pytest.mark.parametrize(
    ("value", "bandwidths"),
    [
        ("", {}),
        ("ens1", {"ens1": (None, None)}),
        ("ens1::", {"ens1": (None, None)}),
        ("ens1:0:", {"ens1": (0, None)}),
        ("ens1::20, 0000:5e:00.0:10:20", {"ens1": (None, 20), "0000:5e:00.0": (10, 20)}),
    ],
)
def test_a_direction_of_bandwidth_may_be_left_open(nic, value, bandwidths):
    found = options.resource_provider_bandwidths(nic(f"resource_provider_bandwidths = {value}"))
    assert found == {
        device: {"egress": egress, "ingress": ingress}
        for device, (egress, ingress) in bandwidths.items()
    }


READ = {
    "exclude_devices": options.excluded_vfs,
    "resource_provider_bandwidths": options.resource_provider_bandwidths,
    "resource_provider_inventory_defaults": options.resource_provider_inventory_defaults,
    "resource_provider_hypervisors": options.resource_provider_hypervisors,
}


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("exclude_devices", "ens1", "'ens1': expected DEVICE:VF;VF"),
        ("exclude_devices", ":0000:3b:02.0", "no device before the colon"),
        ("exclude_devices", "ens9:0000:3b:02.0", "ens9 is not in physical_device_mappings: expect"),
        ("exclude_devices", "ens1:3", "VF '3': expected a PCI address"),
        ("exclude_devices", "ens1:0000:3b:02.0,ens1:0000:3b:02.1", "ens1 appears twice"),
        ("resource_provider_bandwidths", "ens1:10", "'ens1:10': expected DEVICE:EGRESS:INGRESS"),
        ("resource_provider_bandwidths", "ens1:1:2:3", "expected DEVICE:EGRESS:INGRESS"),
        ("resource_provider_bandwidths", "ens1:-1:", "'-1': expected a whole number of kbit/s"),
        ("resource_provider_bandwidths", "ens1:1.5:", "'1.5': expected a whole number"),
        ("resource_provider_bandwidths", "ens1:1:,ens1::1", "ens1 appears twice"),
        ("resource_provider_bandwidths", "ens9:1:1", "expected one of ens1, 0000:5e:00.0"),
        ("resource_provider_inventory_defaults", "ratio:1", "'ratio' is none of allocation_ratio"),
        ("resource_provider_inventory_defaults", "min_unit:-1", "'-1': expected a whole number"),
        ("resource_provider_inventory_defaults", "max_unit:1.5", "'1.5': expected a whole number"),
        ("resource_provider_inventory_defaults", "allocation_ratio:nan", "expected a number"),
        ("resource_provider_inventory_defaults", "allocation_ratio:x", "'x': expected a number"),
        ("resource_provider_hypervisors", "ens1", "'ens1': expected DEVICE:HYPERVISOR"),
        ("resource_provider_hypervisors", "ens1:", "expected DEVICE:HYPERVISOR"),
        ("resource_provider_hypervisors", "ens1:a,ens1:b", "ens1 appears twice"),
    ],
)
def test_what_cannot_be_read_is_refused_by_the_name_of_the_option(nic, option, value, why):
    with pytest.raises(ConfigError) as caught:
        READ[option](nic(f"{option} = {value}"))
    assert str(caught.value).startswith(f"[sriov_nic] {option}: ")
    assert why in str(caught.value)


def test_inventories_have_the_defaults_of_neutron(nic):
    assert options.resource_provider_inventory_defaults(nic()) == {
        "allocation_ratio": 1.0,
        "min_unit": 1,
        "step_size": 1,
        "reserved": 0,
    }


def test_what_is_given_replaces_all_defaults_of_inventories(nic):
    found = nic("resource_provider_inventory_defaults = max_unit:1000")
    assert options.resource_provider_inventory_defaults(found) == {"max_unit": 1000}


@pytest.mark.parametrize(
    ("lines", "ens1", "other"),
    [
        ([], "canonical", "canonical"),
        (["resource_provider_hypervisors = ens1:a,ens9:b"], "a", "canonical"),
        (["resource_provider_hypervisors = 0000:5e:00.0:b"], "canonical", "b"),
        (
            [
                "resource_provider_default_hypervisor = c",
                "resource_provider_hypervisors = ens1:a",
            ],
            "a",
            "c",
        ),
    ],
)
def test_every_device_has_a_hypervisor(nic, lines, ens1, other):
    found = options.resource_provider_hypervisors(nic(*lines), lambda: "canonical")
    assert found == {"ens1": ens1, "0000:5e:00.0": other}


def answer(canonical):
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, canonical, ("192.0.2.1", 0))]


def unreachable(*_, **__):
    raise socket.gaierror("no name server")


@pytest.mark.parametrize(
    ("name", "resolve", "canonical"),
    [
        ("compute1", answer("compute1.example.net"), "compute1.example.net"),
        ("compute1", answer("localhost.localdomain"), "compute1"),
        ("compute1", answer(""), "compute1"),
        ("compute1", lambda *_, **__: [], "compute1"),
        ("compute1", unreachable, "compute1"),
        ("compute1.example.org", answer("compute1.example.net"), "compute1.example.org"),
        ("localhost", answer("compute1.example.net"), "localhost"),
    ],
)
def test_a_host_goes_by_the_name_that_libvirt_finds(name, resolve, canonical):
    assert canonical_hostname(name, resolve) == canonical


def test_sriovctl_finds_the_files_of_neutron_by_links(own, tmp_path):
    links = tmp_path / "sriov-agent.conf.d"
    links.mkdir()
    for name in ("neutron.conf", "sriov_agent.ini"):
        (links / f"{Path(name).stem}.conf").symlink_to(SAMPLES / name)
    found = conf(own("[agent]\nsource = ml2\n"), f"--config-dir={links}")
    assert (found.agent.source, found.host) == ("ml2", "compute1.example.net")
    assert len(options.mappings(found)) == 3
