# SPDX-License-Identifier: Apache-2.0
"""The listener on uplinks, over datagram sockets in the place of packet sockets."""

import contextlib
import functools
import queue
import socket

import pytest

from sriov_agent.core.model import Uplink
from sriov_agent.exceptions import Unavailable
from sriov_agent.host.lldp.raw import MAX_NEIGHBORS, Raw
from tests import waiting
from tests.frozen import replace
from tests.unit.test_lldp_frame import CHASSIS, PORT, TTL, frame, tlv

LO = Uplink(address="0000:3b:00.0", netdev="lo", mac="52:54:00:aa:00:01", carrier=True)
AT = LO.address
UPLINKS = {AT: LO}
LEAF = frame(CHASSIS, PORT, TTL, tlv(5, b"leaf1"))
#: Far above what anything here takes.
SECONDS = 60


class Wire:
    """What is plugged into the uplink, as often as it is opened; ``cut``: that is refused."""

    def __init__(self):
        self.ends = []
        self.cut = ""
        self.changes = queue.SimpleQueue()
        self.raws = []

    def open(self, netdev, index):
        if self.cut:
            raise Unavailable(self.cut)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        self.ends.append(theirs)
        return ours

    def send(self, *frames):
        for data in frames:
            self.ends[-1].send(data)

    def raw(self, window=0.0):
        raw = Raw(window, self.open)
        raw.start(lambda: self.changes.put(True))
        self.raws.append(raw)
        return raw

    def close(self):
        for raw in self.raws:
            raw.stop()
        for end in self.ends:
            end.close()


@pytest.fixture
def wire():
    with contextlib.closing(Wire()) as wire:
        yield wire


until = functools.partial(waiting.until, patience=SECONDS)


def names(raw):
    return [neighbor.system_name for neighbor in raw.hear(UPLINKS).neighbors[AT]]


def test_a_frame_is_heard_and_told(wire):
    raw = wire.raw()
    assert raw.hear(UPLINKS).neighbors == {AT: ()}
    wire.changes.get(timeout=SECONDS)
    wire.send(LEAF)
    wire.changes.get(timeout=SECONDS)
    [leaf] = raw.hear(UPLINKS).neighbors[AT]
    assert (leaf.system_name, leaf.source, leaf.age, leaf.ttl) == ("leaf1", "raw", 0, 120)
    assert leaf.source_mac == LEAF[6:12].hex(":")


def test_until_the_window_is_over_nothing_counts_but_as_a_witness(wire):
    raw = wire.raw(window=SECONDS)
    raw.hear(UPLINKS)
    wire.send(LEAF)
    until(lambda: raw.frames(UPLINKS)[AT])
    heard = raw.hear(UPLINKS)
    assert heard.neighbors == {}
    assert heard.deaf[AT].startswith("listening on lo for LLDP frames, ")


def test_the_windows_end_is_told(wire):
    wire.raw(window=0.2).hear(UPLINKS)
    assert wire.changes.get(timeout=SECONDS)


def test_who_says_goodbye_or_is_not_heard_again_in_time_is_gone(wire):
    raw = wire.raw()
    raw.hear(UPLINKS)
    short = frame(CHASSIS, PORT, tlv(3, b"\x00\x01"), tlv(5, b"leaf2"))
    goodbye = frame(CHASSIS, PORT, tlv(3, b"\x00\x00"))
    wire.send(LEAF)
    until(lambda: names(raw) == ["leaf1"])
    wire.send(goodbye)
    until(lambda: names(raw) == [])
    wire.send(short)
    until(lambda: names(raw) == ["leaf2"])
    until(lambda: names(raw) == [])


def test_nobody_says_goodbye_for_another(wire):
    raw = wire.raw()
    raw.hear(UPLINKS)
    goodbye = frame(CHASSIS, PORT, tlv(3, b"\x00\x00"))
    forged = goodbye[:6] + bytes.fromhex("02aa00000033") + goodbye[12:]
    after = frame(tlv(1, b"\x07after"), PORT, TTL, tlv(5, b"after"))
    wire.send(LEAF, forged, after)
    until(lambda: names(raw) == ["leaf1", "after"])


def test_what_a_neighbor_says_anew_takes_the_place_of_what_it_said(wire):
    raw = wire.raw()
    raw.hear(UPLINKS)
    wire.send(LEAF, frame(CHASSIS, PORT, TTL, tlv(5, b"renamed")))
    until(lambda: names(raw) == ["renamed"])


def test_garbage_and_floods_leave_room_for_no_more_than_a_few(wire):
    raw = wire.raw()
    raw.hear(UPLINKS)
    wire.send(b"", b"\xff" * 60, LEAF)
    for number in range(2 * MAX_NEIGHBORS):
        until(lambda: _sent(wire, frame(tlv(1, b"\x07%d" % number), PORT, TTL)))  # noqa: B023
    until(lambda: len(names(raw)) == MAX_NEIGHBORS)
    assert names(raw)[0] == "leaf1"


def _sent(wire, data):
    wire.ends[-1].setblocking(False)
    try:
        wire.send(data)
    except BlockingIOError:
        return False
    return True


def test_an_uplink_that_cannot_be_listened_on_is_said_so_and_tried_again(wire, caplog):
    wire.cut = "Operation not permitted: it takes CAP_NET_RAW"
    raw = wire.raw()
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"cannot listen on lo .*CAP_NET_RAW"):
            raw.hear(UPLINKS)
    assert len(caplog.messages) == 1
    wire.cut = ""
    assert raw.hear(UPLINKS).neighbors == {AT: ()}


def test_one_uplink_that_is_gone_leaves_the_others(wire):
    raw = wire.raw()
    gone = replace(LO, address="0000:5e:00.0", netdev="nonexistent")
    heard = raw.hear({**UPLINKS, gone.address: gone})
    assert heard.neighbors == {AT: ()}
    assert "nonexistent" in heard.deaf[gone.address]


def test_an_uplink_that_is_no_longer_asked_for_is_no_longer_listened_on(wire):
    raw = wire.raw()
    raw.hear(UPLINKS)
    assert raw.hear({}).neighbors == {}
    with pytest.raises(OSError, match=r"refused|Broken|reset|connected"):
        wire.send(LEAF)
