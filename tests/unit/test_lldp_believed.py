# SPDX-License-Identifier: Apache-2.0
"""A switch port that changes while the link stayed up is held until somebody confirms it."""

import pytest

from sriov_agent.core.lldp import believed
from sriov_agent.core.model import Cabling, KnownCabling, LldpId, SwitchPort
from sriov_agent.exceptions import Unavailable
from sriov_agent.store import Store

PF = "0000:3b:00.0"


def at(port, name="leaf1"):
    return SwitchPort(
        pf=PF,
        chassis_id=LldpId("mac", "52:54:00:bb:00:01"),
        port_id=LldpId("ifname", port),
        system_name=name,
    )


def known(port, carrier_changes=3):
    return KnownCabling(switch_port=at(port), carrier_changes=carrier_changes)


def test_the_first_answer_and_the_same_again_are_believed():
    found = Cabling(switch_port=at("swp1"))
    assert believed(found, None, 3) == found
    assert believed(found, known("swp1"), 3) == found
    assert believed(found, known("swp1"), 5) == found


def test_a_move_with_the_link_down_in_between_is_believed():
    found = Cabling(switch_port=at("swp2"))
    assert believed(found, known("swp1"), 5) == found


def test_a_move_while_the_link_stayed_up_is_held_and_says_what_to_do():
    held = believed(Cabling(switch_port=at("swp2")), known("swp1"), 3)
    assert held.switch_port is None
    for said in ("port 'swp1'", "port 'swp2'", f"sriovctl lldp accept {PF}"):
        assert said in held.reason


def test_following_believes_every_move():
    found = Cabling(switch_port=at("swp2"))
    assert believed(found, known("swp1"), 3, follow=True) == found


def test_no_answer_stays_no_answer():
    found = Cabling(reason="no LLDP neighbor")
    assert believed(found, known("swp1"), 3) == found


def test_what_is_believed_is_kept_until_it_is_forgotten(tmp_path):
    store = Store(tmp_path / "agent.db")
    store.record_cabling(known("swp1", 3))
    store.record_cabling(known("swp1", 4))
    assert Store(tmp_path / "agent.db").cabling() == {PF: known("swp1", 4)}
    assert store.forget_cabling(PF)
    assert not store.forget_cabling(PF)
    assert store.cabling() == {}


def test_a_file_that_cannot_be_read_is_unknown(tmp_path):
    (tmp_path / "agent.db").mkdir()
    with pytest.raises(Unavailable):
        Store(tmp_path / "agent.db").cabling()
