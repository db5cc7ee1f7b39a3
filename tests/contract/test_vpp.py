# SPDX-License-Identifier: Apache-2.0
"""``sriovctl vpp`` on a VPP: on a real one where ``SRIOV_TEST_VPP`` names it, and on a fake.

The fake's messages and refusals are after the source of VPP 26.06.
"""

import json
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sriov_agent.exceptions import Refused, Unavailable
from sriov_agent.vpp import plan
from sriov_agent.vpp.changes import Change, Domain, Gateway, Guest, Sub, Verb
from sriov_agent.vpp.model import OURS, Desired, Observed, Port, Vlan
from sriov_agent.vpp_api import Vpp
from tests.fakes.vpp.definitions import read
from tests.unit.test_sriovctl import Host, one_sentence
from tests.vpp import Fake, Real, installation

TWO = ("--vlan", "2=192.168.2.1/24", "--vlan", "3=192.168.3.1/24")
NOBODY = 0xFFFFFFFF


def kinds():
    yield pytest.param(Fake, id="fake")
    why = "SRIOV_TEST_VPP does not name an installation of VPP"
    yield pytest.param(Real, id="real", marks=pytest.mark.skipif(not installation(), reason=why))


@pytest.fixture(params=kinds())
def vpp(request, tmp_path):
    server = request.param(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def host(tmp_path, vpp):
    return Command(Host(tmp_path), vpp)


class Command:
    """``sriovctl vpp`` with this VPP's API socket, and a guest's socket in its directory."""

    def __init__(self, host, vpp):
        self.host, self.api = host, ("--socket", vpp.socket)
        self.guest = str(vpp.directory / "vm00.sock")

    def __call__(self, verb, *arguments):
        return self.host("vpp", verb, *self.api, *arguments)

    def do(self, verb, *arguments):
        """The rows of what is listed."""
        listed = self.host.do("vpp", verb, *self.api, "-f", "json", *arguments)
        return json.loads(listed)

    def changed(self, verb, *arguments):
        return [tuple(row.values()) for row in self.do(verb, *arguments)]

    def apply(self, *arguments, vlans="2+3"):
        return self.changed("apply", "--port", f"{self.guest}={vlans}", *arguments)

    def refused(self, verb, *arguments):
        status, _, err = self(verb, *arguments)
        assert status == 1
        return err


def observed(vpp):
    with Vpp(vpp.socket, timeout=30) as api:
        return api.observed()


def index(api, name):
    (found,) = [
        each.sw_if_index
        for each in api.sw_interface_dump(sw_if_index=NOBODY)
        if each.interface_name == name
    ]
    return found


def test_the_seeds_two_vlans_routed_to_each_other(host, vpp):
    host.apply(*TWO, "--table", "4")
    found = observed(vpp)
    assert sorted(found.bridges) == [2, 3]
    for vlan, bridge in found.bridges.items():
        name = found.sockets[host.guest].name
        assert bridge.bvi == f"loop{vlan}"
        assert bridge.members == {f"loop{vlan}", f"{name}.{vlan}"}
        assert bridge.ours
        gateway = found.loopbacks[vlan]
        assert (gateway.addresses, gateway.tables) == ((f"192.168.{vlan}.1/24",), {4: 4, 6: 0})
        sub = found.sockets[host.guest].subs[vlan]
        assert (sub.vlan, sub.bridge, sub.pops, sub.up, sub.ours) == (vlan, vlan, True, True, True)
        assert gateway.up
    assert found.tables[4, 4] == OURS
    assert Path(host.guest).is_socket()


def test_what_is_there_is_not_done_again(host):
    assert host.apply(*TWO)
    assert host.apply(*TWO) == []


def test_what_is_taken_back_leaves_nothing(host, vpp):
    before = observed(vpp)
    host.apply(*TWO, "--table", "4")
    host.changed("remove", "--all")
    assert observed(vpp) == before
    assert host.do("show") == []
    assert host.changed("remove", "--all") == []
    assert not Path(host.guest).exists()


def test_a_dry_run_lists_and_changes_nothing(host, vpp):
    before = observed(vpp)
    would = host.apply("--dry-run", *TWO)
    assert observed(vpp) == before
    assert host.apply(*TWO) == would
    with_all = observed(vpp)
    assert host.changed("remove", "--all", "--dry-run")
    assert observed(vpp) == with_all


def test_it_is_shown_with_what_others_put_there(host, vpp):
    host.apply("--vlan", "2=192.168.2.1/24+2001:db8::1/64")
    with vpp.client() as api:
        made = api.create_loopback_instance(is_specified=True, user_instance=77)
        given = {"bd_id": 2, "port_type": 0, "enable": True}
        api.sw_interface_set_l2_bridge(rx_sw_if_index=made.sw_if_index, **given)
    name = observed(vpp).sockets[host.guest].name
    rows = {row["interface"]: row for row in host.do("show")}
    assert rows.keys() == {"loop2", name, f"{name}.2", f"{name}.3", "loop77"}
    assert rows["loop2"]["addresses"] == "192.168.2.1/24, 2001:db8::1/64"
    assert rows[name]["state"] == "up, not connected"
    assert (rows["loop77"]["vlan"], rows["loop77"]["ours"]) == (2, False)


def test_only_what_differs_is_changed(host, vpp):
    host.apply(*TWO)
    guest = host.guest
    assert host.apply(*TWO, vlans="3+15") == [
        ("remove", f"{guest} VLAN 2", ""),
        ("add", "bridge domain 15", ""),
        ("add", f"{guest} VLAN 15", ""),
        ("tag", f"{guest} VLAN 15", ""),
        ("join", f"{guest} VLAN 15", "bridge domain 15"),
        ("pop tag", f"{guest} VLAN 15", ""),
        ("set up", f"{guest} VLAN 15", ""),
    ]
    assert host.apply("--vlan", "3=192.168.4.1/24", vlans="3+15") == [
        ("remove address", "loop3", "192.168.3.1/24"),
        ("add address", "loop3", "192.168.4.1/24"),
    ]
    assert host.apply("--vlan", "3=192.168.4.1/24", "--table", "9", vlans="3+15") == [
        ("remove address", "loop3", "192.168.4.1/24"),
        ("add", "table 9 of IPv4", ""),
        ("set table", "loop3", "table 9 of IPv4"),
        ("add address", "loop3", "192.168.4.1/24"),
    ]
    assert host.apply("--mode", "client", vlans="3+15") == [("set mode", guest, "client")]
    assert not observed(vpp).sockets[guest].server
    assert host.apply(vlans="3+15") == [("set mode", guest, "server")]
    assert Path(guest).is_socket()


def test_an_address_moves_from_one_vlan_to_another(host):
    host.apply(*TWO)
    host.apply("--vlan", "2=192.168.3.1/24", "--vlan", "3=192.168.2.1/24")
    rows = {row["interface"]: row["addresses"] for row in host.do("show")}
    assert (rows["loop2"], rows["loop3"]) == ("192.168.3.1/24", "192.168.2.1/24")


def test_what_is_not_named_stays_until_it_is_pruned(host, vpp):
    host.apply(*TWO, "--table", "4")
    other = f"{host.guest}.other"
    host.changed("apply", "--port", f"{other}=3")
    assert observed(vpp).sockets.keys() == {host.guest, other}
    host.changed("apply", "--port", f"{other}=3", "--prune")
    found = observed(vpp)
    assert (found.sockets.keys(), found.loopbacks, found.bridges.keys()) == ({other}, {}, {3})
    assert (4, 4) not in found.tables


def test_a_port_and_a_gateway_are_taken_back_by_name(host, vpp):
    host.apply(*TWO)
    host.changed("remove", "--vlan", "2")
    assert observed(vpp).loopbacks.keys() == {3}
    assert observed(vpp).bridges[2].members
    host.changed("remove", "--port", host.guest)
    assert (observed(vpp).sockets, observed(vpp).bridges.keys()) == ({}, {3})
    assert host.changed("remove", "--port", host.guest, "--vlan", "2") == []


@pytest.mark.parametrize("tag", ["", "somebody\x1b[2J"])
def test_what_others_have_is_not_touched(host, vpp, tag):
    guest = host.guest
    with vpp.client() as api:
        api.bridge_domain_add_del_v2(bd_id=2, bd_tag=tag, is_add=True, flood=True)
        loop = api.create_loopback_instance(is_specified=True, user_instance=3).sw_if_index
        api.sw_interface_set_flags(sw_if_index=loop, flags=1)
        api.create_vhost_user_if_v2(sock_filename=guest, is_server=True, tag=tag)
    before = observed(vpp)
    err = host.refused("apply", "--port", f"{guest}=2+3", *TWO)
    one_sentence(err, "bridge domain 2", "loop3", guest, "not ours", "delete it there")
    one_sentence(host.refused("remove", "--port", guest, "--vlan", "3"), "loop3", "not ours")
    assert host.changed("remove", "--all") == []
    assert observed(vpp) == before


def test_a_sub_interface_of_others_on_our_socket_is_not_touched(host, vpp):
    host.apply(vlans="3")
    with vpp.client() as api:
        parent = index(api, observed(vpp).sockets[host.guest].name)
        sub = api.create_vlan_subif(sw_if_index=parent, vlan_id=2).sw_if_index
        api.sw_interface_set_flags(sw_if_index=sub, flags=1)
    before = observed(vpp)
    one_sentence(host.refused("apply", "--port", f"{host.guest}=2+3"), ".2 ", "not ours")
    one_sentence(host.refused("remove", "--all"), ".2 ", "not ours")
    assert observed(vpp) == before


def test_a_bridge_domain_stays_for_what_others_put_there(host, vpp):
    host.apply(*TWO)
    with vpp.client() as api:
        loop = api.create_loopback_instance(is_specified=True, user_instance=77).sw_if_index
        given = {"bd_id": 2, "port_type": 0}
        api.sw_interface_set_l2_bridge(rx_sw_if_index=loop, enable=True, **given)
        host.changed("remove", "--all")
        assert observed(vpp).bridges.keys() == {2}
        api.sw_interface_set_l2_bridge(rx_sw_if_index=loop, enable=False, **given)
    assert host.changed("remove", "--all") == [("remove", "bridge domain 2", "")]


def test_what_was_made_and_not_tagged_any_more_is_taken_up(host, vpp):
    """A run was cut off between the two."""
    host.apply(vlans="2")
    with vpp.client() as api:
        api.create_loopback_instance(is_specified=True, user_instance=3)
        parent = index(api, observed(vpp).sockets[host.guest].name)
        api.create_vlan_subif(sw_if_index=parent, vlan_id=3)
    changed = host.apply(*TWO)
    assert ("tag", "loop3", "") in changed
    assert ("add", "loop3", "") not in changed
    assert ("add", f"{host.guest} VLAN 3", "") not in changed
    assert host.apply(*TWO) == []


def test_what_cannot_be_made_does_not_hold_up_the_rest(host, vpp):
    with vpp.client() as api:
        loop = api.create_loopback_instance(is_specified=True, user_instance=77).sw_if_index
        given = {"sw_if_index": loop, "prefix": "192.168.2.77/24", "del_all": False}
        api.sw_interface_add_del_address(is_add=True, **given)
        lost = f"{host.guest}.no/such.sock"
        err = host.refused(*("apply", "--port", f"{lost}=2", "--port", f"{host.guest}=2+3", *TWO))
        one_sentence(
            err, "add address loop2 192.168.2.1/24", "on another interface", f"add {lost} server"
        )
        found = observed(vpp)
        assert found.sockets.keys() == {host.guest}
        assert found.sockets[host.guest].subs.keys() == {2, 3}
        assert found.loopbacks[3].addresses == ("192.168.3.1/24",)
        api.sw_interface_add_del_address(is_add=False, **given)
    assert host.apply(*TWO) == [
        ("add address", "loop2", "192.168.2.1/24"),
        ("set up", "loop2", ""),
    ]


def test_a_file_in_the_place_of_a_socket_is_not_removed(host):
    Path(host.guest).write_text("precious")
    err = host.refused("apply", "--port", f"{host.guest}=2")
    one_sentence(err, host.guest, "not a socket")
    assert Path(host.guest).read_text() == "precious"


def test_a_vpp_that_was_restarted_gets_it_again(host, vpp):
    made = host.apply(*TWO, "--table", "4")
    before = observed(vpp)
    vpp.kill()
    one_sentence(host.refused("show"), vpp.socket, "start VPP")
    vpp.start()
    assert host.do("show") == []
    assert host.apply(*TWO, "--table", "4") == made
    after = observed(vpp)
    assert (after.bridges, after.tables) == (before.bridges, before.tables)


def test_an_interface_that_goes_meanwhile_is_said_so(vpp, tmp_path):
    desired = Desired((Port(f"{tmp_path}/vm00.sock", (2,)),), (Vlan(2, ("192.168.2.1/24",)),))
    with Vpp(vpp.socket, timeout=30) as api:
        assert not [e for _, e in api.apply(plan.plan(desired, api.observed())) if e]
        wider = Desired((Port(f"{tmp_path}/vm00.sock", (2, 3)),), desired.vlans)
        changes = plan.plan(wider, api.observed())
        with vpp.client() as other:
            socket_index = index(other, api.observed().sockets[f"{tmp_path}/vm00.sock"].name)
            other.delete_vhost_user_if(sw_if_index=socket_index)
        (change, error) = next((c, e) for c, e in api.apply(changes) if e)
        assert change == Change(Verb.ADD, Sub(f"{tmp_path}/vm00.sock", 3))
        assert isinstance(error, Refused)
        one_sentence(str(error), "VLAN 3", "do it again")
        assert not [e for _, e in api.apply(plan.plan(wider, api.observed())) if e]
        assert plan.plan(wider, api.observed()) == []


def test_a_vpp_that_ends_meanwhile_is_unknown(vpp):
    with Vpp(vpp.socket) as api:
        changes = plan.plan(Desired((), (Vlan(2, ("192.168.2.1/24",)),)), api.observed())
        vpp.kill()
        with pytest.raises(Unavailable) as caught:
            list(api.apply(changes))
        one_sentence(str(caught.value), vpp.socket, "see whether VPP runs")
        with pytest.raises(Unavailable):
            api.observed()


@pytest.mark.parametrize(
    ("wrong", "number"),
    [
        (Change(Verb.ADD, Domain(2)), -119),
        (Change(Verb.REMOVE, Domain(2)), -120),
        (Change(Verb.REMOVE, Domain(99)), -6),
        (Change(Verb.ADD, Gateway(2)), -31),
        (Change(Verb.JOIN, Gateway(3), Domain(2)), -152),
        (Change(Verb.ADD, Guest("{guest}"), True), -79),
        (Change(Verb.ADD, Sub("{guest}", 2)), -56),
        (Change(Verb.ADD_ADDRESS, Gateway(3), "192.168.2.9/24"), -105),
        (Change(Verb.ADD_ADDRESS, Gateway(2), "192.168.2.1/24"), -105),
        (Change(Verb.REMOVE_ADDRESS, Gateway(2), "192.168.9.1/24"), -60),
        (Change(Verb.POP, Gateway(2)), -72),
    ],
    ids=str,
)
def test_what_vpp_refuses_is_told(host, vpp, wrong, number):
    host.apply(*TWO)
    if isinstance(wrong.on, Guest):
        wrong = Change(wrong.verb, Guest(host.guest), wrong.value)
    if isinstance(wrong.on, Sub):
        wrong = Change(wrong.verb, Sub(host.guest, wrong.on.vlan), wrong.value)
    with Vpp(vpp.socket, timeout=30) as api:
        api.observed()
        ((change, error),) = api.apply([wrong])
    assert change == wrong
    assert isinstance(error, Refused)
    one_sentence(str(error), str(wrong), f"VPP answers {number}")


DESIRED = st.builds(
    lambda ports, vlans, table, server: (ports, vlans, table, server),
    st.dictionaries(st.integers(0, 2), st.sets(st.integers(2, 5), min_size=1), max_size=3),
    st.dictionaries(st.integers(2, 5), st.sets(st.integers(1, 2), min_size=1), max_size=4),
    st.sampled_from([0, 4, 5]),
    st.booleans(),
)
STEPS = st.lists(st.tuples(DESIRED, st.booleans()), min_size=2, max_size=4)


# An example takes too long for others like it to be tried, to find the shortest.
@settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(STEPS)
def test_whatever_was_there_before_it_comes_to_what_is_wanted(vpp, tmp_path, steps):
    with Vpp(vpp.socket, timeout=30) as api:
        assert not [e for _, e in api.apply(plan.everything(api.observed())) if e]
        for (ports, vlans, table, server), prune in steps:
            desired = Desired(
                tuple(Port(f"{tmp_path}/{n}.sock", tuple(sorted(v))) for n, v in ports.items()),
                tuple(
                    Vlan(v, tuple(f"10.{v}.{n}.1/24" for n in sorted(hosts)))
                    for v, hosts in vlans.items()
                ),
                table,
                server,
            )
            changes = plan.plan(desired, api.observed(), prune=prune)
            assert [(str(c), str(e)) for c, e in api.apply(changes) if e] == []
            assert plan.plan(desired, api.observed(), prune=prune) == []
            if prune:
                assert {n: b.members for n, b in api.observed().bridges.items()} == members(
                    desired, api.observed()
                )
        assert [(str(c), str(e)) for c, e in api.apply(plan.everything(api.observed())) if e] == []
        found = api.observed()
        assert (found.sockets, found.loopbacks, found.bridges) == ({}, {}, {})
        assert OURS not in found.tables.values()


def members(desired, found):
    """Which interface is in which bridge domain, if all is as it is wanted."""
    wanted = {}
    for vlan in desired.vlans:
        wanted.setdefault(vlan.vlan, set()).add(f"loop{vlan.vlan}")
    for port in desired.ports:
        for vlan in port.vlans:
            wanted.setdefault(vlan, set()).add(f"{found.sockets[port.socket].name}.{vlan}")
    return wanted


def listening(path, answer=b""):
    """Something else at a path: it accepts one, says this, and is silent; its socket."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)

    def serve():
        connection, _ = server.accept()
        if answer is None:
            connection.close()
        else:
            connection.sendall(answer)
            connection.recv(1 << 16)
            connection.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    return server


@pytest.mark.parametrize(
    ("answer", "named"),
    [(b"", "no answer"), (b"\0" * 32, "not as VPP's"), (None, "")],
    ids=["silent", "other", "ends"],
)
def test_what_is_no_vpp_is_said_to_be_none(tmp_path, answer, named):
    path = tmp_path / "api.sock"
    with listening(path, answer), pytest.raises(Unavailable) as caught, Vpp(str(path), timeout=0.5):
        pass
    one_sentence(str(caught.value), str(path), named)


def test_nobody_is_there(tmp_path):
    host = Host(tmp_path)
    path = tmp_path / "api.sock"
    status, _, err = host("vpp", "show", "--socket", str(path))
    assert status == 1
    one_sentence(err, str(path), "start VPP", "--socket")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    one_sentence(host("vpp", "show", "--socket", str(path))[2], str(path), "nobody listens")


@pytest.mark.parametrize("arguments", [(), ("--all", "--vlan", "2"), ("--vlan", "2,3")])
def test_what_is_to_be_taken_back_has_to_be_named(tmp_path, arguments):
    status, _, err = Host(tmp_path)("vpp", "remove", *arguments)
    assert status == 1
    one_sentence(err)


def test_the_fake_speaks_as_the_real_one(tmp_path):
    if not installation():
        pytest.skip("SRIOV_TEST_VPP does not name an installation of VPP")
    vpp = Real(tmp_path)
    vpp.start()
    try:
        with vpp.client() as api:
            told = json.loads(api.get_api_json().json)
    finally:
        vpp.kill()
    real = {message[0]: stripped(message) for each in told for message in each["messages"]}
    ours = {message[0]: stripped(message) for message in read()["messages"]}
    assert {name: real.get(name) for name in ours} == ours


def stripped(message):
    """Its fields without their defaults, and its CRC."""
    *fields, last = message[1:]
    return [[part for part in field if not isinstance(part, dict)] for field in fields], last["crc"]


def test_the_script_comes_to_the_same(tmp_path):
    """VPP's own command line takes the script, and has then what the API makes, but for tags."""
    if not installation():
        pytest.skip("SRIOV_TEST_VPP does not name an installation of VPP")
    guest = f"{tmp_path}/vm00.sock"
    given = ("--port", f"{guest}=2+3", "--table", "4", "--vlan", "2=192.168.2.1/24+2001:db8::1/64")
    given += ("--vlan", "3=192.168.3.1/24")
    host, found = Host(tmp_path), []
    for way in ("apply", "script"):
        vpp = Real(tmp_path)
        vpp.start()
        try:
            if way == "apply":
                host.do("vpp", "apply", "--socket", vpp.socket, *given)
            else:
                (tmp_path / "script").write_text(host.do("vpp", "script", *given))
                vpp.ctl("exec", tmp_path / "script")
            found.append(untagged(observed(vpp)))
        finally:
            vpp.kill()
    assert found[0] == found[1]
    assert found[0]["gateways"]


def untagged(found: Observed):
    return {
        "gateways": {
            (n, each.addresses, tuple(each.tables.items()), each.up, each.bridge, each.bvi)
            for n, each in found.loopbacks.items()
        },
        "guests": {
            (path, each.server, each.up, n, sub.vlan, sub.pops, sub.up, sub.bridge)
            for path, each in found.sockets.items()
            for n, sub in each.subs.items()
        },
        "domains": {(n, each.members, each.bvi) for n, each in found.bridges.items()},
        "tables": set(found.tables),
    }
