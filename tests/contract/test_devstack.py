# SPDX-License-Identifier: Apache-2.0
"""The DevStack plugin, phase by phase, over thin stand-ins for DevStack's functions.

``iniset`` really writes, by the rules of DevStack's own; the rest prints what it was called with.
The configuration that comes out is then read by the agent's own options.
"""

import subprocess
from pathlib import Path

import pytest
from oslo_config import cfg

from sriov_agent import conf as options

PLUGIN = Path(__file__).parents[2] / "devstack"
STAND_INS = r"""
set -eu
function enable_service { ENABLED_SERVICES="${ENABLED_SERVICES:-},$1"; }
function is_service_enabled {
    local service
    for service; do [[ ",$ENABLED_SERVICES," == *",$service,"* ]] && return 0; done
    return 1
}
function die { echo "die: ${*:2}"; exit 9; }
function sudo { if [[ $1 == install ]]; then shift; install -d "${@:4}"; else echo "sudo $*"; fi; }
function iniset { "$PYTHON" -c '
import configparser, sys
file, section, option, value = sys.argv[1:]
ini = configparser.RawConfigParser(); ini.read(file)
if section != "DEFAULT" and not ini.has_section(section): ini.add_section(section)
ini.set(section, option, value)
ini.write(open(file, "w"))
' "$@"; }
function iniset_rpc_backend { iniset "$2" DEFAULT transport_url rabbit://stack@127.0.0.1/; }
function install_package { echo "install_package $*"; }
function setup_develop { echo "setup_develop $*"; }
function get_python_exec_prefix { echo /opt/stack/bin; }
function run_process { echo "run_process $*"; }
function stop_process { echo "stop_process $*"; }
"""


@pytest.fixture
def phase(tmp_path):
    def run(*arguments, services="", mappings="physnet2:lo"):
        phase = " ".join(arguments)
        script = f"{STAND_INS}\nsource {PLUGIN}/settings\nsource {PLUGIN}/plugin.sh {phase}"
        return subprocess.run(
            ["bash", "-c", script],
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
                "PYTHON": "python3",
                "DEST": "/opt/stack",
                "DATA_DIR": str(tmp_path / "data"),
                "STACK_USER": "root",
                "ENABLE_DEBUG_LOG_LEVEL": "True",
                "ENABLED_SERVICES": services,
                "NEUTRON_CONF": str(tmp_path / "neutron.conf"),
                "SRIOV_AGENT_CONF_DIR": str(tmp_path / "etc"),
                "SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS": mappings,
            },
        )

    return run


def test_every_phase_runs_in_order(phase, tmp_path):
    assert "setup_develop /opt/stack/sriov-agent" in phase("stack", "install").stdout
    configured = phase("stack", "post-config", services="q-svc")
    assert configured.returncode == 0, configured.stderr
    started = phase("stack", "extra").stdout
    assert f"run_process sriov-agent /opt/stack/bin/sriov-agent --config-file {tmp_path}" in started
    assert "sudo ip link set dev lo up" in started
    assert phase("unstack").stdout == "stop_process sriov-agent\n"
    assert phase("clean").stdout == f"sudo rm -rf {tmp_path}/etc {tmp_path}/data/sriov-agent\n"


def test_the_configuration_is_one_that_the_agent_reads(phase, tmp_path):
    phase("stack", "post-config", services="q-svc")
    conf = options.register(cfg.ConfigOpts())
    conf([f"--config-file={tmp_path}/etc/sriov-agent.conf"])
    assert conf.agent.source == "notifications"
    assert options.mappings(conf) == (("physnet2", "lo"),)
    assert conf.fabric.hook == "noop"
    assert "driver = messagingv2" in (tmp_path / "neutron.conf").read_text()


@pytest.mark.parametrize(
    ("services", "mappings", "said"),
    [("", "", "has no PF"), ("q-sriov-agt", "physnet2:lo", "disable_service q-sriov-agt")],
)
def test_what_cannot_work_is_refused(phase, services, mappings, said):
    done = phase("stack", "post-config", services=services, mappings=mappings)
    assert done.returncode == 9
    assert said in done.stdout
