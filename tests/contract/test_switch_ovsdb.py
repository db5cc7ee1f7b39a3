# SPDX-License-Identifier: Apache-2.0
"""What is particular to ``ovsdb``, on a real Open vSwitch with a data plane."""

import contextlib
import datetime
import json
import socket
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sriov_agent.exceptions import ConfigError, Refused, Unavailable
from sriov_agent.fabric.model import Change, PortVlans
from sriov_agent.fabric.switch.base import Login
from sriov_agent.fabric.switch.ovsdb import Ovsdb
from tests.switches import openvswitch
from tests.switches.openvswitch import OpenVswitch

pytestmark = pytest.mark.switch
PORT = "swp1"


@pytest.fixture(scope="module")
def ovs(tmp_path_factory):
    if reason := openvswitch.missing():
        pytest.skip(reason)
    with contextlib.closing(OpenVswitch(tmp_path_factory.mktemp("ovs"))) as found:
        found.start()
        found.add_port(PORT, "vlan_mode=trunk", "trunks=2")
        yield found


@pytest.fixture
def port(ovs):
    """The name of a trunk with VLAN 2."""
    ovs.vsctl("clear", "port", PORT, "tag", "--", "set", "port", PORT, "vlan_mode=trunk")
    ovs.put(PORT, [(2, 2)])
    return PORT


def driver(ovs, files=None, **settings):
    if files is not None:
        options = {name: files[name] for name in ("ca_file", "cert_file")}
        settings |= {"options": options, "key_file": files["key_file"]}
    return Ovsdb(Login(name="leaf1", **{"address": f"tcp:127.0.0.1:{ovs.port}"} | settings))


def change(switch, port, add=(), remove=()):
    made = Change(add=frozenset(add), remove=frozenset(remove))
    return switch.apply([port], lambda ports: {port: made})


def test_frames_of_a_vlan_pass_from_when_it_is_seen(ovs, port):
    switch = driver(ovs)
    assert not ovs.passes(100, port)
    assert change(switch, port, add=[100]).after[port].vlans == {2, 100}
    assert ovs.passes(100, port)
    assert not ovs.passes(200, port)
    change(switch, port, remove=[100])
    assert not ovs.passes(100, port)


def test_the_last_vlan_stays_and_no_other_passes(ovs, port):
    switch = driver(ovs)
    with pytest.raises(Refused, match="all"):
        change(switch, port, remove=[2])
    assert not ovs.passes(200, port)
    ovs.put(port, None)
    assert ovs.passes(200, port), "an empty list is no longer open to all: the rule may go"
    assert switch.read([port])[port] == PortVlans(every=True)


@pytest.mark.parametrize(
    ("settings", "carried"),
    [
        ("vlan_mode=trunk trunks=[0,5,4095]", PortVlans(vlans=frozenset({5}))),
        ("vlan_mode=trunk trunks=[] tag=7", PortVlans(every=True)),
        ("vlan_mode=[] tag=[] trunks=5", PortVlans(vlans=frozenset({5}))),
        ("vlan_mode=[] tag=7 trunks=5", PortVlans(trunk=False, native=7)),
        ("vlan_mode=access tag=7 trunks=5", PortVlans(trunk=False, native=7)),
        ("vlan_mode=dot1q-tunnel tag=7 trunks=5", PortVlans(trunk=False, native=7)),
        ("vlan_mode=native-tagged tag=7 trunks=5", PortVlans(native=7, vlans=frozenset({5, 7}))),
        ("vlan_mode=native-untagged tag=7 trunks=5,7", PortVlans(native=7, vlans=frozenset({5}))),
        ("vlan_mode=native-untagged tag=7 trunks=[]", PortVlans(native=7, every=True)),
    ],
)
def test_the_modes_of_a_port(ovs, port, settings, carried):
    ovs.vsctl("set", "port", port, *settings.split())
    assert driver(ovs).read([port]) == {port: carried}


def test_the_native_vlan_does_not_stand_for_the_list(ovs, port):
    ovs.vsctl("set", "port", port, "vlan_mode=native-tagged", "tag=7")
    with pytest.raises(Refused, match="all"):
        change(driver(ovs), port, remove=[2])
    assert ovs.get(port) == {2}


def test_a_port_that_changed_after_it_was_read_is_left(ovs, port):
    """Else the last VLAN of a trunk goes: one of two by us, one by somebody else."""
    ovs.put(port, [(2, 2), (100, 100)])

    def decide(ports):
        ovs.put(port, [(100, 100)])
        return {port: Change(remove=frozenset({100}))}

    with pytest.raises(Unavailable, match="somebody else"):
        driver(ovs).apply([port], decide)
    assert ovs.get(port) == {100}


def test_a_vlan_out_of_range_is_refused_and_not_left_out(ovs, port):
    with pytest.raises(Refused, match="constraint"):
        change(driver(ovs), port, add=[100, 5000])
    assert ovs.get(port) == {2}


def test_what_ovs_vswitchd_has_not_taken_is_not_seen(ovs, port):
    switch = driver(ovs, timeout=1.0)
    ovs.stop("ovs-vswitchd")
    try:
        with pytest.raises(Unavailable, match="ovs-vswitchd"):
            change(switch, port, add=[100])
        with pytest.raises(Unavailable, match="ovs-vswitchd"):
            switch.read([port])
    finally:
        ovs.start_vswitchd()
    assert driver(ovs).read([port])[port].vlans == {2, 100}


def test_each_kind_of_address(ovs, port):
    for settings in (
        {"address": f"unix:{ovs.socket}"},
        {"address": f"tcp:localhost:{ovs.port}"},
        {"address": "127.0.0.1", "port": ovs.port},
    ):
        assert set(driver(ovs, **settings).read([port])) == {port}


@pytest.mark.parametrize("address", ["tcp:", "tcp:leaf1", "tcp:leaf1:x", "ssl:6640"])
def test_an_address_that_is_none_is_the_operators_to_mend(ovs, address):
    with pytest.raises(ConfigError, match=r"\[switch:leaf1\] address"):
        driver(ovs, address=address)


class Authority:
    """Signs certificates; all that it makes are files of ``directory``."""

    def __init__(self, directory):
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        directory.mkdir()
        self.sign("ca", self.key.public_key())

    def sign(self, name, public_key):
        path = self.directory / f"{name}.crt"
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")]))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def files(self, name):
        """What the driver needs of who has a certificate of this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        path = self.directory / f"{name}.key"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        certificate = self.sign(name, key.public_key())
        return {
            "ca_file": str(self.directory / "ca.crt"),
            "cert_file": str(certificate),
            "key_file": str(path),
        }


def test_tls_lets_in_who_the_authority_knows(ovs, port, tmp_path):
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    address = f"ssl:127.0.0.1:{ovs.listen_tls(ours.files('leaf1'))}"
    manager = ours.files("manager")
    assert set(driver(ovs, address=address, files=manager).read([port])) == {port}
    for files in (manager | {"ca_file": theirs.files("x")["ca_file"]}, theirs.files("manager")):
        with pytest.raises(Unavailable, match="leaf1"):
            driver(ovs, address=address, files=files).read([port])


def test_tls_needs_its_files(ovs, tmp_path):
    files = dict.fromkeys(["ca_file", "cert_file", "key_file"], str(tmp_path / "nosuch.pem"))
    with pytest.raises(ConfigError, match=r"\[switch:leaf1\] .*nosuch"):
        driver(ovs, address="ssl:leaf1:6640", files=files)
    for name in files:
        with pytest.raises(ConfigError, match=rf"\[switch:leaf1\] {name}"):
            driver(ovs, address="ssl:leaf1:6640", files={**files, name: ""})


@pytest.fixture
def answering():
    """A server that answers each request with the next of these, byte strings sent one by one."""
    with contextlib.ExitStack() as stack:

        def answering(*answers):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve():
                with contextlib.suppress(OSError), listener.accept()[0] as client:
                    for pieces in answers:
                        client.recv(1 << 16)
                        for piece in pieces:
                            client.sendall(piece)
                    client.recv(1)

            threading.Thread(target=serve, daemon=True).start()
            return Login(
                name="leaf1", address="127.0.0.1", port=listener.getsockname()[1], timeout=0.5
            )

        yield answering


NONE = ["set", []]
ANSWER = {
    "id": 1,
    "error": None,
    "result": [
        {"rows": [{"cur_cfg": 3, "next_cfg": 3}]},
        {"rows": [{"name": "p}", "interfaces": NONE, "vlan_mode": NONE, "tag": NONE, "trunks": 5}]},
        {"rows": []},
    ],
}


def test_an_answer_comes_in_pieces_and_between_others(answering):
    echo = json.dumps({"id": "echo", "method": "echo", "params": []}).encode()
    other = json.dumps({"id": None, "method": "update", "params": ["\u00e4"]}, ensure_ascii=False)
    everything = other.encode() + json.dumps(ANSWER).encode()
    pieces = [everything[at : at + 7] for at in range(0, len(everything), 7)]
    switch = Ovsdb(answering([echo], pieces))
    assert switch.read(["swp1"]) == {}


@pytest.mark.parametrize(
    "pieces",
    [[], [b"SSH-2.0-OpenSSH_9.2\r\n"], [b'{"id": 1'], [b'{"id": 9, "result": []}'], [b"}"]],
)
def test_what_is_no_answer_is_not_waited_for(answering, pieces):
    with pytest.raises(Unavailable, match=r"leaf1 \(127"):
        Ovsdb(answering(pieces)).read(["swp1"])


def test_rows_that_are_none_are_not_believed(answering):
    answer = ANSWER | {"result": [{"rows": [{}]}, {"rows": [{"name": 7}]}, {}]}
    with pytest.raises(Unavailable, match="not as Open vSwitch"):
        Ovsdb(answering([json.dumps(answer).encode()])).read(["swp1"])


def test_a_database_that_is_none_says_so(answering):
    answer = {"id": 1, "result": None, "error": {"error": "unknown database", "syntax": "\x1b["}}
    with pytest.raises(Refused, match="unknown database"):
        Ovsdb(answering([json.dumps(answer).encode()])).read(["swp1"])
