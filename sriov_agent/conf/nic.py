# SPDX-License-Identifier: Apache-2.0
"""``[sriov_nic]``: the PFs, the VFs that are left alone, and the bandwidth that Placement counts.

Names, formats and defaults are those of neutron-sriov-nic-agent, whose ``sriov_agent.ini`` is
read unchanged. Where a device is named, it may be a PCI address as well. Source:
``neutron/conf/plugins/ml2/drivers/mech_sriov/agent_common.py`` and
``neutron_lib/placement/utils.py``.
"""

import math
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from oslo_config import cfg

from sriov_agent.core import fields
from sriov_agent.exceptions import ConfigError, InvalidField

INVENTORY_DEFAULTS: Mapping[str, float] = {
    "allocation_ratio": 1.0,
    "min_unit": 1,
    "step_size": 1,
    "reserved": 0,
}
_INVENTORY_KEYS = (*INVENTORY_DEFAULTS, "max_unit")

SRIOV_NIC_OPTS = [
    cfg.ListOpt(
        "physical_device_mappings",
        default=[],
        help=(
            "PFs that the agent may use, as PHYSICAL_NETWORK:DEVICE, comma-separated. DEVICE is "
            "the PF's interface name or PCI address. A physical network may have several PFs."
        ),
    ),
    cfg.ListOpt(
        "exclude_devices",
        default=[],
        help=(
            "VFs that the agent neither gives away nor changes, as DEVICE:VF;VF, comma-separated. "
            "DEVICE is as in physical_device_mappings, VF a PCI address."
        ),
    ),
    cfg.ListOpt(
        "resource_provider_bandwidths",
        default=[],
        help=(
            "Bandwidth that Placement may give away, as DEVICE:EGRESS:INGRESS in kbit/s, "
            "comma-separated. Either may be empty: there is no inventory of it then. A device "
            "that is not listed has no resource provider."
        ),
    ),
    cfg.ListOpt(
        "resource_provider_hypervisors",
        default=[],
        help=(
            "Hypervisors as Placement knows them, as DEVICE:HYPERVISOR, comma-separated, for "
            "devices whose hypervisor is not resource_provider_default_hypervisor."
        ),
    ),
    cfg.StrOpt(
        "resource_provider_default_hypervisor",
        help=(
            "This host's hypervisor as Placement knows it; default: the host's canonical name, "
            "as libvirt finds it."
        ),
    ),
    cfg.DictOpt(
        "resource_provider_inventory_defaults",
        default=dict(INVENTORY_DEFAULTS),
        help=(
            "What inventories in Placement have, as KEY:VALUE, comma-separated: allocation_ratio, "
            "min_unit, max_unit, step_size and reserved. What is given replaces all of the default."
        ),
    ),
]


def mappings(conf: cfg.ConfigOpts) -> tuple[tuple[str, str], ...]:
    """``physical_device_mappings`` as (physical network, device) pairs.

    An entry that is there twice is taken once.

    :raises ConfigError: for the first entry that is none, or that names a device for a second
        physical network
    """
    option = "[sriov_nic] physical_device_mappings"
    found: dict[str, str] = {}
    for entry in _entries(conf.sriov_nic.physical_device_mappings):
        network, _, device = (part.strip() for part in entry.partition(":"))
        try:
            fields.physical_network(network)
        except InvalidField as error:
            raise ConfigError(f"{option}: {entry!r}: {error}") from error
        if not device:
            raise ConfigError(f"{option}: {entry!r}: expected PHYSICAL_NETWORK:DEVICE")
        if found.setdefault(device, network) != network:
            raise ConfigError(
                f"{option}: {device} appears twice, for {found[device]} and {network}"
            )
    return tuple((network, device) for device, network in found.items())


def excluded_vfs(conf: cfg.ConfigOpts) -> frozenset[str]:
    """``exclude_devices``: PCI addresses of VFs, of whichever device.

    :raises ConfigError: for an entry that is none, a device that is not mapped or appears twice,
        or a VF that is no PCI address: what is meant to be left alone would be taken
    """
    option = "[sriov_nic] exclude_devices"
    found: set[str] = set()
    for entry, _, rest in _by_device(conf, option, conf.sriov_nic.exclude_devices):
        if rest is None:
            raise ConfigError(f"{option}: {entry!r}: expected DEVICE:VF;VF")
        try:
            found |= {fields.pci_address(vf, "VF") for vf in rest.split(";") if vf.strip()}
        except InvalidField as error:
            raise ConfigError(f"{option}: {entry!r}: {error}") from error
    return frozenset(found)


def resource_provider_bandwidths(conf: cfg.ConfigOpts) -> dict[str, dict[str, int | None]]:
    """``egress`` and ``ingress`` in kbit/s, by device; ``None`` where a direction is left open.

    :raises ConfigError: for an entry that is none, or a device that is not mapped or appears
        twice
    """
    option = "[sriov_nic] resource_provider_bandwidths"
    found: dict[str, dict[str, int | None]] = {}
    for entry, device, rest in _by_device(
        conf, option, conf.sriov_nic.resource_provider_bandwidths
    ):
        rates = (rest or ":").split(":")
        if len(rates) != 2:
            raise ConfigError(f"{option}: {entry!r}: expected DEVICE:EGRESS:INGRESS")
        egress, ingress = (_kbps(option, entry, rate.strip()) for rate in rates)
        found[device] = {"egress": egress, "ingress": ingress}
    return found


def resource_provider_inventory_defaults(conf: cfg.ConfigOpts) -> dict[str, float]:
    """What every inventory in Placement has: ``allocation_ratio`` a fraction, the rest whole.

    :raises ConfigError: for a key that Placement does not know, or a value that is negative or
        no such number
    """
    option = "[sriov_nic] resource_provider_inventory_defaults"
    found: dict[str, float] = {}
    for key, value in conf.sriov_nic.resource_provider_inventory_defaults.items():
        if key not in _INVENTORY_KEYS:
            raise ConfigError(f"{option}: {key!r} is none of {', '.join(_INVENTORY_KEYS)}")
        number, kind = (float, "number") if key == "allocation_ratio" else (int, "whole number")
        try:
            found[key] = number(value)
        except (ValueError, OverflowError):
            found[key] = -1
        if found[key] < 0 or not math.isfinite(found[key]):
            raise ConfigError(f"{option}: {key}: {value!r}: expected a {kind} from 0 up")
    return found


def resource_provider_hypervisors(
    conf: cfg.ConfigOpts, canonical_name: Callable[[], str] | None = None
) -> dict[str, str]:
    """The hypervisor's name in Placement for every device of ``physical_device_mappings``.

    A hypervisor for a device that is not mapped is nobody's, as with neutron-sriov-nic-agent.

    :param canonical_name: asked if neither option tells, which may take name resolution as long
        as it takes; default: :func:`canonical_hostname`
    :raises ConfigError: for an entry that is none, or a device that appears twice
    """
    option = "[sriov_nic] resource_provider_hypervisors"
    devices = [device for _, device in mappings(conf)]
    given: dict[str, str] = {}
    for entry in _entries(conf.sriov_nic.resource_provider_hypervisors):
        device, rest = _device(entry, devices)
        hypervisor = (rest or "").strip()
        if not device or not hypervisor:
            raise ConfigError(f"{option}: {entry!r}: expected DEVICE:HYPERVISOR")
        if device in given:
            raise ConfigError(f"{option}: {entry!r}: {device} appears twice")
        given[device] = hypervisor
    default = conf.sriov_nic.resource_provider_default_hypervisor
    if not default and not given.keys() >= set(devices):
        default = (canonical_name or canonical_hostname)()
    return {device: given.get(device) or default for device in devices}


def canonical_hostname(
    name: str | None = None,
    resolve: Callable[..., Sequence[tuple[object, ...]]] = socket.getaddrinfo,
) -> str:
    """The host's name as libvirt, and so nova-compute, finds it (``virGetHostname``).

    :param name: default: the kernel's
    """
    name = name or socket.gethostname()
    if name.startswith("localhost") or "." in name:
        return name
    try:
        found = resolve(name, None, family=socket.AF_UNSPEC, flags=socket.AI_CANONNAME)
    except OSError:
        return name
    canonical = str(found[0][3]) if found else ""
    return name if not canonical or canonical.startswith("localhost") else canonical


def _entries(given: Iterable[str]) -> Iterator[str]:
    return filter(None, (entry.strip() for entry in given))


def _by_device(
    conf: cfg.ConfigOpts, option: str, given: Iterable[str]
) -> Iterator[tuple[str, str, str | None]]:
    """(entry, its device, what follows the colon or ``None``) for mapped devices, each once."""
    devices = [device for _, device in mappings(conf)]
    seen: set[str] = set()
    for entry in _entries(given):
        device, rest = _device(entry, devices)
        if not device:
            raise ConfigError(f"{option}: {entry!r}: there is no device before the colon")
        if device not in devices:
            raise ConfigError(
                f"{option}: {entry!r}: {device} is not in physical_device_mappings: "
                f"expected one of {', '.join(devices) or 'none'}"
            )
        if device in seen:
            raise ConfigError(f"{option}: {entry!r}: {device} appears twice")
        seen.add(device)
        yield entry, device, rest


def _device(entry: str, devices: Iterable[str]) -> tuple[str, str | None]:
    """The device that an entry begins with, and what follows its colon: an address has two."""
    for device in devices:
        if entry == device:
            return device, None
        if entry.startswith(f"{device}:"):
            return device, entry[len(device) + 1 :]
    device, colon, rest = entry.partition(":")
    return device.strip(), rest if colon else None


def _kbps(option: str, entry: str, rate: str) -> int | None:
    if not rate:
        return None
    if not (rate.isascii() and rate.isdecimal()):
        raise ConfigError(f"{option}: {entry!r}: {rate!r}: expected a whole number of kbit/s")
    return int(rate)
