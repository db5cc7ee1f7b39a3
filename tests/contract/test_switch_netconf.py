# SPDX-License-Identifier: Apache-2.0
"""What the drivers over NETCONF do with a server, beyond what every driver does."""

import socket
import threading
from pathlib import Path

import pytest
from lxml import etree

from sriov_agent.exceptions import ConfigError, Refused, Unavailable
from sriov_agent.fabric.model import Change
from tests.contract.test_switches import changed, patiently, wait_until
from tests.switches.netconfd import JunosRig, OpenConfigRig, oc
from tests.switches.rig import HELD
from tests.switches.sshd import Sshd

PAGE = Path(__file__).parents[2] / "doc/source/reference/switch-netconf.rst"
TRANSACTION = "lock discard-changes get-config edit-config commit get-config unlock".split()


def started(kind, directory):
    if reason := kind.excuse() or kind.missing():
        pytest.skip(reason)
    rig = kind(directory)
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(JunosRig, marks=pytest.mark.switch),
        pytest.param(OpenConfigRig, marks=[] if OpenConfigRig.excuse() else pytest.mark.switch),
    ],
    ids=["junos", "openconfig"],
)
def rig(request, tmp_path_factory):
    yield from started(request.param, tmp_path_factory.mktemp("nc"))


@pytest.fixture
def junos(tmp_path):
    """One whose server is a test's own."""
    yield from started(JunosRig, tmp_path)


@pytest.fixture
def switch(rig):
    for port in rig.trunks:
        rig.put(port, [(100, 100)])
    found = rig.load()
    yield found
    found.close()


def sent(rig, act):
    """The operations that it sends."""
    before = len(rig.sent())
    act()
    return rig.sent()[before:]


def test_a_transaction_sends_no_more_than_it_must(rig, switch):
    (port, _) = rig.trunks
    switch.read([port])
    assert sent(rig, lambda: changed(switch, port, add=range(1001, 1201))) == TRANSACTION
    unchanged = ["lock", "discard-changes", "get-config", "unlock"]
    assert sent(rig, lambda: changed(switch, port, add=[1001])) == unchanged
    assert sent(rig, lambda: switch.read(rig.trunks)) == ["get-config"]


def test_what_it_is_told_of_itself_names_its_capabilities(rig, switch):
    where, can, *_ = switch.describe()
    assert f"leaf1 at 127.0.0.1:{rig.sshd.port}" in where
    assert "candidate" in can


def test_an_edit_that_the_switch_refuses_is_refused_in_its_words_and_undone(rig, switch):
    (port, _) = rig.trunks
    with pytest.raises(
        Refused, match=r"leaf1 at .*: edit-config: '(unknown-element|invalid-value)'"
    ):
        changed(switch, port, add=[15, 5000, 5001])
    assert switch.read([port])[port].vlans == {100}
    assert sent(rig, lambda: changed(switch, port, add=[15])) == TRANSACTION
    assert rig.get(port) == {15, 100}


def test_who_holds_the_switch_is_named(rig, switch):
    (port, _) = rig.trunks
    with rig.fault(HELD), pytest.raises(Unavailable, match=r"lock-denied.*held by session '\d+'"):
        changed(switch, port, add=[15])


def test_what_somebody_left_uncommitted_is_thrown_away(rig, switch):
    port, other = rig.trunks
    rig.edit(rig.trunk(other, [(666, 666)]), commit=False)
    assert changed(switch, port, add=[15]) == {15, 100}
    assert (rig.get(port), rig.get(other)) == ({15, 100}, {100})


@pytest.mark.switch
@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_host_keys_of_other_kinds_are_pinned_too(junos, kind, tmp_path):
    junos.sshd.close()
    settings = [f"Subsystem netconf {junos.filtered}"]
    other = Sshd(tmp_path / "other", *settings, host_key_type=kind, port=junos.sshd.port)
    other.start()
    try:
        assert kind in other.host_key.split()[0]
        with pytest.raises((Refused, Unavailable), match="host key"):
            junos.load(key_file=other.key_file).read(["xe-0/0/1"])
        switch = junos.load(key_file=other.key_file, host_key=other.host_key)
        assert set(switch.read(["xe-0/0/1"])) == {"xe-0/0/1"}
    finally:
        other.close()


class WritableRunning(JunosRig):
    """A server without a candidate."""

    def start(self):
        self._command[1] = "--target=running"
        super().start()

    def ports(self):
        return []


@pytest.mark.switch
def test_a_server_without_candidate_is_refused(tmp_path):
    for rig in started(WritableRunning, tmp_path):
        switch = rig.load()
        assert switch.read(["xe-0/0/1"]) == {}
        with pytest.raises(Refused, match=r"leaf1.*candidate"):
            switch.apply(["xe-0/0/1"], lambda ports: {})
        assert any("candidate" in line and "no" in line for line in switch.describe())
        switch.close()


@pytest.mark.switch
def test_a_switch_that_restarts_is_found_again(junos):
    (port, _) = junos.trunks
    switch = junos.load()
    changed(switch, port, add=[15])
    junos.cut()
    junos.sshd.close()
    with pytest.raises(Unavailable, match="leaf1 at"):
        switch.read([port])
    junos.sshd.start()
    assert patiently(lambda: switch.read([port]))[port].vlans == {15}


def test_a_peer_that_says_nothing_is_not_waited_for(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        switch = JunosRig(tmp_path).load(port=silent.getsockname()[1], timeout=1.0)
        with pytest.raises(Unavailable, match="leaf1 at 127"):
            switch.read(["xe-0/0/1"])


@pytest.mark.switch
def test_a_server_that_stops_after_the_login_is_not_waited_for(junos, tmp_path):
    mute = Sshd(tmp_path / "mute", "Subsystem netconf /bin/sleep 1000")
    mute.start()
    try:
        login = {"port": mute.port, "key_file": mute.key_file, "host_key": mute.host_key}
        with pytest.raises(Unavailable, match="leaf1 at 127"):
            junos.load(**login, timeout=3.0).read(["xe-0/0/1"])
    finally:
        mute.close()


def test_what_is_needed_to_log_in_is_asked_for(tmp_path):
    rig = JunosRig(tmp_path)
    for changes, option in (
        ({"username": ""}, "username"),
        ({"key_file": None}, "key_file"),
        ({"host_key": "ssh-dss AAAA"}, "host_key"),
    ):
        with pytest.raises(ConfigError, match=rf"\[switch:leaf1\] {option}"):
            rig.load(**changes)
    missing = rig.load(key_file=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"\[switch:leaf1\] key_file.*nowhere"):
        missing.read(["xe-0/0/1"])


@pytest.mark.switch
def test_a_vlan_that_was_not_defined_is_and_stays(junos):
    def defined():
        data = junos._manager.get_config("running").data_ele
        return {name.text for name in data.iterfind(".//{*}vlans/{*}vlan/{*}name")}

    port, other = junos.trunks
    switch = junos.load()
    assert switch.apply(
        junos.trunks,
        lambda ports: {
            port: Change(add=frozenset({15, 100})),
            other: Change(add=frozenset({15})),
        },
    ).after[other].vlans == {15}
    assert defined() == {"access", "storage", "sriov-15"}
    assert changed(switch, port, remove=[15]) == {100}
    assert defined() == {"access", "storage", "sriov-15"}
    assert junos.get(other) == {15}


@pytest.mark.switch
def test_logins_leave_no_thread_behind(junos):
    switch = junos.load()
    switch.read(["xe-0/0/1"])
    switch.close()
    before = threading.active_count()
    for _ in range(5):
        switch.read(["xe-0/0/1"])
        switch.close()
    wait_until(lambda: threading.active_count() <= before)


def documented_role():
    """The NACM configuration that the documentation has for an account."""
    text = PAGE.read_text().partition(".. code-block:: xml")[2]
    return etree.fromstring(text[: text.index("</nacm>") + len("</nacm>")].strip())


@pytest.mark.skipif(bool(OpenConfigRig.excuse()), reason=OpenConfigRig.excuse())
def test_the_documented_role_is_enough_and_no_more(tmp_path):
    for rig in started(OpenConfigRig, tmp_path):
        rig.edit(documented_role())
        (rig.directory / "user").write_text("sriov")
        (port, _), (member, _) = rig.trunks, rig.lag
        rig.put(port, [(90, 110)])
        rig.put(rig.lag[1], [(100, 100)])
        switch = rig.load()
        assert changed(switch, port, add=[15], remove=[100]) == {15, *range(90, 111)} - {100}
        assert changed(switch, member, add=[15]) == {15, 100}
        renamed = oc.interfaces(oc.interface(oc.name(port), oc.config(oc.description("mine"))))
        with switch._session.locked(), pytest.raises(Refused, match="access-denied"):
            switch._session.edit(renamed, "merge")
        assert changed(switch, port, add=[16]) == {15, 16, *range(90, 111)} - {100}
        switch.close()
