# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from tests.openstack.plain import PlainAgent
from tools.openstack import needs
from tools.openstack.stack import Stack

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.openstack)


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """A Neutron for all tests, in which each has to use hosts and networks of its own."""
    if why := needs.missing():
        pytest.skip(why)
    with Stack(tmp_path_factory.mktemp("stack"), versions_ttl=1) as stack:
        yield stack


@pytest.fixture(scope="session")
def cloud(tmp_path_factory):
    """A Neutron with a Keystone, which takes longer to start."""
    if why := needs.missing():
        pytest.skip(why)
    with Stack(tmp_path_factory.mktemp("cloud"), keystone=True, versions_ttl=1) as cloud:
        yield cloud


@pytest.fixture
def agent(stack, request):
    """An agent of a host of the test's own, which has not yet reported."""
    with PlainAgent(stack.conf_file, host=request.node.name[:60]) as agent:
        yield agent


@pytest.fixture(scope="session")
def network(stack):
    """A network with VLAN 15 on physnet2, and a subnet."""
    api = stack.api()
    network = api.create(
        "network",
        name="net1",
        provider_network_type="vlan",
        provider_physical_network="physnet2",
        provider_segmentation_id=15,
    )
    api.create("subnet", network_id=network["id"], ip_version=4, cidr="198.51.100.0/24")
    return network
