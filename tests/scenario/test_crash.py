# SPDX-License-Identifier: Apache-2.0
"""The power goes between any two steps, or a file is lost: the next pass goes on from there."""

import itertools

import pytest

from sriov_agent.core.report import PortState
from tests import neutron
from tests.fakes.steps import PowerCut
from tests.scenario.compute import Compute
from tests.topology import PF_A, PF_B, binding, port_id, vf_address

CREATE = ("port.create.end", neutron.port(1))
DELETE = ("port.delete.end", neutron.deleted(1))


def slot(pf, index):
    return {"pci_slot": vf_address(pf, index), "physical_network": "physnet2"}


#: name -> events; the power goes during the last one
STORIES = {
    "create": [CREATE],
    "other VLAN": [CREATE, ("port.update.end", neutron.port(1, revision=2, vlan=20))],
    "other MAC": [
        CREATE,
        ("port.update.end", neutron.port(1, revision=2, mac_address="02:5a:00:00:00:99")),
    ],
    "other VF": [
        ("port.create.end", neutron.port(1, binding_profile=slot(PF_A, 0))),
        ("port.update.end", neutron.port(1, revision=2, binding_profile=slot(PF_B, 1))),
    ],
    "delete": [CREATE, DELETE],
    "delete the first of two": [CREATE, ("port.create.end", neutron.port(2)), DELETE],
    "hand over": [
        ("port.create.end", neutron.port(2, binding_profile=slot(PF_A, 0))),
        ("port.delete.end", neutron.deleted(2)),
        ("port.create.end", neutron.port(1, vlan=20, binding_profile=slot(PF_A, 0))),
    ],
    "take over": [
        ("port.create.end", neutron.port(2, binding_profile=slot(PF_A, 0))),
        ("port.delete.end", neutron.deleted(2), True),
        ("port.create.end", neutron.port(1, vlan=20, binding_profile=slot(PF_A, 0))),
    ],
}


def cut(directory, events, step):
    """A compute node whose power went before this step of the last event; None if it has fewer."""
    directory.mkdir()
    compute = Compute(directory)
    for event in events[:-1]:
        compute.hear(*event)
    compute.steps.last = len(compute.steps.made) + step
    try:
        compute.hear(*events[-1])
    except PowerCut:
        compute.steps.last = None
        compute.start()
        return compute
    return None


def cuts(directory, events):
    """One compute node for each step between which the power can go."""
    for step in itertools.count():
        compute = cut(directory / str(step), events, step)
        if compute is None:
            assert step > 2
            return
        yield compute


@pytest.mark.parametrize("story", STORIES)
def test_after_a_power_cut_at_any_step_the_end_is_the_same(compute, story, tmp_path):
    for event in STORIES[story]:
        compute.hear(*event)
    compute.reconcile()

    for restarted in cuts(tmp_path, STORIES[story]):
        restarted.reconcile()
        assert restarted.state() == compute.state()
        assert {entry.state for entry in restarted.last.ports.values()} <= {PortState.MET}
        made = len(restarted.steps.made)
        restarted.reconcile()
        assert len(restarted.steps.made) == made


@pytest.mark.parametrize("story", [name for name in STORIES if "delete" not in name])
def test_a_port_that_goes_while_the_power_is_off_leaves_nothing(compute, story, tmp_path):
    for restarted in cuts(tmp_path, STORIES[story]):
        restarted.hear(*DELETE)
        restarted.reconcile()
        assert restarted.state() == compute.state()
        assert restarted.store.switch_ports() == []


@pytest.mark.parametrize("story", STORIES)
def test_after_a_power_cut_and_a_lost_record_the_end_is_the_same_but_for_the_choice(
    compute, story, tmp_path
):
    for event in STORIES[story]:
        compute.hear(*event)
    compute.reconcile()

    for restarted in cuts(tmp_path, STORIES[story]):
        lose(restarted, "agent.db*")
        restarted.reconcile()
        assert restarted.files().keys() == compute.files().keys()
        assert restarted.claims().keys() == compute.claims().keys()
        assert {entry.state for entry in restarted.last.ports.values()} <= {PortState.MET}


def lose(compute, *patterns):
    """The files are gone, and the agent starts again."""
    for pattern in patterns:
        for path in compute.directory.glob(pattern):
            path.unlink()
    compute.start()


@pytest.fixture
def running(compute):
    """Port 1 on VF 2 of PF_A and port 2 on VF 0 of PF_B, both in the hands of guests."""
    for number, pf, index in ((1, PF_A, 2), (2, PF_B, 0)):
        profile = slot(pf, index) if number == 1 else {"physical_network": "physnet2"}
        compute.hear("port.create.end", neutron.port(number, binding_profile=profile))
        assert compute.claims()[port_id(number)].vf == vf_address(pf, index)
        compute.kernel.vf(pf, index).driver = "vfio-pci"
    return compute


@pytest.mark.parametrize(
    "lost",
    [["agent.db*"], ["interfaces/*.xml"], ["agent.db*", "interfaces/*.xml"]],
    ids=["record", "interface XML", "both"],
)
def test_what_is_lost_is_made_again_and_the_vfs_are_not_touched(running, lost):
    state, messages = running.state(), len(running.kernel.messages)
    lose(running, *lost)
    running.reconcile()

    assert running.state() == state
    assert len(running.kernel.messages) == messages
    assert {entry.state for entry in running.last.ports.values()} == {PortState.MET}


def test_a_port_that_went_while_the_record_was_lost_is_released_by_its_xml(running):
    lose(running, "agent.db*")
    running.hear("port.delete.end", neutron.deleted(1))
    running.reconcile()

    assert running.claims().keys() == running.files().keys() == {port_id(2)}
    assert running.settings()[vf_address(PF_A, 2)] == running.settings()[vf_address(PF_A, 3)]
    assert {at.pf for at in running.open()} == {PF_B}


def test_a_port_whose_last_word_was_refused_keeps_what_it_has_although_the_record_is_lost(running):
    state = running.state()
    running.hear("port.update.end", neutron.port(1, revision=2, mac_address="ff:ff:ff:ff:ff:ff"))
    lose(running, "agent.db*")
    running.reconcile()

    assert running.state() == state
    assert running.report(1).state == PortState.UNMET


def test_an_xml_that_somebody_changed_is_written_again(running):
    path = running.interfaces.path(port_id(1))
    whole = path.read_text()
    for other in ("", "<interface/>", whole.replace("15", "16")):
        path.write_text(other)
        running.reconcile()
        assert path.read_text() == whole


def test_a_setting_that_somebody_changed_is_set_again(running):
    running.kernel.set_vfs(PF_A, [(2, binding(9, vlan=99, trust=True).vf_settings())])
    running.reconcile()

    assert running.settings()[vf_address(PF_A, 2)] == binding(1).vf_settings()


def test_a_lost_table_of_ports_takes_everything_back(running):
    """Nothing tells the agent that a port is meant to be here: that is the source's to say."""
    lose(running, "ports.db*")
    running.reconcile()

    assert running.claims() == {}
    assert running.open() == {}
