# SPDX-License-Identifier: Apache-2.0
"""What the agent tells Neutron of itself: the state of a 'NIC Switch agent', from plain data.

Source: ``report_state`` 1.4 on the topic ``q-reports-plugin``, as neutron-sriov-nic-agent 29.0.0
sends it.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from sriov_agent.core.model import Cabling, Pf
from sriov_agent.exceptions import ConfigError, printable

#: What decides that the mechanism driver sriovnicswitch binds ports on the host.
AGENT_TYPE = "NIC Switch agent"
BINARY = "sriov-agent"
#: ``L2_AGENT_TOPIC`` of neutron_lib.
TOPIC = "N/A"

#: Versions of Port that Neutron can push, and the first release with each; it knows the older
#: ones too. Source: ``neutron/objects/ports.py`` at the tags 20.0.0 to 29.0.0.0b1.
PORT_RELEASES: Mapping[str, str] = {
    "1.7": "Yoga",
    "1.8": "2023.2",
    "1.9": "2024.1",
    "1.10": "2024.2",
    "1.11": "2026.2",
}
VERSIONS: Mapping[str, tuple[str, ...]] = {
    "Port": tuple(PORT_RELEASES),
    "QosPolicy": ("1.10",),
    "Trunk": ("1.1",),
    "SubPort": ("1.0",),
}
#: What every server since Yoga knows.
PINS: Mapping[str, str] = {"Port": "1.7", "QosPolicy": "1.10"}

#: Characters of JSON that the column ``agents.configurations`` takes: one more, and the report
#: is lost. Source: ``neutron/db/models/agent.py``.
CONFIGURATIONS_LIMIT = 4095
#: Characters that are told of a name from the wire.
_NAME_LIMIT = 64


def configurations(
    *,
    mappings: Iterable[tuple[str, str]],
    extensions: Iterable[str],
    bandwidths: Mapping[str, Mapping[str, int | None]],
    inventory_defaults: Mapping[str, float],
    hypervisors: Mapping[str, str],
    devices: int | None = None,
    facts: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """The ``configurations`` of the state; Neutron looks at the physical networks and Placement's.

    :param mappings: (physical network, device as configured) pairs
    :param bandwidths: ``egress`` and ``ingress`` in kbit/s or ``None``, by device
    :param inventory_defaults: what every inventory in Placement has
    :param hypervisors: the hypervisor's name in Placement, by device
    :param devices: how many VFs ports hold; ``None`` before that is known
    :param facts: what :func:`facts` made of the host, shown by ``openstack network agent show``
        under ``sriov_agent``; left out where Neutron could not keep it
    """
    networks: dict[str, list[str]] = {}
    for network, device in mappings:
        networks.setdefault(network, []).append(device)
    found: dict[str, object] = {
        "device_mappings": networks,
        "resource_provider_bandwidths": {pf: dict(rates) for pf, rates in bandwidths.items()},
        "resource_provider_inventory_defaults": dict(inventory_defaults),
        "resource_provider_hypervisors": dict(hypervisors),
        "extensions": list(extensions),
    }
    if devices is not None:
        found["devices"] = devices
    if facts is None:
        return found
    told = {**found, "sriov_agent": facts}
    return told if len(json.dumps(told)) <= CONFIGURATIONS_LIMIT else found


def facts(
    pfs: Iterable[Pf], cabling: Mapping[str, Cabling], claimed: Collection[str]
) -> dict[str, object]:
    """What an operator wants to know of each PF that can be seen, by its name.

    ``free_vfs`` of ``vfs``; ``switch`` and ``port`` where LLDP tells where it is cabled, escaped
    and shortened.

    :param cabling: by the PF's PCI address
    :param claimed: the PCI addresses of VFs that ports hold
    """
    return {pf.netdev: _pf(pf, cabling.get(pf.address), claimed) for pf in pfs}


def resource_versions(pins: Mapping[str, str] = PINS, option: str = "") -> dict[str, str]:
    """The versions in which Neutron is to push objects, by the object's name.

    :param option: where the pins come from, for the error
    :raises ConfigError: for a version that no server has: one that reports it has the server fail
        to push that object to anybody, until the report is out of date
    """
    for name, version in pins.items():
        known = VERSIONS.get(name, ())
        if version not in known:
            since = f" (each since: {_releases()})" if name == "Port" else ""
            raise ConfigError(
                f"{option + ': ' if option else ''}{name} {printable(version)}: expected one of "
                f"{', '.join(known) or 'no version, since it is not listened for'}{since}. A "
                f"version that neutron-server does not know stops the pushes of {name} for the "
                f"whole cloud"
            )
    return dict(pins)


def agent_state(
    host: str, configurations: Mapping[str, object], uuid: str, binary: str = BINARY
) -> dict[str, object]:
    """The state that every report holds.

    :param host: as nova-compute and ``binding:host_id`` have it
    :param uuid: of this report alone
    """
    return {
        "binary": binary,
        "host": host,
        "topic": TOPIC,
        "agent_type": AGENT_TYPE,
        "configurations": dict(configurations),
        "uuid": uuid,
    }


def first_only(versions: Mapping[str, str]) -> dict[str, object]:
    """What the first report after a start holds besides, until one has been sent.

    :param versions: what :func:`resource_versions` returned
    """
    return {"start_flag": True, "resource_versions": dict(versions)}


def report_arguments(state: Mapping[str, object], now: datetime) -> dict[str, object]:
    """The arguments of ``report_state``.

    :param now: with its time zone; Neutron ignores reports that are older than its own start
    """
    at = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return {"agent_state": {"agent_state": dict(state)}, "time": at}


def _pf(pf: Pf, cabled: Cabling | None, claimed: Collection[str]) -> dict[str, object]:
    found: dict[str, object] = {
        "address": pf.address,
        "vfs": len(pf.vfs),
        "free_vfs": sum(not vf.held_by and vf.address not in claimed for vf in pf.vfs),
    }
    at = cabled.switch_port if cabled else None
    if at:
        found["switch"] = _told(at.name)
        found["port"] = _told(at.port_id.value)
    return found


def _told(name: str) -> str:
    return printable(name, _NAME_LIMIT)[1:-1]


def _releases() -> str:
    return ", ".join(f"{version} {release}" for version, release in PORT_RELEASES.items())
