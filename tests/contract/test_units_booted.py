# SPDX-License-Identifier: Apache-2.0
"""The units, users and directories as a systemd has them that really runs."""

import json

import pytest

from tests.booted import booted

pytestmark = pytest.mark.systemd

AGENT = "/var/lib/sriov-agent"
CONFIG = "/etc/sriov-agent/sriov-agent.conf"
MANAGER_CONFIG = "/etc/sriov-agent/sriov-device-manager.conf"
MEMBER = {"user": "daemon", "groups": ["sriov-agent"]}
STRANGER = {"user": "daemon"}
CAP_NET_ADMIN, CAP_NET_RAW = 1 << 12, 1 << 13
NIC = "[sriov_nic]\nphysical_device_mappings = physnet2:0000:01:00.0\n"
NO_BROKER = "transport_url = rabbit://user:secret@127.0.0.1:1/\n"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with booted(tmp_path_factory.mktemp("machine"), "--private-network") as machine:
        for page in ("install.rst", "migrate.rst", "device-manager.rst"):
            machine.install(page)
        yield machine


def process(machine, unit):
    """What the kernel says of a unit's process: user, capabilities and so on."""
    text = machine.run("cat", f"/proc/{machine.property(unit, 'MainPID')}/status")
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def owners(machine, directory):
    """The user and group of every file, each once."""
    listed = machine.run("find", directory, "-printf", "%u:%g\\n")
    return set(listed.split())


def create(machine, name, vlan, **who):
    command = ["sriovctl", "port", "create", "-f", "json", "--physical-network", "physnet2"]
    return json.loads(machine.run(*command, "--vlan", vlan, name, **who))


def names(machine, **who):
    return {
        port["name"]
        for port in json.loads(machine.run("sriovctl", "port", "list", "-f", "json", **who))
    }


@pytest.fixture
def agent(machine):
    """The unit, which is stopped and its directory gone in the end."""
    machine.write(
        CONFIG,
        f"[DEFAULT]\nhost = compute1\n{NIC}[lldp]\nsources = lldpd\n",
        "root:sriov-agent",
        "640",
    )
    yield "sriov-agent"
    machine.run("systemctl", "stop", "sriov-agent", "sriov-agent-ml2")
    machine.run("rm", "-rf", AGENT, "/etc/systemd/system/sriov-agent.service.d")
    machine.run("systemctl", "daemon-reload")


def test_the_agent_has_one_capability_and_no_way_to_more(machine, agent):
    machine.start(agent)
    found = process(machine, agent)
    assert "0" not in found["Uid"].split() + found["Gid"].split()
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(found[name], 16) == CAP_NET_ADMIN
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert owners(machine, AGENT) == {"sriov-agent:sriov-agent"}


def test_raw_lldp_takes_the_drop_in(machine, agent):
    machine.start(agent)
    rights = json.loads(machine.run("sh", "-c", "sriovctl doctor -f json; true"))
    assert {row["state"] for row in rights if row["check"] == "agent rights"} == {"ok"}
    machine.write(CONFIG, f"[DEFAULT]\nhost = compute1\n{NIC}", "root:sriov-agent", "640")
    rights = json.loads(machine.run("sh", "-c", "sriovctl doctor -f json; true"))
    (lacking,) = (row for row in rights if row["check"] == "agent rights")
    assert lacking["found"].endswith("lacks CAP_NET_RAW")
    machine.run("sh", "-euc", lacking["mend"])
    assert int(process(machine, agent)["CapEff"], 16) == CAP_NET_ADMIN | CAP_NET_RAW
    rights = json.loads(machine.run("sh", "-c", "sriovctl doctor -f json; true"))
    assert {row["state"] for row in rights if row["check"] == "agent rights"} == {"ok"}


def test_what_an_agent_that_was_root_left_is_taken_over(machine, agent):
    machine.run("install", "-d", "-m", "755", AGENT)
    create(machine, "roots", 15)
    machine.run("sh", "-c", f"chmod 644 {AGENT}/*.db; install -d -m 755 {AGENT}/interfaces")
    assert owners(machine, AGENT) == {"root:root"}
    machine.start(agent)
    assert owners(machine, AGENT) == {"sriov-agent:sriov-agent"}
    assert names(machine) == {"roots"}
    machine.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/sriov-agent.conf")
    assert names(machine, **MEMBER) == {"roots"}
    create(machine, "members", 16, **MEMBER)
    assert names(machine) == {"roots", "members"}


def test_tmpfiles_alone_takes_over_too(machine, agent):
    machine.run("install", "-d", "-m", "755", AGENT)
    create(machine, "roots", 15)
    machine.run("touch", f"{AGENT}/roots.too")
    machine.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/sriov-agent.conf")
    assert owners(machine, AGENT) == {"sriov-agent:sriov-agent"}
    assert machine.run("stat", "--format=%a", AGENT, f"{AGENT}/ports.db").split() == ["2770", "660"]
    machine.start(agent)
    assert names(machine, **MEMBER) == {"roots"}


def test_members_of_the_group_may_ask_the_agent_and_nobody_else(machine, agent):
    machine.start(agent)
    create(machine, "members", 15, **MEMBER)
    machine.run("sriovctl", "fabric", "sync", **MEMBER)
    create(machine, "roots", 16)
    assert names(machine, **MEMBER) == {"members", "roots"}
    machine.run("chmod", "644", CONFIG)
    machine.run("sriovctl", "fabric", "sync", **STRANGER, status=1)
    # Where the directories keep nobody out, the agent does.
    machine.run("chmod", "755", AGENT)
    machine.run("chmod", "666", f"{AGENT}/agent.sock")
    ask = (
        "from pathlib import Path; from sriov_agent.control import ask;"
        f"ask(Path('{AGENT}/agent.sock'), 'reconcile', 30)"
    )
    said = machine.python(ask, **STRANGER, status=1)
    assert "may not ask the agent: be root, or in the group sriov-agent" in said
    machine.python(ask, **MEMBER)


def test_a_file_that_root_makes_is_the_agents(machine, agent):
    machine.start(agent)
    machine.run("systemctl", "stop", agent)
    machine.run("sh", "-c", f"rm {AGENT}/*.db*")
    create(machine, "roots", 15)
    assert owners(machine, AGENT) == {"sriov-agent:sriov-agent"}
    machine.start(agent)
    assert names(machine, **MEMBER) == {"roots"}


def test_groups_that_others_make_are_not_waited_for(machine, agent):
    """sysusers made them where they were missing, and the agent starts without them too."""
    groups = machine.run("id", "--name", "--groups", "sriov-agent").split()
    assert set(groups) == {"sriov-agent", "adm", "_lldpd", "neutron"}
    for group in ("adm", "_lldpd", "neutron"):
        machine.run("gpasswd", "--delete", "sriov-agent", group)
    machine.start(agent)
    machine.run("systemd-sysusers")
    assert machine.run("id", "--name", "--groups", "sriov-agent").split() == groups


def test_libvirt_tells_the_agent_without_a_group(machine, agent):
    pytest.importorskip("libvirt")
    machine.run("systemctl", "start", "libvirtd")
    asked = "import libvirt; c = libvirt.openReadOnly('qemu:///system'); print(c.listAllDomains())"
    user = {"user": "sriov-agent"}
    assert machine.python(asked, **user).strip() == "[]"


def test_the_agent_for_ml2_reads_neutrons_files_and_logs_to_the_journal(machine, agent):
    logs = "log_dir = /var/log/neutron\nlog_file = neutron.log\n"
    neutron = f"[DEFAULT]\nhost = compute1\n{logs}{NO_BROKER}"
    machine.write("/etc/neutron/neutron.conf", neutron, "root:neutron", "640")
    machine.write("/etc/neutron/plugins/ml2/sriov_agent.ini", NIC, "root:neutron", "640")
    machine.start(agent)
    machine.start("sriov-agent-ml2")
    assert machine.property(agent, "ActiveState") == "inactive"
    found = process(machine, "sriov-agent-ml2")
    assert int(found["CapEff"], 16) == CAP_NET_ADMIN
    assert "0" not in found["Uid"].split()
    assert "sriov-agent for host compute1, source ml2" in machine.journal("sriov-agent-ml2")
    machine.run("test", "!", "-e", "/var/log/neutron/neutron.log")


def test_the_device_manager_has_no_capability(machine):
    machine.write("/etc/sriov-agent/leaf1.key", "secret", "sriov-device-manager", "600")
    machine.write(
        MANAGER_CONFIG,
        f"[DEFAULT]\n{NO_BROKER}[device_manager]\nswitches = leaf1\n"
        "[switch:leaf1]\ndriver = ovsdb\naddress = 192.0.2.1\n",
        "root:sriov-device-manager",
        "640",
    )
    machine.run("rm", "-rf", "/var/lib/sriov-device-manager")
    machine.run("install", "-d", "/var/lib/sriov-device-manager")
    machine.run("touch", "/var/lib/sriov-device-manager/roots")
    unit = "sriov-device-manager"
    machine.run("systemctl", "start", "--no-block", unit)
    machine.wait(lambda: "sriov-device-manager for leaf1" in machine.journal(unit))
    found = process(machine, unit)
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(found[name], 16) == 0
    assert "0" not in found["Uid"].split()
    assert owners(machine, "/var/lib/sriov-device-manager") == {f"{unit}:{unit}"}
    assert machine.run("stat", "--format=%a", "/var/lib/sriov-device-manager").strip() == "700"
    machine.run("systemctl", "stop", unit)


def test_a_configuration_that_cannot_work_ends_it_for_good(machine, agent):
    machine.write(CONFIG, "[fabric]\nhook = none-of-these\n" + NIC, "root:sriov-agent", "640")
    machine.run("systemctl", "start", agent, status=1)
    assert machine.property(agent, "ActiveState") == "failed"
    assert machine.property(agent, "ExecMainStatus") == "78"
    assert "[fabric] hook: no driver 'none-of-these'" in machine.journal(agent)
