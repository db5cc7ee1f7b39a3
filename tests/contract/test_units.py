# SPDX-License-Identifier: Apache-2.0
"""The systemd units: systemd takes them, and the daemon takes their command line."""

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from oslo_config import cfg
from oslo_log import log

from sriov_agent import conf as options

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "etc/systemd/system").glob("*.service"))
FILES = {
    "/etc/neutron/neutron.conf": ROOT / "tests/samples/config/neutron.conf",
    "/etc/neutron/plugins/ml2/sriov_agent.ini": ROOT / "tests/samples/config/sriov_agent.ini",
    "/etc/sriov-agent/sriov-agent.conf": ROOT / "etc/sriov-agent/sriov-agent.conf.sample",
}


def command(unit):
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(unit)
    return shlex.split(parser["Service"]["ExecStart"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_the_unit(unit, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze")
    installed = f"ExecStart={Path(sys.executable).parent}/sriov-"
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("ExecStart=sriov-", installed))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in verified.stderr.splitlines() if unit.name in line]
    assert (verified.returncode, said) == (0, []), verified.stderr


@pytest.mark.parametrize(
    ("name", "source", "host"),
    [("sriov-agent", "local", None), ("sriov-agent-ml2", "ml2", "compute1.example.net")],
)
def test_the_daemon_takes_the_units_command_line(name, source, host):
    program, *arguments = command(ROOT / f"etc/systemd/system/{name}.service")
    assert program == "sriov-agent"
    arguments = [str(FILES.get(argument, argument)) for argument in arguments]
    conf = options.register(cfg.ConfigOpts())
    log.register_options(conf)
    options.parse(conf, [word for word in arguments if not word.startswith("$")], version="0")
    assert conf.agent.source == source
    assert host in (None, conf.host)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_hears_of_the_daemon_and_watches_it(unit):
    lines = unit.read_text().splitlines()
    assert {"Type=notify", "WatchdogSec=120"} <= set(lines)


def test_the_two_agents_never_run_together():
    unit = (ROOT / "etc/systemd/system/sriov-agent-ml2.service").read_text()
    [conflicts] = [line for line in unit.splitlines() if line.startswith("Conflicts=")]
    assert {"neutron-sriov-agent.service", "neutron-sriov-nic-agent.service"} <= set(
        conflicts.removeprefix("Conflicts=").split()
    )


def test_every_unit_is_installed():
    setup = (ROOT / "setup.cfg").read_text()
    assert {unit.name for unit in UNITS} == {
        Path(line).name for line in setup.split() if line.endswith(".service")
    }
