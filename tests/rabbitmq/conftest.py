# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.rabbitmq.broker import Broker, missing


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """A RabbitMQ that runs until the last test."""
    why = missing()
    if why:
        pytest.skip(why)
    broker = Broker(tmp_path_factory.mktemp("rabbitmq"))
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
        broker.stop_epmd()
