# SPDX-License-Identifier: Apache-2.0
"""The options, and the mappings of physical networks to PFs."""

import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.exceptions import ConfigError


def conf(tmp_path, text=""):
    path = tmp_path / "sriov-agent.conf"
    path.write_text(text)
    found = options.register(cfg.ConfigOpts())
    found(["--config-file", str(path)], project="sriov-agent")
    return found


def mappings(tmp_path, value):
    return options.mappings(conf(tmp_path, f"[sriov_nic]\nphysical_device_mappings = {value}\n"))


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        ("", ()),
        ("physnet2:ens1", (("physnet2", "ens1"),)),
        ("physnet2:0000:3b:00.0", (("physnet2", "0000:3b:00.0"),)),
        ("physnet2:ens1,physnet2:ens1,", (("physnet2", "ens1"),)),
        (
            "physnet2:ens1,physnet2:0000:5e:00.0, physnet3 : ens3 ",
            (("physnet2", "ens1"), ("physnet2", "0000:5e:00.0"), ("physnet3", "ens3")),
        ),
    ],
)
def test_pfs_are_named_by_physical_network_and_device(tmp_path, value, pairs):
    assert mappings(tmp_path, value) == pairs


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("physnet2", "'physnet2': expected PHYSICAL_NETWORK:DEVICE"),
        ("physnet2:", "'physnet2:': expected PHYSICAL_NETWORK:DEVICE"),
        ("physnet2: ", "expected PHYSICAL_NETWORK:DEVICE"),
        (":ens1", "':ens1': physical_network ''"),
        ("phys net:ens1", "physical_network 'phys net'"),
        ("physnet2:ens1,physnet3:ens1", "ens1 appears twice"),
        ("physnet2:0000:3b:00.0,physnet3:0000:3b:00.0", "0000:3b:00.0 appears twice"),
    ],
)
def test_a_bad_mapping_is_refused_by_the_name_of_the_option(tmp_path, value, why):
    with pytest.raises(ConfigError) as caught:
        mappings(tmp_path, value)
    assert str(caught.value).startswith("[sriov_nic] physical_device_mappings: ")
    assert why in str(caught.value)


def test_without_a_file_every_option_has_a_value(tmp_path):
    found = conf(tmp_path)
    assert found.agent.source == "local"
    assert found.fabric.hook == "noop"
    assert found.lldp.command == ["lldpcli"]
    assert options.mappings(found) == ()
    assert str(options.store_path(found)) == "/var/lib/sriov-agent/agent.db"
    assert str(options.ports_path(found)) == "/var/lib/sriov-agent/ports.db"
    assert str(options.interfaces_path(found)) == "/var/lib/sriov-agent/interfaces"
    assert found.agent.retry_min <= found.agent.retry_max <= found.agent.resync_interval


def test_every_file_of_the_agent_is_below_state_path(tmp_path):
    found = conf(tmp_path, f"[agent]\nstate_path = {tmp_path}\n")
    paths = [options.store_path(found), options.ports_path(found), options.interfaces_path(found)]
    assert {path.parent for path in paths} == {tmp_path}
    assert len(set(paths)) == 3


@pytest.mark.parametrize(
    ("group", "line"),
    [
        ("agent", "source = neutron"),
        ("agent", "report_interval = 0"),
        ("agent", "resync_interval = 0"),
        ("agent", "retry_min = soon"),
        ("local", "poll_interval = 0"),
        ("local", "poll_interval = 61"),
        ("lldp", "timeout = 0"),
        ("hook_exec", "timeout = -1"),
        ("hook_webhook", "timeout = 0"),
    ],
)
def test_a_value_out_of_range_is_refused(tmp_path, group, line):
    found = conf(tmp_path, f"[{group}]\n{line}\n")
    with pytest.raises(cfg.ConfigFileValueError, match=line.partition(" ")[0]):
        found[group][line.partition(" ")[0]]


def every_option():
    return [(group, option) for group, several in options.GROUPS.items() for option in several]


@pytest.mark.parametrize(("group", "option"), every_option())
def test_every_option_says_what_it_is_for_and_in_which_unit(group, option):
    assert option.help
    assert option.help.strip().endswith(".")
    if isinstance(option, cfg.FloatOpt):
        assert "econds" in option.help
        assert option.type.min is not None


def test_the_sample_generator_is_given_every_option():
    listed = {group: list(several) for group, several in options.list_opts()}
    assert listed == {group: list(several) for group, several in options.GROUPS.items()}
    assert len({(group, option.name) for group, option in every_option()}) == len(every_option())
