# SPDX-License-Identifier: Apache-2.0
"""A pass over some ports looks at their PFs; what it has of the others may be out of date."""

from sriov_agent.core.report import PortState
from tests import neutron
from tests.frozen import replace
from tests.topology import PF_A, PF_B, claim, port_id

UP = "netdev is up"


def looks(compute):
    """What PFs are looked at from now on, pass by pass."""
    found = []
    pfs = compute.kernel.pfs

    def noted(again=None):
        found.append(again)
        return pfs(again)

    compute.kernel.pfs = noted
    return found


def use(compute, pf, *indices):
    """Somebody uses VFs, and the kernel told of nothing yet."""
    for index in indices:
        compute.kernel.vf(pf, index).used = UP


def test_a_new_port_has_the_pf_looked_at_that_it_goes_to(compute):
    compute.reconcile()
    looked = looks(compute)
    compute.hear("port.create.end", neutron.port(1))

    assert compute.report(1).state == PortState.MET
    assert {pf for again in looked for pf in again} == {PF_A}


def test_a_pass_over_everything_looks_at_everything(compute):
    looked = looks(compute)
    compute.reconcile()
    assert looked == [None]


def test_a_vf_that_somebody_uses_since_is_not_given_away(compute):
    compute.reconcile()
    use(compute, PF_A, 0)
    compute.hear("port.create.end", neutron.port(1))
    assert compute.claims() == {port_id(1): claim(1, PF_B, 0)}


def test_where_one_pf_turns_out_full_the_other_is_looked_at(compute):
    compute.reconcile()
    use(compute, PF_A, 0, 1, 2, 3)
    use(compute, PF_B, 0, 1, 2)
    compute.hear("port.create.end", neutron.port(1))
    assert compute.claims() == {port_id(1): claim(1, PF_B, 3)}


def test_that_there_is_no_free_vf_is_not_believed_of_what_was_seen_last(compute):
    for pf in (PF_A, PF_B):
        use(compute, pf, 0, 1, 2, 3)
    compute.reconcile()
    compute.kernel.vf(PF_B, 2).used = ""
    compute.hear("port.create.end", neutron.port(1))
    assert compute.claims() == {port_id(1): claim(1, PF_B, 2)}


def test_a_port_is_told_of_as_its_vf_is_now(compute):
    compute.hear("port.create.end", neutron.port(1))
    vf = compute.kernel.vf(PF_A, 0)
    vf.refused = frozenset({"vlan"})
    vf.settings = replace(vf.settings, vlan=7)
    compute.hear("port.update.end", neutron.port(1, revision_number=9, name="other"))
    assert compute.report(1).state == PortState.UNMET


def test_when_a_pf_was_looked_at_last_is_known_of_each(compute):
    compute.seconds = 1.0
    compute.reconcile()
    compute.seconds = 2.0
    compute.hear("port.create.end", neutron.port(1))
    assert [compute.reconciler.looked(pf) for pf in (PF_A, PF_B)] == [2.0, 1.0]
