# SPDX-License-Identifier: Apache-2.0
"""Every command of ``sriovctl``: its words, its help, its examples, and what they print."""

import csv
import io
import json
import re
import shlex
from importlib.metadata import entry_points

import pytest
import yaml
from cliff.commandmanager import CommandManager
from cliff.lister import Lister
from cliff.show import ShowOne

from sriov_agent.cmd.ctl.app import Sriovctl
from sriov_agent.control import Control
from sriov_agent.core.link import as_json
from sriov_agent.core.model import VfSettings
from sriov_agent.core.report import PortReport, PortState, Report
from sriov_agent.core.state import Claim
from tests.ctl import run
from tests.topology import CABLING, LEAF_A, LEAF_B, PF_A, PF_B, carried, pf, vf, vf_address
from tests.unit.test_sriovctl import Host

COMMANDS = sorted(point.name.replace("_", " ") for point in entry_points(group="sriovctl.commands"))
NOUNS = (
    *("agent", "appliance", "fabric", "fabric host", "libvirt network", "lldp", "mirror"),
    *("network", "pf", "port", "switch", "tap", "vf", "vlan", "vpp"),
)
#: What any noun may have, in one sense everywhere.
VERBS = ("list", "show", "create", "delete", "set")
#: What a single noun has besides: the word of whoever's business it is.
OWN = {
    "appliance": ("render", "define", "start", "stop", "destroy"),  # libvirt's
    "fabric": ("diff", "sync", "drift"),
    "fabric host": ("key",),
    "libvirt network": ("xml", "define"),
    "lldp": ("accept",),
    "port": ("attach", "detach", "xml"),
    "switch": ("test",),
    "vlan": ("range", "blacklist"),
    "vpp": ("script", "xml", "apply", "remove"),
}
ALONE = ("doctor", "topology")
OLDER = {
    "lldp neighbors": "lldp list",
    "vlan add": "vlan create",
    "fabric hosts": "fabric host list",
    "fabric host-key": "fabric host key",
}


def command(words):
    """A command that is not run, and its parser."""
    app = Sriovctl()
    factory, name, _ = CommandManager("sriovctl.commands").find_command(words.split())
    made = factory(app, None)
    return made, made.get_parser(name)


def examples(words):
    """The command lines that the help of a command shows, each in its own line of the text."""
    text = command(words)[0].get_description()
    return re.findall(r"^\s*Example: (sriovctl .*?)$", text, re.MULTILINE)


@pytest.mark.parametrize("words", COMMANDS)
def test_nouns_and_verbs_are_the_same_everywhere(words):
    if words in ALONE or words in OLDER:
        return
    noun, _, verb = words.rpartition(" ")
    assert noun in NOUNS
    assert verb in VERBS + OWN.get(noun, ())


def test_the_words_of_before_are_the_same_commands():
    for older, words in OLDER.items():
        assert issubclass(type(command(older)[0]), type(command(words)[0]))
        assert f"older name of: sriovctl {words}" in command(older)[0].get_description()


@pytest.mark.parametrize("words", COMMANDS)
def test_the_help_has_examples_that_can_be_typed(words):
    shown = examples(words)
    assert shown
    for line in shown:
        typed = shlex.split(re.split(r" [|>] ", line)[0])
        assert typed[1 : 1 + len(words.split())] == words.split()
        parser = command(words)[1]
        parser.parse_args(typed[1 + len(words.split()) :])
    status, out, err = run(*words.split(), "--help")
    assert (status, err) == (0, "")
    assert all(" ".join(line.split()) in " ".join(out.split()) for line in shown)


@pytest.mark.parametrize("words", COMMANDS)
def test_the_help_says_what_each_argument_is(words):
    """But for switches that name the VF's setting."""
    for action in command(words)[1]._actions:
        assert action.help or action.dest in ("spoofchk", "trust"), action.dest


class Compute(Sriovctl):
    """On a host whose kernel shows two PFs, PF_A with a VF that a port has."""

    def pfs(self):
        given = VfSettings(mac="02:00:00:00:00:01", vlan=15, trust=False)
        return {PF_A: pf(PF_A, vf(PF_A, 0, given), count=2), PF_B: pf(PF_B, count=2)}, {}


NETWORKS = """
<node><cpu><mhz>6000</mhz><model>i986</model><active>2</active><nodes>1</nodes><sockets>1</sockets>
<cores>2</cores><threads>1</threads></cpu><memory>8000000</memory>
<network><name>fast</name><forward mode="hostdev" managed="yes"><pf dev="ens1"/></forward>
<portgroup name="web" default="yes"><vlan><tag id="15"/></vlan></portgroup></network>
<network><name>slow</name><forward mode="hostdev" managed="yes"><pf dev="ens2"/></forward></network>
</node>
"""
LINKS = [
    {"host": "compute1", "pf": PF_A, "switch": "leaf1", "port": "swp1", "vlans": "15", "heard": 3},
    {"host": "compute2", "pf": PF_A, "switch": "", "vlans": "", "heard": 99, "error": "nowhere"},
]
PORTS = [
    {"switch": "leaf1", "port": "swp1", "wanted": "15", "seen": None, "ours": "15", "error": "off"},
    {"switch": "leaf2", "port": "swp1", "wanted": "", "seen": "16", "ours": "", "error": ""},
]
DRIFT = [
    {"switch": "leaf1", "port": "swp1", "open": "15", "close": "", "error": ""},
    {"switch": "leaf2", "port": "", "open": "", "close": "", "error": "off"},
]


class Full(Host):
    """A host of which there is something to list for every command, and a device manager on it."""

    def __init__(self, directory):
        super().__init__(directory)
        seen = {"links": [{**as_json(LEAF_A), "vlans": [15, 99]}]}
        hook = directory / "hook"
        hook.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{json.dumps(seen)}'\n")
        hook.chmod(0o755)
        (directory / "libvirt.xml").write_text(NETWORKS)
        with self.config.open("a") as config:
            config.write(
                f"[fabric]\nhook = exec\n[hook_exec]\ncommand = {hook}\n"
                "[local]\nbridge = br0\n"
                f"[libvirt]\nuri = test://{directory}/libvirt.xml\n"
                f"[device_manager]\nstate_path = {directory}/manager\nswitches = leaf1,leaf2\n"
                "[switch:leaf1]\ndriver = linux-bridge\naddress = 192.0.2.1\nports = swp1\n"
                "[switch:leaf2]\ndriver = linux-bridge\naddress = 192.0.2.2\nports = swp1,swp2\n"
            )
        made = [self.create("--vlan", "15", "web1"), self.create("--vlan", "16", "web2")]
        self.do("vlan", "create", "DMZ", "-f", "json")
        self.do("vlan", "create", "CORE", "-f", "json")
        self.do("vlan", "blacklist", "2000-2099,3000", "-f", "json")
        self.do("vlan", "range", "101-199,300-399", "-f", "json")
        for number in ("100", "200"):
            self.do("tap", "create", number, "--ip", f"10.0.0.{number}/24", "-f", "json")
        self.do("mirror", "create", "watch", "--source", "vnet3", "--tap", "tap200", "-f", "json")
        address = vf_address(PF_A, 0)
        claim = Claim(port_id=made[0]["id"], vf=address, pf=PF_A, index=0, mac=made[0]["mac"])
        entry = PortReport(port_id=claim.port_id, state=PortState.MET, claim=claim)
        self.store.record(claim)
        self.store.save(
            Report(
                ports={claim.port_id: entry},
                cabling=CABLING,
                fabric={LEAF_A: carried(15, 16), LEAF_B: carried(20)},
            ),
            {"passes": 3},
        )
        rows = {"links": LINKS, "ports": PORTS, "drift": DRIFT}
        self.control = Control(
            directory / "manager/manager.sock",
            {name: lambda rows=rows: {"rows": rows} for name, rows in rows.items()},
        )

    def __call__(self, *arguments):
        return run("--config-file", str(self.config), *arguments, app=Compute)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    full = Full(tmp_path_factory.mktemp("full"))
    full.control.start()
    yield full
    full.control.stop()


ARGUMENTS = {
    "fabric sync": ("--dry-run",),
    "libvirt network show": ("fast",),
    "mirror show": ("watch",),
    "pf show": ("ens1",),
    "port create": ("--physical-network", "physnet2"),
    "port show": ("web1",),
    "tap show": ("tap100",),
    "vf show": (vf_address(PF_A, 0),),
    "vlan create": ("NEW",),
    "vlan add": ("NEW",),
    "vlan show": ("15",),
}
#: With 1 they say that something differs, and with 2 that something is wrong.
TELLING = {"fabric drift": (1,), "doctor": (0, 1, 2)}
#: They change something, or ask a Neutron or a VPP, and have tests of their own.
ELSEWHERE = (
    *("network show", "network set", "port create", "vlan add", "vlan create", "tap create"),
    *("mirror create", "vpp apply", "vpp remove", "vpp show"),
)


def of(kind):
    """The commands of a kind; those that ask libvirt are for where there is one."""
    return [
        pytest.param(words, marks=[pytest.mark.lab] if words.startswith("libvirt") else [])
        for words in COMMANDS
        if isinstance(command(words)[0], kind) and words not in ELSEWHERE
    ]


def printed(full, words, *options):
    if words.startswith("libvirt"):
        pytest.importorskip("libvirt", reason="libvirt-python is not here: see make test")
    status, out, err = full(*words.split(), *ARGUMENTS.get(words, ()), *options)
    assert status in TELLING.get(words, (0,)), err
    assert "\x1b" not in out
    return out


@pytest.mark.parametrize("words", of(Lister))
def test_a_list_is_the_same_in_every_form(full, words):
    rows = json.loads(printed(full, words, "-f", "json"))
    assert rows
    names = list(rows[0])
    assert yaml.safe_load(printed(full, words, "-f", "yaml")) == rows
    table = csv.reader(io.StringIO(printed(full, words, "-f", "csv")))
    assert next(table) == names
    assert [list(row) for row in table] == [
        ["" if value is None else str(value) for value in row.values()] for row in rows
    ]
    lines = printed(full, words, "-f", "value").splitlines()
    assert lines == [" ".join(map(str, row.values())) for row in rows]
    head, *body = printed(full, words).splitlines()[1:-1]
    assert [cell.strip() for cell in head.split("|")[1:-1]] == names
    assert len(body) == 1 + len(rows)


@pytest.mark.parametrize("words", of(Lister))
def test_a_list_can_be_cut_and_sorted_by_any_column(full, words):
    whole = json.loads(printed(full, words, "-f", "json"))
    for name in whole[0]:
        status, out, err = full(
            *words.split(), *ARGUMENTS.get(words, ()), *("-f", "json", "--sort-column", name)
        )
        assert status in TELLING.get(words, (0,))
        assert err == ""
        key = [(row[name] is None, row[name]) for row in json.loads(out)]
        if len({type(value) for _, value in key}) == 1:
            assert key == sorted(key)
        cut = json.loads(printed(full, words, "-f", "json", "-c", name))
        assert [list(row) for row in cut] == [[name]] * len(whole)
    status, out, err = full(*words.split(), *ARGUMENTS.get(words, ()), "-c", "no_such")
    assert (status != 0, out) == (True, "")
    assert "Recognized columns are" in err


@pytest.mark.parametrize("words", of(ShowOne))
def test_one_thing_is_the_same_in_every_form(full, words):
    shown = json.loads(printed(full, words, "-f", "json"))
    assert yaml.safe_load(printed(full, words, "-f", "yaml")) == shown
    assert printed(full, words, "-f", "value").splitlines() == list(map(str, shown.values()))
    for name, value in shown.items():
        assert json.loads(printed(full, words, "-f", "json", "-c", name)) == {name: value}
    assert {line.split("|")[1].strip() for line in printed(full, words).splitlines()[3:-1]} == (
        shown.keys()
    )


def test_what_is_shown_of_pf_vf_and_vlan_is_what_is_listed(full):
    for noun, wanted in (("pf", PF_B), ("vf", vf_address(PF_B, 1))):
        (listed,) = (
            row for row in json.loads(full.do(noun, "list", "-f", "json")) if row[noun] == wanted
        )
        shown = json.loads(full.do(noun, "show", wanted, "-f", "json"))
        assert listed.items() <= shown.items()
        status, out, err = full(noun, "show", "nosuch")
        assert (status, out) == (1, "")
        assert f"see: sriovctl {noun} list" in err
    vlan = json.loads(full.do("vlan", "show", "DMZ", "-f", "json"))
    assert json.loads(full.do("vlan", "show", str(vlan["vlan"]), "-f", "json")) == vlan
    assert (vlan["alias"], vlan["ports"], vlan["blacklisted"]) == ("DMZ", "", False)
    assert json.loads(full.do("vlan", "show", "3000", "-f", "json"))["blacklisted"]
    assert full("vlan", "show", "nosuch")[0] == 1
