# SPDX-License-Identifier: Apache-2.0
"""``sriovctl`` as it is installed, on a state directory of its own."""

import csv
import io
import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from sriov_agent.core import fields
from sriov_agent.core.report import PortReport, PortState, Report
from sriov_agent.libvirt.files import InterfaceFiles
from sriov_agent.libvirt.xml import parse
from sriov_agent.sources.ports import Ports
from sriov_agent.store import Store
from tests.topology import PF_A, binding, claim, interface, port_id, port_mac, switch_port

PROGRAM = Path(sys.executable).with_name("sriovctl")
HOSTILE = "\x1b[2Jweb\u202e\n<b>"
ESCAPED = r"\x1b[2Jweb\u202e\n<b>"


class Sriovctl:
    """Runs it, and knows where its files are."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.config = directory / "sriov-agent.conf"
        self.configure("physical_device_mappings = physnet2:no-such-pf")
        self.ports = Ports(self.state / "ports.db")
        self.store = Store(self.state / "agent.db")
        self.files = InterfaceFiles(self.state / "interfaces")

    def configure(self, nic: str = "", rest: str = "") -> None:
        self.config.write_text(
            f"[DEFAULT]\nstate_path = {self.state}\nhost = compute1\n[sriov_nic]\n{nic}\n{rest}\n"
        )

    def __call__(self, *arguments: str, config: Path | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(
            [PROGRAM, f"--config-file={config or self.config}", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def json(self, *arguments: str) -> object:
        done = self(*arguments, "-f", "json")
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def refusal(self, *arguments: str, status: int = 1, config: Path | None = None) -> str:
        """The one sentence that it says instead of doing what was asked."""
        done = self(*arguments, config=config)
        assert (done.returncode, done.stdout) == (status, "")
        [said] = done.stderr.splitlines()
        assert said.isprintable()
        return said


@pytest.fixture
def sriovctl(tmp_path):
    return Sriovctl(tmp_path)


CREATE = ("port", "create", "--physical-network", "physnet2")


def test_a_port_from_create_to_delete(sriovctl):
    created = sriovctl.json(*CREATE, "--vlan", "15", "web1")
    assert created["state"] == "new"
    assert created["name"] == "web1"
    assert (created["vlan"], created["physical_network"]) == ("15", "physnet2")
    assert created["id"] == str(uuid.UUID(created["id"]))
    assert fields.mac(created["mac"]).startswith("02:")

    [listed] = sriovctl.json("port", "list")
    assert listed.items() <= created.items()
    assert sriovctl.json("port", "show", "web1") == sriovctl.json("port", "show", created["id"])

    done = sriovctl("port", "delete", "web1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sriovctl.json("port", "list") == []
    assert sriovctl.ports.get(created["id"]).bound is False


def test_a_port_is_kept_with_everything_that_was_given(sriovctl):
    asked = binding(
        1,
        name="web1",
        revision_number=1,
        pci_slot="0000:3b:02.1",
        qos=5,
        spoofchk=False,
        trust=True,
        link_state="disable",
        min_tx_rate=10,
        max_tx_rate=100,
    )
    given = ("--id", asked.port_id.upper(), "--mac", asked.mac.upper(), "--vlan", "15")
    given += ("--pci-slot", "0000:3B:02.1", "--qos", "5", "--no-spoofchk", "--trust")
    given += ("--link-state", "disable", "--min-tx-rate", "10", "--max-tx-rate", "100", "web1")
    shown = sriovctl.json(*CREATE, *given)

    assert sriovctl.ports.bindings().ports == {asked.port_id: asked}
    for name, value in asked.vf_settings().items().items():
        assert shown[name] == str(value)


def test_two_ports_get_different_ids_and_macs(sriovctl):
    one, other = (sriovctl.json(*CREATE) for _ in range(2))
    assert one["id"] != other["id"]
    assert one["mac"] != other["mac"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (("--mac", "01:00:5e:00:00:01"), "mac_address"),
        (("--mac", "00:00:00:00:00:00"), "mac_address"),
        (("--mac", "\x1b[2J"), "mac_address"),
        (("--vlan", "4095"), "vlan"),
        (("--vlan=-1",), "vlan"),
        (("--id", "web1"), "id"),
        (("--id", "../../etc/passwd"), "id"),
        (("--vnic-type", "macvtap"), "vnic_type"),
        (("--physical-network", "phys net"), "physical_network"),
        (("--physical-network", ""), "physical_network"),
        (("--pci-slot", "ens1v0"), "pci_slot"),
        (("--qos", "8", "--vlan", "15"), "qos"),
        (("--qos", "1"), "qos"),
        (("--link-state", "up"), "link_state"),
        (("--max-tx-rate", "-1"), "max_tx_rate"),
        (("--min-tx-rate", "20", "--max-tx-rate", "10"), "min_tx_rate"),
        (("x" * 256,), "name"),
    ],
)
def test_bad_input_is_refused_by_its_field_and_nothing_is_kept(sriovctl, given, field):
    assert sriovctl.refusal(*CREATE, *given).startswith(f"{field} ")
    assert sriovctl.ports.all() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("port", "create"),
        (*CREATE, "--vlan", "fifteen"),
        (*CREATE, "--unheard-of"),
        ("port", "show"),
        ("port", "delete"),
        ("port", "unheard-of"),
    ],
)
def test_wrong_usage_is_told_from_refusal_by_exit_status_2(sriovctl, arguments):
    done = sriovctl(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert sriovctl.ports.all() == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--id", port_id(1)), "id "),
        (("--mac", port_mac(1)), f"mac_address '{port_mac(1)}': already the MAC of port "),
    ],
)
def test_what_another_port_has_is_refused(sriovctl, given, said):
    sriovctl.ports.create(binding(1))
    assert sriovctl.refusal(*CREATE, *given).startswith(said)
    assert sriovctl.ports.bindings().ports == {port_id(1): binding(1)}


def test_a_port_that_was_deleted_may_be_created_again(sriovctl):
    sriovctl.ports.create(binding(1))
    sriovctl.ports.delete(port_id(1))
    assert sriovctl.json(*CREATE, "--id", port_id(1))["id"] == port_id(1)


@pytest.mark.parametrize("verb", ["show", "delete", "xml"])
def test_a_port_that_is_not_there_or_not_told_from_another_is_refused(sriovctl, verb):
    for number in (1, 2):
        sriovctl.ports.create(binding(number, name="web"))
    assert sriovctl.refusal("port", verb, HOSTILE) == f"port '{ESCAPED}': no such port"
    ambiguous = sriovctl.refusal("port", verb, "web")
    assert ambiguous.startswith("port 'web': several ports have this name: ")
    assert port_id(1) in ambiguous
    assert port_id(2) in ambiguous


def test_of_several_ports_to_delete_all_go_or_none(sriovctl):
    for number in (1, 2):
        sriovctl.ports.create(binding(number, name=f"web{number}"))
    sriovctl.refusal("port", "delete", "web1", "web9")
    assert len(sriovctl.ports.all()) == 2

    assert sriovctl("port", "delete", "web1", port_id(2)).returncode == 0
    assert sriovctl.ports.all() == []


def met(number: int, **given: object) -> PortReport:
    """What the agent reports of a port that has all it needs."""
    whole = {
        "port_id": port_id(number),
        "state": PortState.MET,
        "claim": claim(number, PF_A, 0),
        "switch_port": switch_port(PF_A),
    }
    return PortReport(**(whole | given))


def test_what_the_agent_reported_is_shown(sriovctl):
    for number in (1, 2):
        sriovctl.ports.create(binding(number))
    unmet = PortReport(port_id=port_id(2), state=PortState.UNMET, unmet=("no free VF", "no luck"))
    gone = met(3, state=PortState.RELEASING, unmet=("vlan of VF 0000:3b:02.2 is 15, not 0",))
    reports = {
        port_id(1): met(1, unsupported=("link_state", "trust")),
        port_id(2): unmet,
        port_id(3): gone,
    }
    sriovctl.store.save(Report(ports=reports), {"passes": 7})

    states = {port["id"]: port for port in sriovctl.json("port", "list")}
    assert states[port_id(1)]["vf"] == "0000:3b:02.0"
    assert (states[port_id(1)]["switch"], states[port_id(1)]["switch_port"]) == ("leaf1", "swp1")
    assert [states[port_id(n)]["state"] for n in (1, 2, 3)] == ["met", "unmet", "releasing"]

    shown = sriovctl.json("port", "show", port_id(1))
    assert (shown["pf"], shown["vf_index"]) == (PF_A, "0")
    assert shown["unsupported"] == "link_state, trust"
    assert sriovctl.json("port", "show", port_id(2))["unmet"] == "no free VF; no luck"
    assert sriovctl.json("agent", "show")["passes"] == 7


def test_names_from_the_wire_are_escaped_in_every_format(sriovctl):
    sriovctl.ports.create(binding(1, name=HOSTILE))
    leaf = switch_port(PF_A, port=HOSTILE)
    reports = {port_id(1): met(1, switch_port=leaf, state=PortState.UNMET, unmet=(HOSTILE,))}
    sriovctl.store.save(Report(ports=reports), {})

    for kind in ("table", "csv", "value", "json", "yaml"):
        for verb in (("list",), ("show", port_id(1))):
            if (kind, verb[0]) == ("csv", "show"):
                continue
            shown = sriovctl("port", *verb, "-f", kind).stdout
            assert all(line.isprintable() for line in shown.splitlines())
            assert "\u202e" not in shown
    [listed] = sriovctl.json("port", "list")
    assert listed["name"] == listed["switch_port"] == ESCAPED
    [_, row] = csv.reader(io.StringIO(sriovctl("port", "list", "-f", "csv").stdout))
    assert row[1] == ESCAPED


def test_the_xml_is_printed_as_the_agent_wrote_it(sriovctl):
    sriovctl.ports.create(binding(1))
    assert "has no interface XML yet" in sriovctl.refusal("port", "xml", port_id(1))

    sriovctl.files.read()
    sriovctl.files.write(port_id(1), interface(binding(1), PF_A, 0))
    done = sriovctl("port", "xml", port_id(1))
    assert (done.returncode, done.stderr) == (0, "")
    assert parse(done.stdout) == interface(binding(1), PF_A, 0)


def test_waiting_without_an_agent_ends_with_the_reason(sriovctl):
    said = sriovctl.refusal(*CREATE, "--id", port_id(1), "--wait", "0.1")
    assert said.startswith(f"port {port_id(1)} is not met after 0.1 s: ")
    assert "is it running?" in said

    sriovctl.store.record(claim(1, PF_A, 0))
    said = sriovctl.refusal("port", "delete", port_id(1), "--wait", "0.1")
    assert said == f"not released after 0.1 s: {port_id(1)}"


def test_waiting_ends_when_the_port_is_met_and_when_it_is_released(sriovctl):
    sriovctl.store.save(Report(ports={port_id(1): met(1)}), {})
    assert sriovctl.json(*CREATE, "--id", port_id(1), "--wait", "30")["state"] == "met"
    assert sriovctl("port", "delete", port_id(1), "--wait", "30").returncode == 0


def test_where_neutron_has_the_ports_they_are_not_made_here(sriovctl):
    sriovctl.ports.create(binding(1))
    sriovctl.configure(rest="[agent]\nsource = notifications")
    for refused in (CREATE, ("port", "delete", port_id(1))):
        assert sriovctl.refusal(*refused).startswith("[agent] source is notifications: ")
    assert [port["id"] for port in sriovctl.json("port", "list")] == [port_id(1)]


@pytest.mark.parametrize("kind", ["pf", "vf"])
def test_pfs_that_cannot_be_shown_are_said(sriovctl, kind):
    assert sriovctl.refusal(kind, "list") == "there is no network device 'no-such-pf'"

    sriovctl.configure()
    assert "physical_device_mappings is empty" in sriovctl.refusal(kind, "list")

    sriovctl.configure("physical_device_mappings = physnet2")
    assert "physical_device_mappings: 'physnet2'" in sriovctl.refusal(kind, "list")


def test_a_file_that_cannot_be_used_is_said(sriovctl, tmp_path):
    assert "no-such.conf" in sriovctl.refusal("port", "list", config=tmp_path / "no-such.conf")

    sriovctl.ports.create(binding(1))
    sriovctl.ports.database.path.write_bytes(b"this is no database" * 100)
    assert sriovctl.refusal("port", "list").startswith(f"{sriovctl.ports.database.path}: ")

    sriovctl.state = tmp_path / "sriov-agent.conf"
    sriovctl.configure()
    assert str(sriovctl.state) in sriovctl.refusal("port", "list")
