# SPDX-License-Identifier: Apache-2.0
"""PFs and VFs in sysfs, by PCI address.

Source: ``Documentation/ABI/testing/sysfs-bus-pci`` (``sriov_numvfs``, ``virtfnN``, ``physfn``).
"""

import os
from dataclasses import dataclass
from pathlib import Path

from sriov_agent.core import fields
from sriov_agent.exceptions import InvalidField, Unavailable

_IFF_UP = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One VF in sysfs.

    ``netdev`` is its network device in this network namespace, ``net`` whether its driver
    made one at all, ``used`` why the netdev is in use ("" if it is not).
    """

    address: str
    index: int
    driver: str | None
    netdev: str | None
    net: bool
    used: str


class Sysfs:
    """Reads below ``root`` (``/sys``)."""

    def __init__(self, root: Path = Path("/sys")) -> None:
        self.root = root

    def pf_address(self, device: str) -> str:
        """The PCI address of a PF given by address or by its current interface name.

        :raises Unavailable: if there is no such PF now
        """
        try:
            address = fields.pci_address(device)
        except InvalidField:
            link = self.root / "class/net" / device / "device"
            if "/" in device or not link.exists():
                raise Unavailable(f"there is no network device {device!r}") from None
            address = link.resolve().name
        if not (self._device(address) / "sriov_totalvfs").exists():
            raise Unavailable(f"{device} is no SR-IOV physical function")
        return address

    def pf_netdevs(self) -> list[str]:
        """The interface names of every PF in this network namespace."""
        found = (self.root / "class/net").glob("*/device/sriov_totalvfs")
        return sorted(path.parent.parent.name for path in found)

    def netdev(self, address: str) -> str:
        """The interface name of a PF now.

        :raises Unavailable: if it has none in this network namespace
        """
        names = _names(self._device(address) / "net")
        if len(names) != 1:
            raise Unavailable(f"PF {address} has no network device in this network namespace")
        return names[0]

    def total_vfs(self, address: str) -> int:
        """How many VFs the PF can have (``sriov_totalvfs``)."""
        try:
            return int((self._device(address) / "sriov_totalvfs").read_text())
        except (OSError, ValueError) as error:
            raise Unavailable(f"PF {address}: {error}") from error

    def carrier_changes(self, netdev: str) -> int:
        """How often the link of a network device came or went (``carrier_changes``)."""
        try:
            return int((self.root / "class/net" / netdev / "carrier_changes").read_text())
        except (OSError, ValueError) as error:
            raise Unavailable(f"{netdev}: {error}") from error

    def device_address(self, netdev: str) -> str:
        """The PCI address of a network device, its own name where it has none."""
        device = self.root / "class/net" / netdev / "device"
        return device.resolve().name if device.exists() else netdev

    def driver(self, netdev: str) -> str:
        """The driver of a network device, "" where it has none."""
        driver = self.root / "class/net" / netdev / "device/driver"
        return driver.resolve().name if driver.exists() else ""

    def vfs(self, address: str) -> tuple[Function, ...]:
        """The VFs of a PF by index.

        :raises Unavailable: if sysfs changes while it is read, or an index is missing
        """
        device = self._device(address)
        try:
            indices = sorted(
                int(name.removeprefix("virtfn"))
                for name in os.listdir(device)
                if name.startswith("virtfn")
            )
            if indices != list(range(len(indices))):
                raise Unavailable(f"PF {address}: VF indices have gaps: {indices}")
            return tuple(self._function(device / f"virtfn{index}", index) for index in indices)
        except (OSError, ValueError) as error:
            raise Unavailable(f"PF {address}: {error}") from error

    def _function(self, link: Path, index: int) -> Function:
        device = link.resolve()
        driver = device / "driver"
        names = _names(device / "net")
        return Function(
            address=device.name,
            index=index,
            driver=driver.resolve().name if driver.exists() else None,
            netdev=names[0] if names else None,
            net=(device / "net").is_dir(),
            used=self._used(names[0]) if names else "",
        )

    def _used(self, name: str) -> str:
        netdev = self.root / "class/net" / name
        if (netdev / "master").exists():
            return f"netdev {name} is a port of {(netdev / 'master').resolve().name}"
        if int((netdev / "flags").read_text(), 16) & _IFF_UP:
            return f"netdev {name} is up"
        return ""

    def _device(self, address: str) -> Path:
        return self.root / "bus/pci/devices" / address


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
