# SPDX-License-Identifier: Apache-2.0
"""Every check of ``sriovctl doctor`` in both states, and what is read of the machine."""

import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.cmd.ctl.doctor import findings
from sriov_agent.control import Control
from sriov_agent.core import doctor
from sriov_agent.core.doctor import Finding, Process, State
from sriov_agent.core.link import as_json
from sriov_agent.core.report import Report
from sriov_agent.host.ethtool import private_flags
from sriov_agent.host.inventory import Inventory
from sriov_agent.host.machine import Machine, listener, skew, synchronized
from sriov_agent.host.sysfs import Sysfs
from sriov_agent.store import Store, cabling_json
from tests.ctl import run
from tests.fakes.neutron import Neutron
from tests.fakes.sysfs import SysfsTree
from tests.frozen import replace
from tests.topology import CABLING, LEAF_A, PF_A, carried, neighbor, pf
from tests.unit.test_inventory import Rtnetlink

FOUND = pf(PF_A, count=2)
UDEV = 'ACTION=="add", KERNELS=="0000:3b:00.0", ATTR{device/sriov_numvfs}="8"'
ALL_CAPABILITIES = 0x1FFFFFFFFFF


def states(found):
    return [finding.state for finding in found]


@pytest.mark.parametrize(
    ("finding", "state", "found", "mend"),
    [
        (doctor.iommu(12, "", ""), State.OK, "12 groups", ""),
        (doctor.iommu(0, "quiet", "GenuineIntel"), State.ERROR, "off", "intel_iommu=on"),
        (doctor.iommu(0, "quiet", "AuthenticAMD"), State.ERROR, "off", "amd_iommu=on"),
        (doctor.iommu(0, "a intel_iommu=on b", "GenuineIntel"), State.ERROR, "though", "firmware"),
        (doctor.vfs(FOUND), State.OK, "2 of 7, 2 of them in nobody's use", ""),
        (doctor.vfs(pf(PF_A, count=0)), State.ERROR, "none of 7", "echo 7 > /sys/class/net/ens1"),
        (doctor.vfs(pf(PF_A, count=0, total_vfs=0)), State.ERROR, "none of 0", "firmware"),
        (doctor.persistent(FOUND, {"/a": UDEV}), State.OK, "/a", ""),
        (doctor.persistent(FOUND, {"/a": "ens1: sriov_numvfs"}), State.OK, "/a", ""),
        (doctor.persistent(FOUND, {"/a": "ens10: sriov_numvfs"}), State.UNKNOWN, "/a", ""),
        (doctor.persistent(FOUND, {}), State.WARNING, "nothing", "70-sriov.rules"),
        (doctor.driver(FOUND, "igb", []), State.OK, "igb", ""),
        (
            doctor.driver(FOUND, "igb", ["trust", "qos"]),
            State.WARNING,
            "igb, lacks qos, trust",
            "N",
        ),
        (
            doctor.driver(replace(FOUND, unsupported=frozenset({"link_state"})), "igb", []),
            *(State.WARNING, "link_state", "NIC"),
        ),
        (doctor.heartbeat(True, {"heartbeats.answered_at": 970}, 30, 1000), State.OK, "30 s", ""),
        (doctor.heartbeat(True, {"heartbeats.answered_at": 400}, 30, 1000), State.ERROR, "10", "o"),
        (doctor.heartbeat(True, {"heartbeats.ignored": 3}, 30, 1000), State.ERROR, "clock", "c"),
        (doctor.heartbeat(True, {}, 30, 1000), State.ERROR, "never", "journalctl"),
        (doctor.heartbeat(False, {}, 30, 1000), State.UNKNOWN, "does not run", ""),
        (doctor.physical_networks(["p2"], frozenset({"p2", "x"}), ""), State.OK, "p2", ""),
        (doctor.physical_networks(["p2"], frozenset({"x"}), ""), State.WARNING, "'x'", "p2"),
        (doctor.physical_networks(["p2"], None, "not asked"), State.UNKNOWN, "not asked", ""),
        (doctor.libvirt("/run/s"), State.OK, "/run/s", ""),
        (doctor.libvirt(""), State.WARNING, "no socket", "libvirtd"),
        (doctor.vfio(True), State.OK, "loaded", ""),
        (doctor.vfio(False), State.WARNING, "not loaded", "modprobe vfio-pci"),
        (doctor.clock(0.4, "http://k", None), State.OK, "http://k", ""),
        (doctor.clock(-5.0, "http://k", None), State.WARNING, "5 s behind http://k", "chrony"),
        (doctor.clock(7200.0, "http://k", True), State.ERROR, "2 h ahead of", "chrony"),
        (doctor.clock(None, "", True), State.OK, "kernel", ""),
        (doctor.clock(None, "", False), State.WARNING, "not synchronized", "chrony"),
        (doctor.clock(None, "", None), State.UNKNOWN, "nothing tells", ""),
        (doctor.other_agent([]), State.OK, "none", ""),
        (doctor.other_agent([7, 9]), State.ERROR, "pid 7, 9", "systemctl disable"),
    ],
)
def test_a_check_says_what_is_found_and_what_mends_it(finding, state, found, mend):
    assert finding.state == state
    assert found in finding.found
    assert mend in finding.mend
    assert bool(mend) == bool(finding.mend)


def test_a_link_that_is_down_or_dark_is_named_with_its_command():
    assert states(doctor.pf(FOUND)) == [State.OK]
    (down,) = doctor.pf(replace(FOUND, up=False))
    assert (down.state, down.mend) == (State.ERROR, "ip link set ens1 up")
    (dark,) = doctor.pf(replace(FOUND, carrier=False))
    assert (dark.state, dark.found) == (State.ERROR, "up, no carrier")


def test_firmware_that_takes_lldp_is_named_with_its_command():
    assert states(doctor.firmware_lldp(FOUND)) == [State.OK]
    (found,) = doctor.firmware_lldp(replace(FOUND, firmware_lldp="ethtool this"))
    assert (found.state, found.mend) == (State.ERROR, "ethtool this")


#: The private flags of an X710. There is none here: names and order are those of its driver,
#: ``i40e_ethtool.c`` of Linux 6.12, and the answers are laid out as ``uapi/linux/ethtool.h`` says.
X710 = (
    *("MFP", "total-port-shutdown", "LinkPolling", "flow-director-atr", "veb-stats"),
    *("hw-atr-eviction", "link-down-on-close", "legacy-rx", "disable-source-pruning"),
    *("disable-fw-lldp", "rs-fec", "base-r-fec", "vf-vlan-pruning", "mdd-auto-reset-vf"),
    *("vf-true-promisc-support",),
)


def x710(*switched_on):
    """An ioctl that answers as the driver of an X710 does, with these flags on."""

    def ask(netdev, request):
        (command,) = struct.unpack_from("=I", request)
        if command == 0x37:
            return struct.pack("=IIQI", command, 0, 1 << 2, len(X710))
        if command == 0x1B:
            names = b"".join(name.encode().ljust(32, b"\0") for name in X710)
            return struct.pack("=III", command, 2, len(X710)) + names
        bits = sum(1 << X710.index(name) for name in switched_on)
        return struct.pack("=II", command, bits)

    return lambda netdev: private_flags(netdev, ask)


@pytest.mark.parametrize(
    ("on", "state", "mend"),
    [
        (["flow-director-atr"], State.ERROR, "ethtool --set-priv-flags ens1 disable-fw-lldp on"),
        (["flow-director-atr", "disable-fw-lldp"], State.OK, ""),
    ],
)
def test_the_firmware_of_an_x710_takes_lldp_until_it_is_told_not_to(tmp_path, on, state, mend):
    tree = SysfsTree(tmp_path / "sys")
    tree.add_pf(PF_A)
    tree.bind(PF_A, "i40e")
    inventory = Inventory([("physnet2", "ens1")], Rtnetlink(), Sysfs(tree.root), x710(*on))
    pfs, _ = inventory.pfs()
    (found,) = doctor.firmware_lldp(pfs[PF_A])
    assert (found.state, found.mend) == (state, mend)


def test_a_neighbor_is_told_with_its_age_and_none_with_its_reason():
    heard = replace(CABLING[PF_A], neighbors=(neighbor(age=7200),))
    (ok,) = doctor.lldp(FOUND, {PF_A: cabling_json(heard)}, needed=True, by="lldpd")
    assert ok.found == "'leaf1' port 'swp1', unchanged for 2 h, by lldpd"
    for reason, needed, state, mend in (
        ("no LLDP neighbor", True, State.ERROR, "lldpd"),
        ("no LLDP neighbor", False, State.WARNING, "lldpd"),
        ("ambiguous LLDP neighbors: 'a', 'b'", True, State.ERROR, "allowed_switches"),
        ("moved ...: sriovctl lldp accept X", True, State.ERROR, f"sriovctl lldp accept {PF_A}"),
    ):
        said = {"switch": None, "switch_port": None, "reason": reason, "neighbors": []}
        (found,) = doctor.lldp(FOUND, {PF_A: said}, needed=needed, by="lldpd")
        assert (found.state, found.found) == (state, reason)
        assert mend in found.mend
    assert states(doctor.lldp(FOUND, {}, needed=True, by="nobody")) == [State.UNKNOWN]


def test_the_agents_rights_are_those_it_needs():
    assert states(doctor.agent(None, raw=True)) == [State.WARNING, State.UNKNOWN]
    root = Process(pid=1, user=0, capabilities=ALL_CAPABILITIES)
    assert states(doctor.agent(root, raw=True)) == [State.OK, State.OK]
    service = Process(pid=1, user=998, capabilities=1 << 12)
    assert states(doctor.agent(service, raw=False)) == [State.OK, State.OK]
    _, rights = doctor.agent(service, raw=True)
    assert (rights.state, rights.found) == (State.ERROR, "user 998 lacks CAP_NET_RAW")
    assert "/etc/systemd/system/sriov-agent.service.d " in rights.mend
    assert "lldp-raw.conf" in rights.mend
    _, rights = doctor.agent(replace(service, capabilities=1 << 13), raw=True)
    assert rights.found == "user 998 lacks CAP_NET_ADMIN"
    assert "system/sriov-agent.service;" in rights.mend


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ([], 0),
        ([State.OK, State.UNKNOWN], 0),
        ([State.OK, State.WARNING], 1),
        ([State.WARNING, State.ERROR], 2),
    ],
)
def test_the_exit_status_is_the_worst(given, status):
    assert doctor.exit_status(Finding("", state, "") for state in given) == status


class TestMachine:
    def write(self, root, name, text=""):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test_an_empty_machine_says_nothing(self, tmp_path):
        machine = Machine(tmp_path)
        assert (machine.iommu_groups(), machine.command_line(), machine.cpu_vendor()) == (0, "", "")
        assert (machine.vf_writers(), machine.vfio(), machine.libvirt()) == ({}, False, "")
        assert (list(machine.processes("a")), machine.process(1)) == ([], None)

    def test_what_is_there_is_read(self, tmp_path):
        for group in range(3):
            (tmp_path / f"sys/kernel/iommu_groups/{group}").mkdir(parents=True)
        (tmp_path / "sys/bus/pci/drivers/vfio-pci").mkdir(parents=True)
        self.write(tmp_path, "proc/cmdline", "quiet intel_iommu=on\n")
        self.write(tmp_path, "proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\n")
        machine = Machine(tmp_path)
        assert machine.iommu_groups() == 3
        assert machine.command_line() == "quiet intel_iommu=on\n"
        assert machine.cpu_vendor() == "GenuineIntel"
        assert machine.vfio()

    @pytest.mark.parametrize("name", ["libvirt-sock", "virtqemud-sock"])
    def test_a_libvirt_is_who_listens_and_not_the_socket_of_one_that_is_gone(self, name):
        # The path of a socket is short, that of pytest's directory may not be.
        with tempfile.TemporaryDirectory(dir="/tmp") as root, socket.socket(socket.AF_UNIX) as it:
            path = Path(root) / "run/libvirt" / name
            path.parent.mkdir(parents=True)
            machine = Machine(root)
            it.bind(str(path))
            assert machine.libvirt() == ""
            it.listen()
            assert machine.libvirt() == f"/run/libvirt/{name}"
            it.close()
            assert path.is_socket()
            assert machine.libvirt() == ""

    def test_this_machine_is_read_as_it_is(self):
        """One without an IOMMU is the other state of the lab guest, which has one."""
        machine = Machine()
        groups = len(os.listdir("/sys/kernel/iommu_groups"))
        found = doctor.iommu(machine.iommu_groups(), machine.command_line(), machine.cpu_vendor())
        if groups:
            assert (found.state, found.found) == (State.OK, f"on, {groups} groups")
        else:
            assert found.state == State.ERROR
            assert found.mend
        assert machine.process(os.getpid()).user == os.getuid()
        assert synchronized() in (True, False)
        if shutil.which("timedatectl") and Path("/run/dbus/system_bus_socket").exists():
            line = ("timedatectl", "show", "--property=NTPSynchronized", "--value")
            said = subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip()
            assert said in ("", "yes" if synchronized() else "no")

    def test_what_makes_vfs_at_boot_is_found_and_what_is_commented_out_is_not(self, tmp_path):
        self.write(tmp_path, "etc/udev/rules.d/70-sriov.rules", UDEV)
        self.write(tmp_path, "etc/udev/rules.d/10-off.rules", f"# {UDEV}\n")
        self.write(tmp_path, "etc/systemd/network/10-a.link", "SR-IOVVirtualFunctions=8\n")
        self.write(tmp_path, "etc/netplan/a.yaml", "virtual-function-count: 8\n")
        self.write(tmp_path, "etc/fstab", "sriov_numvfs")
        assert list(Machine(tmp_path).vf_writers()) == [
            "/etc/udev/rules.d/70-sriov.rules",
            "/etc/systemd/network/10-a.link",
            "/etc/netplan/a.yaml",
        ]

    def test_a_program_is_found_also_where_an_interpreter_runs_it(self, tmp_path):
        agent = "/usr/bin/neutron-sriov-nic-agent"
        self.write(tmp_path, "proc/12/cmdline", f"/usr/bin/python3\0{agent}\0--config-file\0x\0")
        self.write(tmp_path, "proc/13/cmdline", f"{agent}\0")
        self.write(tmp_path, "proc/14/cmdline", f"vi\0-R\0{agent}\0")
        self.write(tmp_path, "proc/15/cmdline", "")
        found = list(Machine(tmp_path).processes("neutron-sriov-nic-agent"))
        assert found == [12, 13]

    def test_a_process_is_read(self, tmp_path):
        status = "Name:\tx\nUid:\t0\t998\t0\t0\nCapEff:\t0000000000003000\n"
        self.write(tmp_path, "proc/12/status", status)
        process = Machine(tmp_path).process(12)
        assert process == Process(pid=12, user=998, capabilities=0x3000)

    def test_who_listens_on_a_socket_is_told(self, tmp_path):
        control = Control(tmp_path / "agent.sock", {})
        assert listener(control.path) is None
        control.start()
        try:
            assert listener(control.path) == os.getpid()
        finally:
            control.stop()


class TestSkew:
    @pytest.mark.parametrize(
        ("status", "date", "known"),
        [
            (200, "Sat, 01 Jan 2000 00:00:00 GMT", True),
            (401, "Sat, 01 Jan 2000 00:00:00 GMT", True),
            (200, "yesterday", False),
            (200, None, False),
        ],
    )
    def test_it_is_what_the_server_says(self, status, date, known):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response_only(status)
                if date:
                    self.send_header("Date", date)
                self.end_headers()

            def log_message(self, *_):
                pass

        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.handle_request, daemon=True).start()
            found = skew(f"http://127.0.0.1:{server.server_port}/v3")
        assert (found is not None) == known
        assert found is None or found > 20 * 365 * 86400

    def test_nobody_there_says_nothing(self):
        assert skew("http://127.0.0.1:9/") is None
        assert skew("file:///etc/hostname") is None


class TestFindings:
    @pytest.fixture
    def run(self, tmp_path):
        """Every finding by its check, with this configuration besides."""

        def run(more=""):
            path = tmp_path / "sriov-agent.conf"
            path.write_text(
                f"[DEFAULT]\nhost = compute1\n[agent]\nstate_path = {tmp_path}/state\n"
                f"[sriov_nic]\nphysical_device_mappings = physnet2:no-such-pf\n{more}"
            )
            conf = options.register(cfg.ConfigOpts())
            conf([f"--config-file={path}"])
            machine, sysfs = Machine(tmp_path / "root"), Sysfs(tmp_path / "root/sys")
            return {finding.check: finding for finding in findings(conf, machine, sysfs)}

        return run

    def test_nothing_is_made_where_there_is_nothing(self, run, tmp_path):
        found = run()
        assert found["agent"].state == State.WARNING
        assert found["iommu"].state == State.ERROR
        assert found["broker"].state == State.OK
        assert found["device manager"].state == State.OK
        assert not (tmp_path / "state").exists()

    def test_a_pf_that_is_not_there_is_named(self, run):
        found = run()["pf no-such-pf"]
        assert (found.state, "physical_device_mappings" in found.mend) == (State.ERROR, True)

    def test_without_a_pf_the_option_is_named(self, run):
        found = run("physical_device_mappings =\n")["pfs"]
        assert (found.state, "physical_device_mappings" in found.found) == (State.ERROR, True)

    def test_a_record_that_cannot_be_read_is_an_error(self, run, tmp_path):
        (tmp_path / "state").mkdir()
        (tmp_path / "state/agent.db").write_text("no database" * 100)
        assert run()["agent record"].state == State.ERROR

    def test_the_device_manager_is_asked_of_the_links_that_are_known(self, run, tmp_path):
        hook = tmp_path / "hook"
        more = f"[fabric]\nhook = exec\n[hook_exec]\ncommand = {hook}\n"
        assert run(more)["device manager"].state == State.UNKNOWN
        Store(tmp_path / "state/agent.db").save(Report(fabric={LEAF_A: carried(15)}), {})
        assert run(more)["device manager"].state == State.ERROR
        for vlans, state in ((15, State.OK), (None, State.WARNING)):
            answer = {"links": [{**as_json(LEAF_A), "vlans": vlans and [vlans]}]}
            hook.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{json.dumps(answer)}'\n")
            hook.chmod(0o755)
            assert run(more)["device manager"].state == state

    def test_a_running_agent_is_asked_for_its_heartbeats(self, run, tmp_path):
        unreachable = "[DEFAULT]\ntransport_url = rabbit://127.0.0.1:9/\n[agent]\nsource = ml2\n"
        assert run(unreachable)["neutron heartbeat"].state == State.UNKNOWN
        counters = {"heartbeats.answered_at": int(time.time())}
        control = Control(tmp_path / "state/agent.sock", {"counters": lambda: counters})
        control.start()
        try:
            found = run(unreachable)
            assert found["neutron heartbeat"].state == State.OK
            counters.clear()
            assert run(unreachable)["neutron heartbeat"].state == State.ERROR
        finally:
            control.stop()
        broker, networks = found["broker"], found["physical networks"]
        assert (broker.state, "transport_url" in broker.mend) == (State.ERROR, True)
        assert (networks.state, "[neutron]" in networks.found) == (State.UNKNOWN, True)

    def test_what_neutron_has_is_asked_where_it_may_be(self, run):
        with Neutron() as neutron:
            more = (
                "[agent]\nsource = notifications\n"
                "[DEFAULT]\ntransport_url = rabbit://127.0.0.1:9/\n"
                f"[neutron]\nauth_type = none\nendpoint_override = {neutron.url}\n"
            )
            found = run(more)
            assert found["physical networks"].state == State.WARNING
            neutron.add_network(15)
            assert run(more)["physical networks"].state == State.OK
            assert found["clock"].state in (State.OK, State.UNKNOWN)


def test_the_command_says_it_by_its_exit_status(tmp_path):
    path = tmp_path / "sriov-agent.conf"
    path.write_text(f"[agent]\nstate_path = {tmp_path}/state\n")
    status, out, err = run("--config-file", str(path), "doctor", "-f", "json")
    rows = json.loads(out)
    assert (status, err) == (2, "")
    assert all(row.keys() == {"check", "state", "found", "mend"} for row in rows)
    assert {"agent", "iommu", "pfs", "clock"} <= {row["check"] for row in rows}
