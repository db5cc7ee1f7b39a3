# SPDX-License-Identifier: Apache-2.0
"""Versioned objects as Neutron pushed them, for the ports of these tests, and spoiled ones."""

import copy
import json
from pathlib import Path

from hypothesis import strategies as st

from tests.topology import HOST, port_id, port_mac

SAMPLES = Path(__file__).parent / "samples" / "neutron"
NETWORK_ID = "340265cf-63b7-4093-ac7c-675df9d8b6be"
POLICY_ID = "cfe3a419-88e4-41d2-97e7-cb69fcee688d"


def arguments(name: str) -> dict:
    """What a captured message called its method with."""
    return json.loads((SAMPLES / f"{name}.json").read_text())["oslo.message"]["args"]


def pushed(name: str) -> dict:
    """The one object of a captured push."""
    (primitive,) = arguments(name)["resource_list"]
    return primitive


def fields(primitive: dict) -> dict:
    return primitive["versioned_object.data"]


def named(name: str, **data: object) -> dict:
    return {"versioned_object.name": name, "versioned_object.data": data}


_PORT = pushed("push_Port_v1.11_updated_hw_veb_DOWN")
_POLICY = pushed("push_QosPolicy_v1.10_updated")


def port(number: int = 1, revision: int = 3, host: str = HOST, vlan: int = 15, **given) -> dict:
    """A bound Port; ``binding`` and ``segment`` replace what these say, the rest what it says."""
    primitive = copy.deepcopy(_PORT)
    entry = fields(primitive)
    binding, segment = given.pop("binding", {}), given.pop("segment", {})
    entry |= {
        "id": port_id(number),
        "mac_address": port_mac(number),
        "name": f"p{number}",
        "revision_number": revision,
        "device_owner": "test:vm",
    }
    (bound,) = map(fields, entry["bindings"])
    bound |= {"host": host, "vif_details": json.dumps({"vlan": str(vlan)}), **binding}
    (level,) = map(fields, entry["binding_levels"])
    level["host"] = host
    fields(level["segment"]).update(
        {"segmentation_id": vlan, "physical_network": "physnet2", **segment}
    )
    entry |= given
    return primitive


def unbound(number: int = 1, revision: int = 4, **given) -> dict:
    """The Port after it was unbound."""
    binding = {"host": "", "vif_type": "unbound", "vif_details": None}
    return port(number, revision, binding=binding, binding_levels=[], **given)


def deleted(number: int = 1) -> dict:
    primitive = copy.deepcopy(pushed("push_Port_v1.11_deleted"))
    fields(primitive)["id"] = port_id(number)
    return primitive


def shown(number: int = 1, revision: int = 3, **given) -> dict:
    """The port as Neutron's API shows it; ``binding_host_id`` stands for ``binding:host_id``."""
    given = {name.replace("binding_", "binding:", 1): value for name, value in given.items()}
    return {
        **arguments("rpc_port_update")["port"],
        "id": port_id(number),
        "mac_address": port_mac(number),
        "name": f"p{number}",
        "revision_number": revision,
        "device_owner": "test:vm",
        "binding:profile": {},
        "binding:vif_details": {"vlan": "15"},
        **given,
    }


SEGMENT = {"network_type": "vlan", "segmentation_id": 15, "physical_network": "physnet2"}


def policy(*rules: dict, policy_id: str = POLICY_ID) -> dict:
    primitive = copy.deepcopy(_POLICY)
    fields(primitive).update({"id": policy_id, "rules": list(rules)})
    return primitive


def limit(kbps: object, direction: object = "egress", kind: str = "BandwidthLimit") -> dict:
    """A rule of a QoS policy."""
    name = "min_kbps" if kind == "MinimumBandwidth" else "max_kbps"
    return named(f"Qos{kind}Rule", **{name: kbps, "direction": direction})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def _places(value: object, path: tuple = ()):
    """The paths of everything within a value."""
    yield path
    if isinstance(value, dict | list):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(entry, (*path, key))


@st.composite
def spoiled(draw: st.DrawFn, primitive: dict) -> object:
    """The object with rubbish in some places, some of it JSON in a string."""
    whole = [copy.deepcopy(primitive)]
    for _ in range(draw(st.integers(1, 3))):
        *inner, last = draw(st.sampled_from(list(_places(whole))[1:]))
        into = whole
        for key in inner:
            into = into[key]
        rubbish = draw(JSON)
        into[last] = json.dumps(rubbish) if draw(st.booleans()) else rubbish
    return whole[0]
