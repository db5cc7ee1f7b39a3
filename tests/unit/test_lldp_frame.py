# SPDX-License-Identifier: Apache-2.0
"""The decoder of LLDP frames: what switches send, and what nobody should."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.core.lldp import cabling, port_name
from sriov_agent.core.model import LldpId
from sriov_agent.exceptions import InvalidField
from sriov_agent.host.lldp.frame import read_frame
from tests.frozen import replace

FRAMES = Path(__file__).parents[1] / "samples/lldp/frames"
PF = "0000:3b:00.0"
PF_MAC = "02:00:00:00:00:01"


def sample(name):
    return bytes.fromhex((FRAMES / f"{name}.hex").read_text())


def tlv(kind, value):
    return ((kind << 9) | len(value)).to_bytes(2, "big") + value


def frame(*tlvs, ethertype=b"\x88\xcc"):
    header = bytes.fromhex("0180c200000e") + bytes.fromhex("020000000099") + ethertype
    return header + b"".join(tlvs)


CHASSIS = tlv(1, b"\x04" + bytes.fromhex("525400bb0001"))
PORT = tlv(2, b"\x05swp1")
TTL = tlv(3, b"\x00\x78")


@pytest.mark.parametrize(
    ("name", "chassis", "port", "system", "known_as"),
    [
        ("junos", ("mac", "2c:6b:f5:00:aa:c0"), ("local", "516"), "qfx1", "xe-0/0/10"),
        ("ios", ("mac", "00:1b:54:c2:4a:80"), ("ifname", "Gi1/0/24"), "sw1.example.com", None),
        ("eos", ("mac", "28:99:3a:aa:bb:cc"), ("ifname", "Ethernet10"), "leaf3.example.com", None),
        ("nxos", ("mac", "00:2a:6a:11:22:33"), ("ifname", "Ethernet1/10"), "n9k-1", None),
        ("cumulus", ("mac", "44:38:39:00:00:01"), ("ifname", "swp10"), "cumulus1", None),
        ("macport", ("mac", "44:38:39:00:01:01"), ("mac", "44:38:39:00:01:02"), "linuxsw", "swp3"),
        ("chip", ("ip", "192.0.2.99"), ("ip", "192.0.2.98"), "ipch", None),
        (
            "chlocal",
            ("local", "leaf-serial-XYZ"),
            ("unhandled", "63 69 72 63 75 69 74 2D 39"),
            "localch",
            None,
        ),
        ("min", ("mac", "02:00:00:00:00:77"), ("ifname", "p1"), "", None),
    ],
)
def test_what_switches_announce(name, chassis, port, system, known_as):
    neighbor = read_frame(sample(name))
    assert neighbor.chassis_id == LldpId(*chassis)
    assert neighbor.port_id == LldpId(*port)
    assert neighbor.system_name == system
    assert port_name(neighbor.port_id, neighbor.port_description) == (known_as or port[1])
    assert (neighbor.ttl, neighbor.tagged) == (120, False)


def test_addresses_and_capabilities():
    neighbor = read_frame(sample("eos"))
    assert neighbor.management_addresses == ("192.0.2.14", "2001:db8::14")
    assert neighbor.capabilities == {"Bridge", "Router"}


def test_a_shutdown_frame_has_no_time_to_live():
    assert read_frame(sample("nxos-shutdown-ttl0")).ttl == 0


def test_free_text_in_the_description_is_no_port_name():
    assert port_name(LldpId("local", "516"), "uplink to rack 4") == "516"
    assert port_name(LldpId("local", "fortyGigE0/4"), "to compute1") == "fortyGigE0/4"


def test_a_tag_in_the_frame_or_taken_off_by_the_nic_is_told():
    inner = frame(CHASSIS, PORT, TTL)
    assert read_frame(inner, tagged=True).tagged
    assert read_frame(inner[:12] + b"\x81\x00\x00\x0f" + inner[12:]).tagged


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        frame(CHASSIS, PORT, TTL)[:-1],
        frame(CHASSIS, PORT),
        frame(PORT, CHASSIS, TTL),
        frame(CHASSIS, PORT, tlv(3, b"\x01")),
        frame(tlv(1, b"\x04"), PORT, TTL),
        frame(CHASSIS, PORT, TTL, ethertype=b"\x08\x00"),
        frame(CHASSIS, PORT, TTL, b"\xfe"),
    ],
)
def test_what_is_cut_short_or_out_of_order_is_refused(bad):
    with pytest.raises(InvalidField):
        read_frame(bad)


def test_what_follows_the_end_is_padding():
    padded = frame(CHASSIS, PORT, TTL, tlv(0, b""), b"\xff" * 30)
    assert read_frame(padded).port_id == LldpId("ifname", "swp1")


def test_the_first_of_two_names_counts():
    twice = frame(CHASSIS, PORT, TTL, tlv(5, b"leaf1"), tlv(5, b"leaf2"))
    assert read_frame(twice).system_name == "leaf1"


@given(st.binary(max_size=600))
def test_no_frame_breaks_the_decoder(data):
    for attempt in (data, frame(data), frame(CHASSIS, PORT, TTL, data)):
        try:
            said = repr(read_frame(attempt))
        except InvalidField as error:
            said = str(error)
        assert said.isprintable()


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_name_reaches_the_terminal_raw(name, port):
    neighbor = read_frame(frame(CHASSIS, tlv(2, b"\x05x" + port), TTL, tlv(5, name)))
    other = read_frame(frame(CHASSIS, PORT, TTL, tlv(5, name)))
    said = cabling(PF, [neighbor, other], frozenset()).reason
    assert said.isprintable()


def test_a_frame_from_a_local_vf_is_refused_and_the_switch_stays_the_answer():
    switch = read_frame(sample("nxos"))
    forged = replace(read_frame(sample("spoof")), source_mac="02:00:00:00:00:42")
    found = cabling(PF, [forged, switch], frozenset(), frozenset({PF_MAC, forged.source_mac}))
    assert found.switch_port.port_id == LldpId("ifname", "Ethernet1/10")
    alone = cabling(PF, [forged], frozenset(), frozenset({forged.source_mac}))
    assert "a PF or VF of this host" in alone.reason
    assert cabling(PF, [forged, switch], frozenset()).reason.startswith("ambiguous")


def test_only_allowed_switches_are_believed():
    switch = read_frame(sample("nxos"))
    for allowed in ("n9k-1", "00:2a:6a:11:22:33"):
        assert cabling(PF, [switch], frozenset(), allowed=frozenset({allowed})).switch_port
    refused = cabling(PF, [switch], frozenset(), allowed=frozenset({"leaf1"}))
    assert refused.switch_port is None
    assert "not among the allowed switches" in refused.reason
