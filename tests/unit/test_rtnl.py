# SPDX-License-Identifier: Apache-2.0
import errno
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.core.model import RELEASED, LinkState, VfSettings
from sriov_agent.exceptions import Unavailable
from sriov_agent.host import rtnl
from tests.fakes.rtnetlink import RTM_NEWLINK, attribute, message, newlink, vf_info
from tests.frozen import replace
from tests.worlds import vf_settings

UNKNOWN = rtnl.Link(index=3, name="ens1", mac="52:54:00:aa:00:01", carrier=True)


def distinct(count: int) -> list[VfSettings]:
    """So many VFs, no two of them alike."""
    return [
        replace(RELEASED, mac=f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}", vlan=i, max_tx_rate=i)
        for i in range(count)
    ]


def test_a_device_without_vfs():
    assert rtnl.read_link(newlink()) == UNKNOWN
    assert UNKNOWN.all_vfs() == ()


def test_the_administrative_state_is_not_the_links():
    seen = [rtnl.read_link(newlink(flags=flags)) for flags in (0x1002, 0x1003, 0x11043)]
    assert [(link.up, link.carrier) for link in seen] == [
        (False, False),
        (True, False),
        (True, True),
    ]


def test_a_bond_and_its_member():
    assert rtnl.read_link(newlink(kind="bond")).kind == "bond"
    assert rtnl.read_link(newlink(master=9)).master == 9


@pytest.mark.parametrize("count", [1, 7, 255, 256, 333, 334, 1024])
def test_every_vf_is_read_also_where_the_lists_length_has_wrapped(count):
    link = rtnl.read_link(newlink(vfs=distinct(count)))

    assert link.num_vfs == count
    assert list(link.all_vfs()) == distinct(count)
    assert (link.name, link.mac) == ("ens1", "52:54:00:aa:00:01")


def test_the_lists_length_does_wrap_with_1024_vfs():
    data = newlink(vfs=distinct(1024))
    at = data.index(struct.pack("=H", 22), data.index(struct.pack("=HHI", 8, 21, 1024)) + 8) - 2
    (length,) = struct.unpack_from("=H", data, at)
    assert length < 1024 * len(vf_info(0, RELEASED)) == len(data) - at - 4 - 12


@given(st.lists(vf_settings(shared=True), max_size=5))
def test_every_setting_is_read(vfs):
    assert list(rtnl.read_link(newlink(vfs=vfs)).all_vfs()) == vfs


def test_what_the_driver_does_not_tell_is_not_listed():
    [seen] = rtnl.read_link(newlink(vfs=[replace(RELEASED, spoofchk=None, trust=None)])).all_vfs()
    assert (seen.spoofchk, seen.trust) == (None, None)
    assert seen.link_state == LinkState.AUTO


@pytest.mark.parametrize(("value", "read"), [(0, False), (1, True), (2, True)])
def test_a_flag_that_is_known_is_off_or_on(value, read):
    entry = attribute(1, attribute(4, struct.pack("=II", 0, value)))
    [vf] = rtnl.read_link(one_vf(entry)).all_vfs()
    assert vf == VfSettings(spoofchk=read)


def one_vf(entry: bytes, num_vfs: int = 1) -> bytes:
    """A PF with this one entry in its list, and an attribute after it."""
    body = struct.pack("=BxHiII", 0, 1, 3, 0, 0)
    body += attribute(21, struct.pack("=I", num_vfs)) + attribute(22, entry)
    return message(RTM_NEWLINK, body + attribute(54, bytes.fromhex("525400aa00ff")))


def test_a_link_state_that_does_not_exist_is_unavailable():
    entry = attribute(1, attribute(5, struct.pack("=II", 0, len(LinkState))))
    with pytest.raises(Unavailable):
        rtnl.read_link(one_vf(entry))


@pytest.mark.parametrize("length", [0, 3])
def test_an_entry_without_a_length_ends_the_list_however_many_there_should_be(length):
    link = rtnl.read_link(one_vf(struct.pack("=HHI", length, 1, 0), num_vfs=100_000))
    with pytest.raises(Unavailable, match="0 of 100000"):
        link.all_vfs()


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_unavailable(noise):
    assert len(list(rtnl.messages(noise))) <= len(noise) // 16
    try:
        link = rtnl.read_link(noise)
    except Unavailable:
        return
    assert len(link.vfs) <= len(noise) // 4


@pytest.mark.parametrize("listed", [0, 6, 255])
def test_fewer_vfs_than_there_are_is_unknown_and_not_empty(listed):
    link = rtnl.read_link(newlink(vfs=distinct(listed), num_vf=listed + 1))
    with pytest.raises(Unavailable, match=f"ens1: the kernel listed {listed} of {listed + 1} VFs"):
        link.all_vfs()


@given(st.integers(0, 6), st.data())
def test_a_message_cut_short_is_unavailable(count, data):
    whole = newlink(vfs=distinct(count))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(Unavailable):
        rtnl.read_link(whole[:cut])


@given(st.lists(vf_settings(shared=True), max_size=3), st.data())
def test_a_garbled_message_is_read_or_unavailable(vfs, data):
    garbled = bytearray(newlink(vfs=vfs))
    for _ in range(data.draw(st.integers(1, 4))):
        garbled[data.draw(st.integers(16, len(garbled) - 1))] = data.draw(st.integers(0, 255))
    try:
        link = rtnl.read_link(bytes(garbled))
        link.all_vfs()
    except Unavailable:
        return
    assert len(link.vfs) == link.num_vfs <= len(garbled)


def test_the_permanent_address_is_the_pfs_own():
    link = rtnl.read_link(newlink(mac="02:00:00:00:00:01", permanent="52:54:00:aa:00:01"))
    assert link.mac == "52:54:00:aa:00:01"


@pytest.mark.parametrize(("flags", "carrier"), [(0x11043, True), (0x1003, False)])
def test_carrier_is_lower_up(flags, carrier):
    assert rtnl.read_link(newlink(flags=flags)).carrier is carrier


@pytest.mark.parametrize(("name", "shown"), [("br-\u00e4", "br-\u00e4"), ("a" * 15, "a" * 15)])
def test_names(name, shown):
    assert rtnl.read_link(newlink(name=name)).name == shown


def test_a_datagram_holds_several_messages():
    links = [newlink(name=name) for name in ("lo", "ens1", "a-name-of-five")]
    done = message(rtnl.NLMSG_DONE, bytes(4))
    found = list(rtnl.messages(b"".join([*links, done])))
    assert found[:3] == [(RTM_NEWLINK, False, link) for link in links]
    assert found[3][0] == rtnl.NLMSG_DONE


def test_an_interrupted_dump_is_told():
    [(_, interrupted, _)] = rtnl.messages(message(RTM_NEWLINK, b"", flags=0x12))
    assert interrupted


@pytest.mark.parametrize("data", [b"", bytes(15), bytes(16), struct.pack("=IHHII", 8, 16, 0, 0, 0)])
def test_what_is_no_message_ends_the_datagram(data):
    assert list(rtnl.messages(data)) == []


def test_an_error_is_an_errno():
    refused = message(rtnl.NLMSG_ERROR, struct.pack("=i", -errno.EPERM) + bytes(16))
    assert os.strerror(rtnl.error_code(refused)) == "Operation not permitted"


def test_the_dump_asks_for_vfs_without_statistics():
    [(kind, _, request)] = rtnl.messages(rtnl.dump_request())
    assert kind == 18
    assert request.endswith(attribute(29, struct.pack("=I", 1 | 8)))
    (flags,) = struct.unpack_from("=H", request, 6)
    assert flags == 0x301
