# SPDX-License-Identifier: Apache-2.0
"""VPP's commands and changes for the VLANs of vhost-user guests, and libvirt's end of them."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.exceptions import InvalidField, Refused
from sriov_agent.libvirt import nic
from sriov_agent.libvirt.nic import Nic, VhostUser
from sriov_agent.vpp.changes import Change, Domain, Gateway, Guest, Sub, Table, Verb
from sriov_agent.vpp.model import (
    OURS,
    Bridge,
    Desired,
    Loopback,
    Observed,
    Port,
    Socket,
    SubInterface,
    Vlan,
)
from sriov_agent.vpp.plan import everything, plan, removal
from sriov_agent.vpp.script import commands
from tests.frozen import replace
from tests.unit.test_sriovctl import Host, one_sentence

SOCKET = "/tmp/vm00.sock"
TWO = (Vlan(2, ("192.168.2.1/24",)), Vlan(3, ("192.168.3.1/24",)))
GUEST = "VirtualEthernet0/0/0"
SEED = f"""\
ip table add 4
create loopback interface instance 2
set interface l2 bridge loop2 2 bvi
set interface ip table loop2 4
set interface ip address loop2 192.168.2.1/24
set interface state loop2 up
create loopback interface instance 3
set interface l2 bridge loop3 3 bvi
set interface ip table loop3 4
set interface ip address loop3 192.168.3.1/24
set interface state loop3 up
create vhost-user socket {SOCKET} server renumber 0
set interface state {GUEST} up
create sub-interfaces {GUEST} 2
set interface l2 bridge {GUEST}.2 2
set interface l2 tag-rewrite {GUEST}.2 pop 1
set interface state {GUEST}.2 up
create sub-interfaces {GUEST} 3
set interface l2 bridge {GUEST}.3 3
set interface l2 tag-rewrite {GUEST}.3 pop 1
set interface state {GUEST}.3 up
"""


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_the_seeds_two_vlans_that_are_routed_to_each_other(host):
    made = host.do(
        *("vpp", "script", "--port", f"{SOCKET}=2+3", "--table", "4"),
        *("--vlan", "2=192.168.2.1/24", "--vlan", "3=192.168.3.1/24"),
    )
    assert made == SEED


def test_a_vlan_without_a_gateway_is_switched_alone():
    desired = Desired((Port(SOCKET, (15,)),), table=4, server=False)
    assert commands(desired, first=7) == [
        f"create vhost-user socket {SOCKET} renumber 7",
        "set interface state VirtualEthernet0/0/7 up",
        "create sub-interfaces VirtualEthernet0/0/7 15",
        "set interface l2 bridge VirtualEthernet0/0/7.15 15",
        "set interface l2 tag-rewrite VirtualEthernet0/0/7.15 pop 1",
        "set interface state VirtualEthernet0/0/7.15 up",
    ]


def test_a_gateway_of_both_families_is_in_a_table_of_each():
    vlan = Vlan(15, ("192.168.2.1/24", "2001:DB8::1/64"))
    assert commands(Desired((), (vlan,), table=4))[:7] == [
        "ip table add 4",
        "ip6 table add 4",
        "create loopback interface instance 15",
        "set interface l2 bridge loop15 15 bvi",
        "set interface ip table loop15 4",
        "set interface ip6 table loop15 4",
        "set interface ip address loop15 192.168.2.1/24",
    ]
    assert not [line for line in commands(Desired((), (vlan,))) if "table" in line]


PORTS = st.lists(
    st.lists(st.integers(1, 4094), min_size=1, max_size=4, unique=True), min_size=1, max_size=5
)


@given(PORTS, st.integers(0, 9))
def test_each_interface_is_made_before_it_is_used_and_once(vlans, first):
    ports = tuple(Port(f"/run/vm{number}.sock", tuple(tags)) for number, tags in enumerate(vlans))
    tags = sorted({tag for each in vlans for tag in each})
    gateways = tuple(Vlan(tag, (f"10.{tag >> 8}.{tag & 255}.1/24",)) for tag in tags)
    made = set()
    for command in commands(Desired(ports, gateways, table=4), first):
        match command.split():
            case ["create", "loopback", "interface", "instance", number]:
                new = f"loop{number}"
            case ["create", "vhost-user", "socket", _, "server", "renumber", number]:
                new = f"VirtualEthernet0/0/{number}"
            case ["create", "sub-interfaces", name, tag]:
                assert name in made
                new = f"{name}.{tag}"
            case ["ip", "table", "add", "4"]:
                continue
            case _:
                assert set(re.findall(r"loop\d+|VirtualEthernet\S+", command)) <= made
                continue
        assert new not in made
        made.add(new)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("vlan", lambda: Vlan(0)),
        ("vlan", lambda: Vlan(4095)),
        ("vlan", lambda: Port(SOCKET, ())),
        ("vlan", lambda: Port(SOCKET, (2, 2))),
        ("vlan", lambda: Port(SOCKET, (4095,))),
        ("socket", lambda: Port("vm00.sock", (2,))),
        ("socket", lambda: Port("/tmp/vm00.sock server", (2,))),
        ("socket", lambda: Port("/tmp/vm00.sock\nquit", (2,))),
        ("socket", lambda: Port("/" + "a" * 107, (2,))),
        ("address", lambda: Vlan(2, ("192.168.2.1",))),
        ("address", lambda: Vlan(2, ("192.168.2.1/33",))),
        ("address", lambda: Vlan(2, ("fe80::1%a b/64",))),
        ("address", lambda: Desired((), (TWO[0], Vlan(3, ("192.168.2.9/25",))))),
        ("vlan", lambda: Desired((), (TWO[0], Vlan(2, ("192.168.9.1/24",))))),
        ("socket", lambda: Desired((Port(SOCKET, (2,)), Port(SOCKET, (3,))))),
        ("table", lambda: Desired(table=-1)),
        ("first", lambda: commands(Desired(), first=2**16)),
    ],
)
def test_what_vpp_would_refuse_names_the_field(field, make):
    with pytest.raises(InvalidField) as caught:
        make()
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port", SOCKET], "vlan"),
        (["--port", f"{SOCKET}=2,3"], "vlan '2,3'"),
        (["--port", f"{SOCKET}=2", "--vlan", "2"], "address ''"),
        (["--port", f"{SOCKET}=2", "--vlan", "\x1b=192.168.2.1/24"], r"vlan '\x1b'"),
    ],
)
def test_what_is_not_understood_is_one_sentence(host, arguments, named):
    status, out, err = host("vpp", "script", *arguments)
    assert (status, out) == (1, "")
    one_sentence(err, named)


@pytest.mark.parametrize(("mode", "qemu"), [("server", "client"), ("client", "server")])
def test_qemu_has_the_other_end_of_the_socket(host, mode, qemu):
    mac = "52:54:00:4c:47:f2"
    made = host.do("vpp", "xml", "--mode", mode, "--mac", mac, SOCKET)
    device = nic.nic(ET.fromstring(made))
    assert device == Nic(source=VhostUser(SOCKET, qemu), mac=mac, model="virtio")


def there(**also):
    """VLAN 2 as it is once it was made, of ours but for what is given."""
    sub = SubInterface(3, f"{GUEST}.2", OURS, up=True, bridge=2, vlan=2, pops=True)
    gateway = Loopback(2, "loop2", OURS, up=True, bridge=2, bvi=True, tables={4: 4, 6: 0})
    gateway = replace(gateway, addresses=("192.168.2.1/24",))
    found = {
        "sockets": {SOCKET: Socket(1, GUEST, OURS, up=True, subs={2: sub})},
        "loopbacks": {2: gateway},
        "bridges": {2: Bridge(OURS, frozenset({"loop2", f"{GUEST}.2"}), "loop2")},
        "tables": {(4, 0): "ipv4-VRF:0", (6, 0): "ipv6-VRF:0", (4, 4): OURS},
    }
    return Observed(**found | also)


WANTED = Desired((Port(SOCKET, (2,)),), TWO[:1], table=4)


def test_nothing_is_changed_where_all_is_as_it_is_wanted():
    assert plan(WANTED, there()) == []
    assert plan(WANTED, there(), prune=True) == []


def test_what_it_needs_is_made_before_and_taken_back_after_it():
    made = plan(WANTED, Observed())
    added = [change.on for change in made if change.verb is Verb.ADD]
    for number, change in enumerate(made):
        earlier = {each.on for each in made[:number] if each.verb is Verb.ADD}
        assert {*change.needs, change.on} & set(added) <= {*earlier, change.on}
    gone = [change.on for change in everything(there()) if change.verb is Verb.REMOVE]
    assert sorted(map(str, gone)) == sorted(map(str, added))
    assert gone.index(Sub(SOCKET, 2)) < gone.index(Guest(SOCKET)) < gone.index(Domain(2))
    assert gone.index(Gateway(2)) < gone.index(Domain(2))
    assert gone.index(Gateway(2)) < gone.index(Table(4, 4))


def test_a_table_is_taken_back_after_the_last_gateway_has_left_it():
    moved = Desired(WANTED.ports, WANTED.vlans, table=5)
    assert plan(moved, there()) == [
        Change(Verb.REMOVE_ADDRESS, Gateway(2), "192.168.2.1/24"),
        Change(Verb.ADD, Table(4, 5)),
        Change(Verb.BIND, Gateway(2), Table(4, 5)),
        Change(Verb.ADD_ADDRESS, Gateway(2), "192.168.2.1/24"),
        Change(Verb.REMOVE, Table(4, 4)),
    ]


def test_a_table_of_others_is_used_and_left():
    tables = {**there().tables, (4, 4): "tenants"}
    assert plan(WANTED, there(tables=tables)) == []
    assert Table(4, 4) not in [change.on for change in everything(there(tables=tables))]


def test_a_sub_interface_of_other_tags_is_in_the_way():
    sub = SubInterface(3, f"{GUEST}.2", OURS, vlan=0)
    found = there(sockets={SOCKET: Socket(1, GUEST, OURS, subs={2: sub})})
    with pytest.raises(Refused, match=r"\.2: not the sub-interface of VLAN 2; delete it first"):
        plan(WANTED, found)


def test_another_bvi_is_in_the_way():
    bridges = {2: Bridge(OURS, frozenset({"loop77"}), "loop77")}
    with pytest.raises(Refused, match=r"loop77 is in VPP and not ours .*BVI of bridge domain 2"):
        plan(WANTED, there(bridges=bridges, loopbacks={}))


def test_what_is_not_there_needs_no_removal():
    assert removal(there(), ["/tmp/other.sock"], [3]) == []
    assert everything(Observed()) == []


def test_without_its_library_the_command_says_what_to_install():
    program = (
        "import sys; sys.modules['vpp_papi'] = None\n"
        "from sriov_agent.cmd.ctl.app import main\n"
        "sys.exit(main(['vpp', 'show']))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert said.returncode == 1
    one_sentence(said.stderr, "vpp_papi", "pip install 'sriov-agent[vpp]'")
