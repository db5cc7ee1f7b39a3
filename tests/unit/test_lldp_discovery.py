# SPDX-License-Identifier: Apache-2.0
"""Several sources of LLDP together: which is asked for what, and who sent what was heard."""

import pytest

from sriov_agent.core.model import Heard, Uplink
from sriov_agent.exceptions import Unavailable
from sriov_agent.host.lldp.discovery import Discovery
from tests.frozen import replace
from tests.topology import LEAF_A, PF_A, PF_B, neighbor, pf, vf

LEAF = neighbor()
FORGED = neighbor(leaf=9, port="Ethernet1/99")
GUEST_MAC = "02:5a:00:00:00:44"
SWITCH_MAC = "52:54:00:bb:01:01"
PFS = {PF_A: pf(PF_A), PF_B: pf(PF_B)}


class Source:
    """Says what it is given, of the uplinks it is asked for; an error where it is one."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def start(self, changed):
        self.changed = changed

    def hear(self, uplinks):
        self.asked.append(set(uplinks))
        if isinstance(self.answer, str):
            raise Unavailable(self.answer)
        neighbors, deaf = self.answer
        return Heard(
            neighbors={a: tuple(n) for a, n in neighbors.items() if a in uplinks},
            deaf={a: why for a, why in deaf.items() if a in uplinks},
        )


class Witness:
    def __init__(self, *frames):
        self.seen = frames

    def frames(self, uplinks):
        return dict.fromkeys(uplinks, self.seen)


def test_the_next_source_is_asked_where_the_one_before_heard_nothing():
    first = Source(({PF_A: [LEAF], PF_B: []}, {}))
    second = Source(({PF_B: [neighbor(leaf=2)]}, {}))
    found = Discovery([first, second]).cabling(PFS)
    assert found[PF_A].switch_port == LEAF_A
    assert found[PF_B].switch_port.system_name == "leaf2"
    assert second.asked == [{PF_B}]


def test_a_source_that_does_not_answer_stands_in_the_way_of_no_other():
    found = Discovery([Source("lldpd: gone"), Source(({PF_A: [LEAF]}, {PF_B: "not yet"}))])
    answers = found.cabling(PFS)
    assert answers[PF_A].switch_port == LEAF_A
    assert answers[PF_B].reason == "lldpd: gone; not yet"


def test_what_one_source_listened_to_is_known_although_another_could_not():
    sources = [Source(({PF_A: [], PF_B: [LEAF]}, {})), Source(({}, {PF_A: "not yet"}))]
    assert Discovery(sources).cabling(PFS)[PF_A].reason == "no LLDP neighbor"


def test_that_nobody_answered_is_unknown():
    with pytest.raises(Unavailable, match=r"^lldpd: gone; snmpd: gone$"):
        Discovery([Source("lldpd: gone"), Source("snmpd: gone")]).cabling(PFS)


def test_without_pfs_nobody_is_asked():
    source = Source("gone")
    assert Discovery([source]).cabling({}) == {}
    assert source.asked == []


def test_a_bonds_other_members_are_asked_for_too():
    mate = Uplink(address=PF_B, netdev="ens2", carrier=True)
    source = Source(({PF_A: [LEAF], PF_B: [neighbor(leaf=2)]}, {}))
    found = Discovery([source]).cabling({PF_A: pf(PF_A, bonded_with=(mate,))})
    assert found[PF_B].switch_port.system_name == "leaf2"


def with_guest(witness, *heard, **allowed):
    guest = pf(PF_A, replace(vf(PF_A, 0), settings=replace(vf(PF_A, 0).settings, mac=GUEST_MAC)))
    source = Source(({PF_A: heard}, {}))
    return Discovery([source], witness=witness, **allowed).cabling({PF_A: guest})[PF_A]


@pytest.mark.parametrize("sent", [{"source_mac": GUEST_MAC}, {"tagged": True}])
def test_what_a_guest_forged_is_told_from_the_switch_whoever_heard_it(sent):
    frames = [replace(LEAF, source_mac=SWITCH_MAC), replace(FORGED, **sent)]
    assert with_guest(Witness(*frames), LEAF, FORGED).switch_port == LEAF_A
    alone = with_guest(Witness(*frames), FORGED)
    assert alone.switch_port is None
    assert "refused: 'leaf9'" in alone.reason


def test_without_a_witness_it_is_ambiguous():
    for witness in (None, Witness(), Witness(replace(LEAF, source_mac=SWITCH_MAC))):
        assert with_guest(witness, LEAF, FORGED).reason.startswith("ambiguous")


def test_a_guest_that_imitates_the_switch_to_the_letter_takes_nothing_from_it():
    frames = [replace(LEAF, source_mac=GUEST_MAC), replace(LEAF, source_mac=SWITCH_MAC)]
    for seen in (frames, frames[::-1]):
        assert with_guest(Witness(*seen), LEAF).switch_port == LEAF_A


def test_only_allowed_switches_are_believed_whatever_their_case():
    assert with_guest(None, LEAF, FORGED, allowed=["LEAF1"]).switch_port == LEAF_A
    refused = with_guest(None, LEAF, allowed=["leaf2"])
    assert "not among the allowed switches" in refused.reason


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"up": False, "carrier": False}, "ens1 is down: ip link set ens1 up"),
        ({"carrier": False}, "ens1 has no carrier: look at the cable and at the switch port"),
        (
            {"firmware_lldp": "ethtool --set-priv-flags ens1 fw-lldp-agent off"},
            "no LLDP neighbor: the NIC's firmware keeps the frames; "
            "ethtool --set-priv-flags ens1 fw-lldp-agent off",
        ),
    ],
)
def test_what_is_wrong_with_an_uplink_is_said_with_what_mends_it(changed, why):
    heard = [] if "firmware_lldp" in changed else [LEAF]
    found = Discovery([Source(({PF_A: heard}, {}))]).cabling({PF_A: pf(PF_A, **changed)})
    assert (found[PF_A].switch_port, found[PF_A].reason) == (None, why)


def test_firmware_that_lets_a_frame_through_is_no_matter():
    uplink = pf(PF_A, firmware_lldp="ethtool --set-priv-flags ens1 fw-lldp-agent off")
    found = Discovery([Source(({PF_A: [LEAF]}, {}))]).cabling({PF_A: uplink})
    assert found[PF_A].switch_port == LEAF_A


@pytest.fixture
def asked():
    """A source that was asked once, and the discovery that asked it."""
    source = Source(({PF_A: [LEAF], PF_B: []}, {}))
    discovery = Discovery([source])
    discovery.start(lambda: None)
    assert discovery.cabling(PFS)[PF_A].switch_port == LEAF_A
    source.answer = ({PF_A: [], PF_B: []}, {})
    return source, discovery


def heard(discovery, pfs=PFS, **again):
    return discovery.cabling(pfs, **again)[PF_A].switch_port


def test_what_was_heard_last_is_good_while_no_source_has_news(asked):
    source, discovery = asked
    assert heard(discovery, again=False) == LEAF_A
    assert len(source.asked) == 1
    source.changed()
    assert heard(discovery, again=False) is None
    assert len(source.asked) == 2
    assert heard(discovery) is None
    assert len(source.asked) == 3


@pytest.mark.parametrize(
    "now", [{"netdev": "ens9"}, {"carrier": False}, {"up": False}, {"carrier_changes": 3}]
)
def test_an_uplink_that_is_another_is_asked_for_again(asked, now):
    _, discovery = asked
    changed = {PF_A: replace(PFS[PF_A], **now), PF_B: PFS[PF_B]}
    assert heard(discovery, changed, again=False) is None


def test_a_source_that_did_not_answer_is_not_asked_again_before_there_is_a_reason(asked):
    source, discovery = asked
    source.answer = "lldpd: gone"
    for again in (True, False, False):
        with pytest.raises(Unavailable, match="lldpd: gone"):
            heard(discovery, again=again)
    assert len(source.asked) == 2
