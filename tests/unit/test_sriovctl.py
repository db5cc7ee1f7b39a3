# SPDX-License-Identifier: Apache-2.0
"""``sriovctl`` in this process, over a state directory of its own, with no agent running."""

import json
import threading
import time
import uuid

import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.cmd.ctl.app import Sriovctl
from sriov_agent.control import Control
from sriov_agent.core.link import as_json
from sriov_agent.core.model import LldpId, Segment, SwitchPort
from sriov_agent.core.report import PortReport, PortState, Report
from sriov_agent.core.state import Claim, Interface
from sriov_agent.libvirt.files import InterfaceFiles
from sriov_agent.sources.ports import Ports
from sriov_agent.store import Store
from tests.ctl import run
from tests.frozen import replace
from tests.topology import LEAF_A, LEAF_B, carried

ID = "6c3a1f0e-5f0a-4f7e-9f53-0d2f2f0a6a01"
MAC = "02:00:00:00:00:01"
VF = "0000:3b:00.2"
HOSTILE = "a\x1b[2Jb\x1fc\nd\u202e<b>&\x00\x7f|+"


class Host:
    def __init__(self, directory, source="local"):
        self.config = directory / "sriov-agent.conf"
        self.config.write_text(
            "[DEFAULT]\nhost = compute1\n"
            f"[agent]\nsource = {source}\nstate_path = {directory}/state\n"
            "[sriov_nic]\nphysical_device_mappings = physnet2:no-such-pf\n"
        )
        conf = options.register(cfg.ConfigOpts())
        conf([f"--config-file={self.config}"])
        self.ports = Ports(options.ports_path(conf))
        self.store = Store(options.store_path(conf))
        self.files = InterfaceFiles(options.interfaces_path(conf))

    def __call__(self, *arguments):
        """(exit status, standard output, standard error) of one command."""
        return run("--config-file", str(self.config), *arguments)

    def do(self, *arguments):
        status, out, err = self(*arguments)
        assert (status, err) == (0, "")
        return out

    def create(self, *arguments):
        command = ("port", "create", "-f", "json", "--physical-network", "physnet2")
        return json.loads(self.do(*command, *arguments))


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def one_sentence(err, *named):
    """Refused with one line that names what is wrong, and nothing a terminal would act on."""
    assert "Traceback" not in err
    (sentence,) = err.splitlines()
    assert sentence.isprintable()
    for name in named:
        assert name in sentence
    return sentence


def test_a_port_is_created_listed_shown_and_deleted(host):
    made = host.create("--vlan", "15", "--id", ID, "--mac", MAC.upper(), "web1")
    assert (made["id"], made["mac"], made["vlan"], made["state"]) == (ID, MAC, 15, "new")
    (listed,) = json.loads(host.do("port", "list", "-f", "json"))
    assert listed.items() <= made.items()
    for name in ("web1", ID):
        assert json.loads(host.do("port", "show", "-f", "json", name)) == made
    host.do("port", "delete", "web1")
    assert json.loads(host.do("port", "list", "-f", "json")) == []
    assert host.ports.bindings().ports == {}


def test_every_setting_arrives(host):
    host.create(
        *("--vlan", "4094", "--qos", "7", "--no-spoofchk", "--trust", "--link-state", "disable"),
        *("--min-tx-rate", "100", "--max-tx-rate", "1000", "--pci-slot", "0000:3B:00.2"),
        *("--id", ID),
    )
    found = host.ports.bindings().ports[ID]
    assert found.vf_settings().items() == {
        "mac": found.mac,
        "vlan": 4094,
        "qos": 7,
        "spoofchk": False,
        "trust": True,
        "link_state": "disable",
        "min_tx_rate": 100,
        "max_tx_rate": 1000,
    }
    assert (found.pci_slot, found.vnic_type, found.name) == ("0000:3b:00.2", "direct", "")


def test_without_a_mac_or_an_id_each_port_gets_its_own(host):
    made = [host.create() for _ in range(3)]
    assert len({port["mac"] for port in made}) == 3
    assert all(int(port["mac"][:2], 16) & 3 == 2 for port in made)
    assert all(str(uuid.UUID(port["id"])) == port["id"] for port in made)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("mac_address", ["--mac", "01:00:5e:00:00:01"]),
        ("mac_address", ["--mac", "ff:ff:ff:ff:ff:ff"]),
        ("mac_address", ["--mac", "00:00:00:00:00:00"]),
        ("mac_address", ["--mac", "02:00:00:00:00"]),
        ("mac_address", ["--mac", "02:00:00:00:00:0g"]),
        ("mac_address", ["--mac", "02:00:00:00:00:01\x1b[2J\n"]),
        ("vlan", ["--vlan", "-1"]),
        ("vlan", ["--vlan", "4095"]),
        ("vlan", ["--vlan", "15.0"]),
        ("vlan", ["--vlan", "hostdev"]),
        ("vlan", ["--vlan", "99999999999999999999"]),
        ("vnic_type", ["--vnic-type", "made-up"]),
        ("vnic_type", ["--vnic-type", ""]),
        ("pci_slot", ["--pci-slot", "3b:00.2"]),
        ("pci_slot", ["--pci-slot", "0000:3b:00.8"]),
        ("pci_slot", ["--pci-slot", "../0000:3b:00.2"]),
        ("physical_network", ["--physical-network", "phys net"]),
        ("physical_network", ["--physical-network", ""]),
        ("physical_network", ["--physical-network", "n" * 65]),
        ("id", ["--id", "1"]),
        ("id", ["--id", "../../etc/passwd"]),
        ("id", ["--id", "{6c3a1f0e-5f0a-4f7e-9f53-0d2f2f0a6a01}"]),
        ("qos", ["--vlan", "15", "--qos", "8"]),
        ("qos", ["--vlan", "15", "--qos", "-1"]),
        ("qos", ["--qos", "1"]),
        ("link_state", ["--link-state", "up"]),
        ("min_tx_rate", ["--min-tx-rate", "-1"]),
        ("max_tx_rate", ["--max-tx-rate", "4294967296"]),
        ("min_tx_rate", ["--min-tx-rate", "2", "--max-tx-rate", "1"]),
        ("name", ["n" * 256]),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value)[:40],
)
def test_bad_input_is_refused_by_its_field(host, field, arguments):
    status, out, err = host("port", "create", "--physical-network", "physnet2", *arguments)
    assert (status, out) == (1, "")
    assert one_sentence(err).startswith(f"{field} ")
    assert host.ports.all() == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--qos", ""),
        ("--min-tx-rate", "fast"),
        ("--max-tx-rate", "1e3"),
        ("--wait", "soon"),
        ("--wait", "nan"),
        ("--wait", "inf"),
        ("--wait", "-1"),
        ("--nonsense", "1"),
    ],
)
def test_what_is_no_number_is_a_usage_error(host, option, value):
    status, out, err = host("port", "create", "--physical-network", "physnet2", option, value)
    assert (status, out) == (2, "")
    assert option in err.splitlines()[-1]
    assert "Traceback" not in err
    assert host.ports.all() == []


def test_a_port_needs_a_physical_network(host):
    status, _, err = host("port", "create", "web1")
    assert status == 2
    assert "--physical-network" in err.splitlines()[-1]


def test_an_id_or_mac_that_is_taken_is_refused(host):
    host.create("--id", ID, "--mac", MAC)
    create = ("port", "create", "--physical-network", "physnet2")
    status, _, err = host(*create, "--id", ID.upper())
    assert status == 1
    assert one_sentence(err).startswith("id ")
    status, _, err = host(*create, "--mac", "02-00-00-00-00-01")
    assert status == 1
    assert ID in one_sentence(err, "mac_address")
    assert len(host.ports.all()) == 1
    host.do("port", "delete", ID)
    host.create("--id", ID, "--mac", MAC)


@pytest.mark.parametrize("verb", ["show", "delete", "xml"])
def test_a_port_that_is_not_there_is_said_to_be(host, verb):
    for name in ("nosuch", "a\x1b[2J\nb"):
        status, out, err = host("port", verb, name)
        assert (status, out) == (1, "")
        one_sentence(err, "port", "no such port")


def test_a_name_that_several_ports_have_names_none(host):
    ids = [host.create("web")["id"] for _ in range(2)]
    status, _, err = host("port", "delete", "web")
    assert status == 1
    one_sentence(err, "several", *ids)
    assert len(host.ports.all()) == 2


def test_deleting_several_deletes_all_or_none(host):
    host.create("web1")
    host.create("web2")
    assert host("port", "delete", "web1", "nosuch")[0] == 1
    assert len(host.ports.all()) == 2
    host.do("port", "delete", "web1", "web2")
    assert host.ports.all() == []


@pytest.mark.parametrize("form", ["table", "value"])
def test_names_are_shown_escaped(host, form):
    host.create("--id", ID, HOSTILE)
    assert host.ports.get(ID).document["name"] == HOSTILE
    for command in (("port", "list"), ("port", "show", ID)):
        out = host.do(*command, "-f", form)
        assert all(line.isprintable() for line in out.split("\n"))
        assert "a\\x1b[2Jb\\x1fc\\nd\\u202e<b>&\\x00\\x7f|+" in out


def test_a_trunk_is_kept_with_its_vlans_and_networks(host):
    network = "11111111-2222-4333-8444-555555555555"
    port = host.create("--trunk", f"15,16={network}", "--native", "30", "router")
    kept = host.ports.bindings().ports[port["id"]]
    assert kept.trunk == (Segment(15), Segment(16, network), Segment(30, tagged=False))
    assert kept.vlan == 0
    assert port["trunk"] == "15, 16, 30 untagged"


@pytest.mark.parametrize("trunk", ["", "15,", "web", "15:16"])
def test_a_trunk_that_is_none_is_a_matter_of_usage(host, trunk):
    status, _, err = host("port", "create", "--physical-network", "physnet2", "--trunk", trunk)
    assert status == 2
    assert "--trunk" in err


def test_what_the_wire_said_is_shown_escaped(host):
    host.create("--id", ID, "--vlan", "15")
    port = SwitchPort(
        pf="0000:3b:00.0",
        chassis_id=LldpId("mac", "52:54:00:bb:00:01"),
        port_id=LldpId("local", HOSTILE),
        system_name=HOSTILE,
    )
    claim = Claim(port_id=ID, vf=VF, pf="0000:3b:00.0", index=1, mac=MAC)
    report = PortReport(
        port_id=ID, state=PortState.UNMET, claim=claim, switch_ports=(port,), unmet=(HOSTILE,)
    )
    host.store.save(Report(ports={ID: report}), {"passes": 3})
    out = host.do("port", "show", ID) + host.do("port", "list")
    assert all(line.isprintable() for line in out.split("\n"))
    shown = json.loads(host.do("port", "show", "-f", "json", ID))
    assert (shown["state"], shown["vf"], shown["vf_index"]) == ("unmet", VF, 1)
    assert json.loads(host.do("agent", "show", "-f", "json"))["passes"] == 3


def test_whether_the_agent_runs_is_shown(host):
    def shown():
        return json.loads(host.do("agent", "show", "-f", "json"))["running"]

    assert shown() is False
    control = Control(host.config.parent / "state/agent.sock", {})
    control.start()
    try:
        assert shown() is True
    finally:
        control.stop()


def test_the_fabric_is_shown_as_wanted_and_as_the_device_manager_says(host):
    answer = {"links": [{**as_json(LEAF_A), "vlans": [15, 99]}]}
    hook = host.config.parent / "hook"
    hook.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{json.dumps(answer)}'\n")
    hook.chmod(0o755)
    with host.config.open("a") as config:
        config.write(f"[fabric]\nhook = exec\n[hook_exec]\ncommand = {hook}\n")
    host.store.save(Report(fabric={LEAF_A: carried(15, 16), LEAF_B: carried(20)}), {})

    def listed(command):
        rows = json.loads(host.do("fabric", command, "-f", "json"))
        return [(r["switch"], r["port"], r["vlan"], r["wanted"], r["open"]) for r in rows]

    differing = [
        ("leaf1", "swp1", 16, True, False),
        ("leaf1", "swp1", 99, False, True),
        ("leaf2", "swp1", 20, True, "unknown"),
    ]
    assert listed("show") == [("leaf1", "swp1", 15, True, True), *differing]
    assert listed("diff") == differing

    rows = json.loads(host.do("fabric", "sync", "--dry-run", "-f", "json"))
    assert [(row["action"], row["vlan"]) for row in rows] == [
        ("open", 16),
        ("close", 99),
        ("ask", 20),
    ]

    hook.unlink()
    status, _, err = host("fabric", "diff")
    assert status == 1
    one_sentence(err, str(hook))


def test_a_sync_waits_until_the_switches_are_seen_to_be_as_wanted(host):
    answer = host.config.parent / "answer"
    hook = host.config.parent / "hook"
    hook.write_text(f"#!/bin/sh\ncat > /dev/null\ncat {answer}\n")
    hook.chmod(0o755)
    with host.config.open("a") as config:
        config.write(f"[fabric]\nhook = exec\n[hook_exec]\ncommand = {hook}\n")
    host.store.save(Report(fabric={LEAF_A: carried(15)}), {})

    def opened(*vlans):
        answer.write_text(json.dumps({"links": [{**as_json(LEAF_A), "vlans": list(vlans)}]}))

    status, _, err = host("fabric", "sync")
    assert status == 1
    one_sentence(err, "agent.sock")

    opened()
    control = Control(host.config.parent / "state/agent.sock", {"reconcile": lambda: opened(15)})
    control.start()
    try:
        assert json.loads(host.do("fabric", "sync", "-f", "json")) == []
        control.operations = {"reconcile": opened}
        status, out, _ = host("fabric", "sync", "--wait", "0.2", "-f", "json")
        assert (status, [row["vlan"] for row in json.loads(out)]) == (1, [15])
    finally:
        control.stop()


def test_of_a_fabric_that_somebody_else_configures_nothing_is_known(host):
    host.store.save(Report(fabric={LEAF_A: carried(15)}), {})
    (row,) = json.loads(host.do("fabric", "diff", "-f", "json"))
    assert (row["vlan"], row["wanted"], row["open"]) == (15, True, "unknown")


def test_a_port_on_its_way_out_is_still_listed(host):
    claim = Claim(port_id=ID, vf=VF, pf="0000:3b:00.0", index=1, mac=MAC)
    report = PortReport(port_id=ID, state=PortState.RELEASING, claim=claim, unmet=("VF busy",))
    host.store.save(Report(ports={ID: report}), {})
    (row,) = json.loads(host.do("port", "list", "-f", "json"))
    assert (row["id"], row["vf"], row["state"]) == (ID, VF, "releasing")


def test_xml_is_printed_as_it_was_written(host):
    host.create("--id", ID, "web1")
    status, out, err = host("port", "xml", "web1")
    assert (status, out) == (1, "")
    one_sentence(err, ID, "sriovctl port show")
    host.files.read()
    host.files.write(ID, Interface(vf=VF, mac=MAC, vlan=15))
    assert host.do("port", "xml", "web1").strip() == host.files.path(ID).read_text().strip()


def test_waiting_without_an_agent_ends(host):
    create = ("port", "create", "--physical-network", "physnet2", "--id", ID)
    status, out, err = host(*create, "--wait", "0.1")
    assert (status, out) == (1, "")
    one_sentence(err, ID, "0.1 s", "is it running?")
    host.store.record(Claim(port_id=ID, vf=VF, pf="0000:3b:00.0", index=1, mac=MAC))
    status, out, err = host("port", "delete", "--wait", "0.1", ID)
    assert (status, out) == (1, "")
    one_sentence(err, ID, "not released")


def with_hook(host):
    """A device manager that is required, and is not asked."""
    with host.config.open("a") as config:
        config.write("[fabric]\nhook = exec\n[hook_exec]\ncommand = /bin/false\n")


class Leaving(threading.Thread):
    """Plays the agent after a port is deleted: each report is saved once the last was looked at."""

    def __init__(self, host, *reports):
        super().__init__(daemon=True)
        self.host, self.reports, self.saved = host, reports, 0

    def run(self):
        while ID in {port.port_id for port in self.host.ports.all()}:
            time.sleep(0.05)
        for claims, report in self.reports:
            time.sleep(0.5)
            if not claims:
                for claim in self.host.store.claims().values():
                    self.host.store.drop(claim)
            self.saved += 1
            self.host.store.save(report, {})


def test_a_deletion_waits_until_the_switch_is_closed_too(host):
    with_hook(host)
    host.create("--id", ID, "--vlan", "15", "web1")
    claim = Claim(port_id=ID, vf=VF, pf=LEAF_A.pf, index=1, mac=MAC)
    entry = PortReport(port_id=ID, state=PortState.MET, claim=claim)
    host.store.record(claim)
    host.store.record_switch_port(LEAF_A)
    opened = {"fabric": {LEAF_A: carried(15)}, "opened": {LEAF_A: carried(15)}}
    host.store.save(Report(ports={ID: entry}, **opened), {})
    gone = Leaving(
        host,
        (True, Report(ports={ID: replace(entry, state=PortState.RELEASING)}, **opened)),
        (False, Report(fabric={LEAF_A: carried()}, opened={LEAF_A: carried(15)})),
        (False, Report(fabric={LEAF_A: carried()})),
        (False, Report(fabric={LEAF_A: carried()}, opened={LEAF_A: carried()})),
    )
    gone.start()
    host.do("port", "delete", "--wait", "60", "web1")
    assert gone.saved == len(gone.reports)


def test_a_deletion_waits_for_the_switch_of_a_port_that_is_released_at_once(host):
    class Released(Ports):
        def delete(self, port_id):
            super().delete(port_id)
            for claim in host.store.claims().values():
                host.store.drop(claim)
            host.store.save(Report(fabric={LEAF_A: carried()}, opened={LEAF_A: carried(15)}), {})

    class App(Sriovctl):
        def ports(self):
            return Released(host.ports.database.path)

    with_hook(host)
    host.create("--id", ID, "--vlan", "15", "web1")
    host.store.record(Claim(port_id=ID, vf=VF, pf=LEAF_A.pf, index=1, mac=MAC))
    config = f"--config-file={host.config}"
    status, out, err = run(config, "port", "delete", "--wait", "0.1", "web1", app=App)
    assert (status, out) == (1, "")
    one_sentence(err, "VLAN 15 still open on", "leaf1")


@pytest.mark.parametrize(
    ("opened", "said"),
    [({LEAF_A: carried(15, 16)}, "VLAN 15 still open on"), ({}, "VLAN 15 not seen closed on")],
)
def test_a_switch_that_is_not_closed_in_time_is_named(host, opened, said):
    with_hook(host)
    host.create("--id", ID, "--vlan", "15", "web1")
    host.store.record(Claim(port_id=ID, vf=VF, pf=LEAF_A.pf, index=1, mac=MAC))
    host.store.record_switch_port(LEAF_A)
    gone = Leaving(host, (False, Report(fabric={LEAF_A: carried(16)}, opened=opened)))
    gone.start()
    status, out, err = host("port", "delete", "--wait", "2", "web1")
    assert (status, out) == (1, "")
    one_sentence(err, said, "leaf1", "after 2 s", "fabric diff")
    gone.join()


def test_ports_of_neutron_are_neutrons_to_change(tmp_path):
    host = Host(tmp_path, source="notifications")
    for command in (
        ("port", "create", "--physical-network", "physnet2"),
        ("port", "delete", "web1"),
    ):
        status, out, err = host(*command)
        assert (status, out) == (1, "")
        one_sentence(err, "[agent] source", "Neutron")
    assert host.do("port", "list", "-f", "json").strip() == "[]"


@pytest.mark.parametrize("what", ["vf", "pf"])
def test_a_pf_that_is_not_there_is_named(host, what):
    status, out, err = host(what, "list")
    assert (status, out) == (1, "")
    one_sentence(err, "no-such-pf")


@pytest.mark.parametrize("what", ["vf", "pf"])
def test_without_a_pf_configured_the_option_is_named(host, what):
    host.config.write_text(f"[agent]\nstate_path = {host.config.parent}\n")
    status, out, err = host(what, "list")
    assert (status, out) == (1, "")
    one_sentence(err, "physical_device_mappings", "--config-file")


@pytest.mark.parametrize(
    "content",
    [None, b"nonsense", b"\xff\xfe", b"[agent]\nsource = nova\n", b"[agent\n"],
    ids=["absent", "no-option", "not-text", "bad-choice", "bad-section"],
)
def test_a_configuration_that_cannot_be_used_is_named(host, content):
    host.config.unlink()
    if content is not None:
        host.config.write_bytes(content)
    status, out, err = host("port", "create", "--physical-network", "physnet2")
    assert (status, out) == (1, "")
    assert str(host.config) in err
    assert "Traceback" not in err


def test_a_directory_is_no_configuration(tmp_path):
    status, out, err = run("--config-file", str(tmp_path), "port", "list")
    assert (status, out) == (1, "")
    one_sentence(err, str(tmp_path))


def test_a_state_path_that_cannot_be_used_is_named(host):
    state = host.config.parent / "state"
    state.write_text("")
    for command in (("port", "list"), ("port", "create", "--physical-network", "physnet2")):
        status, out, err = host(*command)
        assert (status, out) == (1, "")
        one_sentence(err, str(state))
