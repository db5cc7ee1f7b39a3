# SPDX-License-Identifier: Apache-2.0
"""rtnetlink against the kernel of this machine, in a network namespace of the test's own.

A device without VFs refuses every setting of one, which is what is needed to see how refusals
come apart. Settings that are taken need an SR-IOV device: tests/lab.
"""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from sriov_agent.core.model import RELEASED, SETTINGS, VfSettings
from sriov_agent.exceptions import Refused, Unsupported
from sriov_agent.host.netlink import BATCH, Netlink, _batches, _parts, _refusal
from sriov_agent.host.rtnl import Link, set_request

LO = Link(index=1, name="lo", mac="00:00:00:00:00:00", carrier=False)


def test_the_links_of_this_namespace():
    with Netlink() as netlink:
        links = netlink.links()
    assert set(links) == {path.parent.name for path in Path("/sys/class/net").glob("*/ifindex")}
    assert links["lo"].index == 1
    assert links["lo"].mac == "00:00:00:00:00:00"
    for name, link in links.items():
        assert link.index == int(Path("/sys/class/net", name, "ifindex").read_text())


def test_one_link_is_read_as_the_dump_shows_it():
    with Netlink() as netlink:
        for name, link in netlink.links().items():
            assert netlink.link(name) == link
        assert netlink.link("nonesuch") is None


def test_how_often_a_link_came_or_went_is_what_sysfs_says():
    net = Path("/sys/class/net")
    with Netlink() as netlink:
        told = {name: link.carrier_changes for name, link in netlink.links().items()}
    said = {name: int((net / name / "carrier_changes").read_text()) for name in told}
    assert told == said


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 1, 3 * BATCH])
def test_batches_hold_every_change_once_in_order(count):
    changes = [(index, VfSettings(vlan=1)) for index in range(count)]
    batches = list(_batches(changes))
    assert [change for batch in batches for change in batch] == changes
    assert all(0 < len(batch) <= BATCH for batch in batches)
    assert len(batches) == -(-count // BATCH)


def test_parts_are_the_kernels_attributes_and_together_the_whole():
    parts = list(_parts(RELEASED))
    assert [tuple(part.items()) for part in parts] == [
        ("mac",),
        ("vlan", "qos"),
        ("spoofchk",),
        ("trust",),
        ("link_state",),
        ("min_tx_rate", "max_tx_rate"),
    ]
    assert {name: value for part in parts for name, value in part.items().items()} == (
        RELEASED.items()
    )
    assert [part.items() for part in _parts(VfSettings(trust=False))] == [{"trust": False}]
    assert list(_parts(VfSettings())) == []


@pytest.mark.parametrize(
    ("change", "attributes"),
    [
        ({}, {}),
        ({"mac": "02:5a:0d:c4:39:77"}, {"MAC": {"mac": "02:5a:0d:c4:39:77"}}),
        ({"vlan": 15}, {"VLAN": {"vlan": 15, "qos": 0}}),
        ({"vlan": 0, "qos": 0}, {"VLAN": {"vlan": 0, "qos": 0}}),
        ({"vlan": 15, "qos": 3}, {"VLAN": {"vlan": 15, "qos": 3}}),
        (
            {"spoofchk": False, "trust": True},
            {"SPOOFCHK": {"spoofchk": 0}, "TRUST": {"trust": 1}},
        ),
        ({"link_state": "disable"}, {"LINK_STATE": {"link_state": 2}}),
        ({"max_tx_rate": 100}, {"RATE": {"min_tx_rate": 0, "max_tx_rate": 100}}),
        ({"min_tx_rate": 0}, {"RATE": {"min_tx_rate": 0, "max_tx_rate": 0}}),
        (
            RELEASED.items(),
            {
                "MAC": {"mac": "00:00:00:00:00:00"},
                "VLAN": {"vlan": 0, "qos": 0},
                "SPOOFCHK": {"spoofchk": 1},
                "TRUST": {"trust": 0},
                "LINK_STATE": {"link_state": 0},
                "RATE": {"min_tx_rate": 0, "max_tx_rate": 0},
            },
        ),
    ],
)
def test_only_what_changes_is_in_the_message(change, attributes):
    """As pyroute2 reads it, which knows the kernel's attributes by itself."""
    message = ifinfmsg(set_request(7, [(3, VfSettings(**change)), (5, VfSettings(trust=True))], 9))
    message.decode()
    assert message["index"] == 7
    assert (message["header"]["type"], message["header"]["flags"]) == (19, 5)
    assert message["header"]["sequence_number"] == 9
    first, second = message.get_attr("IFLA_VFINFO_LIST").get_attrs("IFLA_VF_INFO")
    told = {
        name.removeprefix("IFLA_VF_"): {key: dict(value)[key] for key in dict(value)}
        for name, value in first["attrs"]
    }
    assert told == {name: {"vf": 3, **value} for name, value in attributes.items()}
    assert dict(second.get_attr("IFLA_VF_TRUST")) == {"vf": 5, "trust": 1}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EOPNOTSUPP, Unsupported),
        (errno.EINVAL, Refused),
        (errno.EPERM, Refused),
        (errno.ENODEV, Refused),
    ],
)
def test_only_what_the_device_lacks_is_unsupported(code, kind):
    refusal = _refusal(LO, 3, "trust", code)
    assert type(refusal) is kind
    assert str(refusal).startswith("VF 3 of lo: the kernel refused trust (")
    assert os.strerror(code) in str(refusal)


# Run in a namespace of its own, whose loopback nobody uses.
SET = """
import json, sys
from tests.frozen import replace
from sriov_agent.core.model import RELEASED, VfSettings
from sriov_agent.host.netlink import Netlink

with Netlink() as netlink:
    lo = netlink.links()["lo"]
    gone = replace(lo, index=999)
    answers = [
        netlink.set_vfs(lo, []),
        netlink.set_vfs(lo, [(0, RELEASED), (300, VfSettings(trust=True))]),
        netlink.set_vfs(lo, [(index, VfSettings(vlan=15)) for index in range(300)]),
        netlink.set_vfs(gone, [(2, VfSettings(vlan=15, qos=1))]),
    ]
    netlink.close()
    answers.append(netlink.set_vfs(lo, [(0, VfSettings(spoofchk=True))]))
json.dump(
    [
        [[index, name, type(error).__name__, str(error)] for (index, name), error in said.items()]
        for said in answers
    ],
    sys.stdout,
)
"""


@pytest.fixture(scope="module")
def answers():
    if os.geteuid():
        pytest.skip("a network namespace of its own needs root")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", SET],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare failed" in done.stderr:
        pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_to_set_is_nothing_refused(answers):
    assert answers[0] == []


def test_each_setting_that_is_refused_is_told_by_vf_and_name(answers):
    told = {(index, name): kind for index, name, kind, _ in answers[1]}
    assert told == {(0, name): "Unsupported" for name in SETTINGS} | {(300, "trust"): "Unsupported"}


def test_more_than_one_message_of_vfs_is_told_one_by_one(answers):
    assert [(index, name) for index, name, _, _ in answers[2]] == [
        (index, "vlan") for index in range(300)
    ]


def test_a_device_that_is_gone_refuses_but_does_not_lack(answers):
    assert {(index, name, kind) for index, name, kind, _ in answers[3]} == {
        (2, "vlan", "Refused"),
        (2, "qos", "Refused"),
    }
    assert all("No such device" in said for *_, said in answers[3])


def test_after_it_was_closed_it_opens_again(answers):
    assert [tuple(said[:3]) for said in answers[4]] == [(0, "spoofchk", "Unsupported")]
