# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.etcd import Etcd, missing


@pytest.fixture(scope="session")
def etcd(tmp_path_factory):
    """A real etcd, running; who stops it starts it again."""
    why = missing()
    if why:
        pytest.skip(why)
    server = Etcd(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.stop()
