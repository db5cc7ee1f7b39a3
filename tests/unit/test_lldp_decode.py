# SPDX-License-Identifier: Apache-2.0
"""``sriov-lldp-discover --decode``."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.cmd.lldp_decode import decoded
from sriov_agent.cmd.lldp_discover import ONE, USAGE, main
from sriov_agent.exceptions import InvalidField
from tests.unit.test_lldp_frame import CHASSIS, FRAMES, PORT, TTL, frame, sample, tlv

QFX1 = """\
Source  02:00:00:00:00:10
Chassis mac 2c:6b:f5:00:aa:c0
Port    local 516
Descr   xe-0/0/10
Name    qfx1"""
ARP = bytes(12) + b"\x08\x06" + bytes(46)


def pcap(*frames, order="<", magic=0xA1B2C3D4):
    head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    packets = (struct.pack(f"{order}IIII", 0, 0, len(f), len(f)) + f for f in frames)
    return head + b"".join(packets)


@pytest.fixture
def file(tmp_path):
    def write(data):
        (tmp_path / "capture").write_bytes(data)
        return str(tmp_path / "capture")

    return write


def test_a_frame_in_hex_is_explained(capsys):
    assert main(["--decode", str(FRAMES / "junos.hex")]) == ONE
    said = capsys.readouterr().out
    assert said.startswith(QFX1)
    assert said.endswith("VLANs   15 vlan-15\nPVID    15\nLAG     602\n")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_every_frame_of_a_pcap_file_is_explained(file, order, magic):
    said = decoded(file(pcap(sample("eos"), sample("junos"), order=order, magic=magic)))
    first, second = said.split("\n\n")
    assert "leaf3.example.com" in first
    assert second.startswith(QFX1)


def test_what_else_was_captured_is_only_counted(file):
    said = decoded(file(pcap(ARP, sample("junos"), ARP)))
    assert said.startswith(QFX1)
    assert said.endswith("\n\n2 more frames, of which the first: frame 'ethertype 0x0806': "
                         "no LLDP frame")  # fmt: skip


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no frame in it"),
        (pcap(), "no frame in it"),
        (pcap(ARP), "no LLDP frame"),
        (b"not hex", "neither hex nor pcap"),
        (bytes.fromhex("0a0d0d0a00"), "editcap -F pcap"),
        (sample("junos")[:60].hex().encode(), "cut short"),
    ],
)
def test_what_cannot_be_explained_is_named(file, capsys, data, why):
    assert main(["--decode", file(data)]) == USAGE
    assert why in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["--decode", str(tmp_path / "nothing")]) == USAGE
    assert "No such file" in capsys.readouterr().err


@given(st.binary(max_size=200))
def test_whatever_is_in_the_file_nothing_reaches_the_terminal_raw(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("decode") / "capture"
    for attempt in (data, pcap(data), pcap(frame(CHASSIS, PORT, TTL, tlv(5, data[:500])))):
        path.write_bytes(attempt)
        try:
            said = decoded(str(path))
        except InvalidField as error:
            said = str(error)
        assert all(line.isprintable() for line in said.split("\n"))
