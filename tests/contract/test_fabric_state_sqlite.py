# SPDX-License-Identifier: Apache-2.0
"""What is SQLite's own of what the device manager keeps."""

import pytest

from sriov_agent.exceptions import ConfigError, Unavailable
from sriov_agent.fabric.state.sqlite import Sqlite
from tests.fabric import want


@pytest.fixture
def state(tmp_path):
    state = Sqlite(tmp_path / "fabric.db")
    state.start(lambda: None)
    yield state
    state.stop()


def test_every_switch_is_ours(state):
    assert state.mine("leaf1")


def test_a_second_manager_on_the_file_is_refused(state, tmp_path):
    second = Sqlite(tmp_path / "fabric.db")
    with pytest.raises(ConfigError, match=r"state_path.*another"):
        second.start(lambda: None)
    state.put_wants([want(2)])
    state.stop()
    second.start(lambda: None)
    assert second.wants() == [want(2)]
    second.stop()


def test_a_place_where_nothing_can_be_kept_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="state_path"):
        Sqlite(tmp_path / "file" / "fabric.db").start(lambda: None)


def test_what_cannot_be_read_is_unknown_and_not_empty(tmp_path):
    state = Sqlite(tmp_path / "fabric.db")
    with state.database.transaction() as db:
        db.execute("INSERT INTO want VALUES ('a', '{}')")
        db.execute("INSERT INTO owned VALUES ('leaf1', '{\"swp1\": 5}')")
        db.execute("INSERT INTO status VALUES ('leaf1', '[null]')")
    for call in (state.wants, state.statuses, lambda: state.owned("leaf1")):
        with pytest.raises(Unavailable, match="kept is no"):
            call()
