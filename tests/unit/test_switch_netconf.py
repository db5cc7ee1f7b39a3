# SPDX-License-Identifier: Apache-2.0
"""What is pure in the session that both NETCONF drivers have."""

import base64

import pytest

from sriov_agent.exceptions import ConfigError
from sriov_agent.fabric.switch.base import Login
from sriov_agent.fabric.switch.host_key import host_key
from sriov_agent.fabric.switch.netconf import entry

ED25519 = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + bytes(range(32))


def login(text):
    return Login(name="leaf1", address="192.0.2.11", username="sriov", host_key=text)


class Offered:
    """The key that a server has, as paramiko shows it."""

    def __init__(self, blob):
        self.asbytes = lambda: blob


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("100", (100, 100)),
        ("90..110", (90, 110)),
        ("90-110", (90, 110)),
        ("", None),
        ("all", None),
        ("90..", None),
        ("1.2", None),
        ("100\n", None),
        ("\u0661", None),
    ],
)
def test_an_entry_is_a_vlan_or_a_range(text, found):
    assert entry(text) == found


@pytest.mark.parametrize("comment", ["", " root@leaf1"])
def test_one_key_is_believed(comment):
    text = f"ssh-ed25519 {base64.b64encode(ED25519).decode()}{comment}"
    pinned = host_key(login(text))
    assert pinned.check("192.0.2.11", Offered(ED25519))
    assert not pinned.check("192.0.2.11", Offered(ED25519[:-1] + b"\x00"))
    assert list(pinned.lookup("192.0.2.11")) == ["ssh-ed25519"]


def test_an_rsa_key_is_not_proven_by_sha1():
    blob = base64.b64encode(b"\x00\x00\x00\x07ssh-rsa\x00\x00\x00\x03\x01\x00\x01").decode()
    assert list(host_key(login(f"ssh-rsa {blob}")).lookup("")) == ["rsa-sha2-512", "rsa-sha2-256"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "ssh-ed25519",
        "ssh-ed25519 &&&&",
        "ssh-ed25519 AAAA",
        "ssh-rsa " + base64.b64encode(ED25519).decode(),
        "ssh-ed25519 " + base64.b64encode(ED25519[:15]).decode(),
        "leaf1 ssh-ed25519 " + base64.b64encode(ED25519).decode(),
        "ssh-dss AAAAB3NzaC1kc3MAAACB",
    ],
)
def test_what_is_no_key_is_the_operators_to_mend(text):
    with pytest.raises(ConfigError, match=r"\[switch:leaf1\] host_key"):
        host_key(login(text))
