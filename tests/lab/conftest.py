# SPDX-License-Identifier: Apache-2.0
import json
import os

import pytest

from tests.lab.bridge import (
    NEUTRON_VARIABLE,
    REPORTS_VARIABLE,
    TAKEN_VARIABLE,
    TOPOLOGY,
    Bridge,
    Inside,
    in_guest,
)


def pytest_configure(config):
    if not in_guest():
        config.pluginmanager.register(Bridge())
    elif REPORTS_VARIABLE in os.environ:
        reports, taken = os.environ[REPORTS_VARIABLE], os.environ[TAKEN_VARIABLE]
        config.pluginmanager.register(Inside(config, reports, taken))


def pytest_itemcollected(item):
    item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def pfs():
    """The guest's PFs, as its topology names them."""
    return json.loads(TOPOLOGY.read_text())["pfs"]


@pytest.fixture(scope="session")
def pf(pfs):
    """The first of them."""
    return pfs[0]


@pytest.fixture(scope="session")
def neutron():
    """The Neutron outside."""
    if NEUTRON_VARIABLE not in os.environ:
        pytest.skip("there is no Neutron: python3 tools/openstack setup")
    from tools.openstack.remote import Neutron  # noqa: PLC0415 - few tests need what it takes

    return Neutron(os.environ[NEUTRON_VARIABLE])
