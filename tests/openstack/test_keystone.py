# SPDX-License-Identifier: Apache-2.0
"""Who may do what, by tokens of a real Keystone."""

import json

import pytest
import requests

from tools.openstack.api import ADMIN, SERVICE, Api, Refused

PROFILE = {"pci_slot": "0000:3b:00.2", "physical_network": "physnet2"}


def test_only_a_token_opens_the_door(cloud):
    answer = requests.get(f"{cloud.url}/v2.0/ports", headers={"X-Roles": "admin"}, timeout=60)
    assert answer.status_code == 401
    with pytest.raises(Refused) as refusal:
        Api(cloud.url, token="none of yours").list("port")
    assert refusal.value.status == 401


def test_only_a_service_writes_the_profile(cloud):
    admin = cloud.api(ADMIN)
    network = admin.create("network", name="net1")
    port = admin.create("port", network_id=network["id"], binding_vnic_type="direct")
    with pytest.raises(Refused) as refusal:
        admin.update("port", port["id"], binding_profile=PROFILE)
    assert refusal.value.status == 403
    service = cloud.api(SERVICE, "service")
    changed = service.update("port", port["id"], binding_profile=PROFILE)
    assert changed["binding:profile"] == PROFILE


def test_the_command_finds_neutron_in_the_catalog(cloud):
    catalog = json.loads(cloud.openstack("catalog", "show", "neutron", "-f", "json"))
    urls = {entry["interface"]: entry["url"] for entry in catalog["endpoints"]}
    assert urls["public"] == cloud.url
    assert urls["internal"] == cloud.url.replace("127.0.0.1", "10.0.2.2")
    cloud.openstack("port", "list")
