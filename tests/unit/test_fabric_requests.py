# SPDX-License-Identifier: Apache-2.0
"""What a device manager makes of what it is asked, whoever asks."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sriov_agent.core.link import as_json
from sriov_agent.core.model import LldpId, SwitchPort
from sriov_agent.core.signature import host_key, sign
from sriov_agent.counters import Counters
from sriov_agent.fabric.inventory import Rules
from sriov_agent.fabric.requests import Requests
from sriov_agent.fabric.state.sqlite import Sqlite

RULES = {"leaf1": Rules(name="leaf1", names=frozenset({"leaf1"}))}
SECRET = b"of the managers alone"


def link(port="swp1", pf="0000:3b:00.0"):
    return as_json(
        SwitchPort(
            pf=pf,
            chassis_id=LldpId("mac", "52:54:00:bb:00:01"),
            port_id=LldpId("ifname", port),
            system_name="leaf1",
        )
    )


def request(op="apply", host="compute1", epoch=1, sequence=1, **more):
    return {"version": 1, "op": op, "host": host, "epoch": epoch, "sequence": sequence, **more}


@pytest.fixture
def changed():
    return []


@pytest.fixture
def requests(tmp_path, changed):
    return Requests(Sqlite(tmp_path / "state.db"), RULES, None, b"", changed.append, Counters())


def test_what_is_wanted_is_kept_and_answered_before_it_is_done(requests, changed):
    answer = requests.answer(request(link=link(), vlans=[100]))
    assert answer == {"vlans": None, "pending": [100], "error": ""}
    assert changed == [{"leaf1"}]
    (want,) = requests.state.wants()
    assert (want.link.host, want.vlans) == ("compute1", {100})


def test_a_link_of_which_a_host_said_nothing_has_nothing_open(requests):
    answer = requests.answer(request("read", links=[link()]))
    assert answer == {"links": [link() | {"vlans": [], "pending": [], "error": ""}]}
    assert requests.answer(request(link=link(), vlans=[]))["vlans"] == []
    assert requests.state.wants() == []


def test_the_same_again_is_harmless_and_what_is_older_is_dropped(requests):
    requests.answer(request(link=link(), vlans=[100], sequence=5))
    assert requests.answer(request(link=link(), vlans=[100], sequence=5))["error"] == ""
    older = requests.answer(request(link=link(), vlans=[], sequence=4))
    assert older["error"].startswith("older than")
    assert older["epoch"] == 1
    assert requests.answer(request(link=link(), vlans=[], epoch=2, sequence=1))["error"] == ""


def test_a_host_is_told_of_its_own_links_alone(requests):
    requests.answer(request(link=link(), vlans=[100]))
    assert requests.answer(request("owned"))["links"] == [link()]
    assert requests.answer(request("owned", host="compute2"))["links"] == []
    other = requests.answer(request("read", host="compute2", links=[link()]))
    assert other["links"][0]["vlans"] == []


def test_one_host_cannot_fill_the_state(tmp_path):
    state = Sqlite(tmp_path / "state.db")
    requests = Requests(state, RULES, None, b"", lambda switches: None, Counters(), max_links=3)
    for number in range(5):
        requests.answer(request(link=link(f"swp{number}"), vlans=[100], sequence=number + 1))
    assert len(requests.state.wants()) == 3
    assert requests.answer(request(host="compute2", link=link(), vlans=[100]))["error"] == ""


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {"version": 2},
        request("erase"),
        request(op=["apply"]),
        request(host=None),
        request(host="h" * 256, link=link(), vlans=[]),
        request(link=link()),
        request(link=link(), vlans="100"),
        request(link=link(), vlans=[0]),
        request(link=link(), vlans=[4095]),
        request(link=link(), vlans=[True]),
        request(link=link(), vlans=["100; reload"]),
        request(link=link(), vlans=[100], epoch="1"),
        request(link=link(), vlans=[100], sequence=-1),
        request(link=link(), vlans=[100], sequence=2**70),
        request(link={}, vlans=[100]),
        request(link=link() | {"port": {"id": {"subtype": "ifname"}}}, vlans=[100]),
        request(link=link() | {"pf": 5}, vlans=[100]),
        request("read", links={}),
        request("read", links=[link()] * 300),
    ],
    ids=lambda wrong: str(wrong)[:60],
)
def test_what_is_wrong_is_refused_with_a_sentence_and_keeps_nothing(requests, changed, wrong):
    answer = requests.answer(wrong)
    assert answer["error"].isprintable()
    assert requests.state.wants() == []
    assert changed == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(given=JSON, field=st.sampled_from(["link", "vlans", "links", "op", "host", "epoch"]))
def test_whatever_comes_is_answered(requests, given, field):
    for op in ("apply", "read", "owned"):
        whole = request(op, link=link(), vlans=[100], links=[link()])
        answer = requests.answer({**whole, field: given})
        assert "links" in answer or answer["error"].isprintable()


class TestSigned:
    @pytest.fixture
    def requests(self, tmp_path, changed):
        state = Sqlite(tmp_path / "state.db")
        return Requests(state, RULES, None, SECRET, changed.append, Counters())

    def test_with_the_hosts_key_it_is_heard(self, requests):
        asked = request(link=link(), vlans=[100])
        signature = sign(host_key(SECRET, "compute1"), asked)
        assert requests.answer(asked, signature)["error"] == ""

    @pytest.mark.parametrize("signature", [None, "", 5, "é", "0" * 64])
    def test_without_it_is_not(self, requests, signature):
        asked = request(link=link(), vlans=[100])
        assert (
            "not signed with the key of host compute1" in requests.answer(asked, signature)["error"]
        )
        assert requests.state.wants() == []

    def test_nor_is_what_was_changed_on_the_way(self, requests):
        asked = request(link=link(), vlans=[100])
        signature = sign(host_key(SECRET, "compute1"), asked)
        for changed in ({"vlans": [200]}, {"host": "compute2"}, {"sequence": 9}):
            assert "not signed" in requests.answer(asked | changed, signature)["error"]
