# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.etcd import Etcd
from tests.etcd import missing as etcd_missing
from tools.openstack.broker import Broker
from tools.openstack.broker import missing as rabbitmq_missing


@pytest.fixture(scope="session")
def etcd(tmp_path_factory):
    """A real etcd, running; who stops it starts it again."""
    why = etcd_missing()
    if why:
        pytest.skip(why)
    server = Etcd(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A real RabbitMQ, with nothing on it but what the module's tests leave."""
    why = rabbitmq_missing()
    if why:
        pytest.skip(why)
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.close()
