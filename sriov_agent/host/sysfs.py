# SPDX-License-Identifier: Apache-2.0
"""PFs and VFs in sysfs, by PCI address.

Source: ``Documentation/ABI/testing/sysfs-bus-pci`` (``sriov_numvfs``, ``virtfnN``, ``physfn``).
"""

import os
from collections.abc import Sequence

from msgspec import Struct

from sriov_agent.core import fields
from sriov_agent.exceptions import InvalidField, Unavailable

_IFF_UP = 1
#: The most that sysfs gives of an attribute.
_PAGE = 4096


class Function(Struct, frozen=True, kw_only=True):
    """One VF in sysfs.

    ``netdev`` is its network device in this network namespace, ``net`` whether its driver
    made one at all, ``used`` why the netdev is in use ("" if it is not), ``macvtap`` the name
    of a macvtap on it.
    """

    address: str
    index: int
    driver: str | None
    netdev: str | None
    net: bool
    used: str
    macvtap: str = ""

    @property
    def passed_through(self) -> bool:
        """Whether a guest can have it."""
        return bool(self.macvtap) or (self.driver is not None and not self.net)


class Sysfs:
    """Reads below ``root``.

    Paths are plain strings: with a thousand VFs, making objects of them takes most of the time.
    """

    def __init__(self, root: str | os.PathLike[str] = "/sys") -> None:
        self._devices = os.path.join(root, "bus/pci/devices")
        self._net = os.path.join(root, "class/net")

    def pf_address(self, device: str) -> str:
        """The PCI address of a PF given by address or by its current interface name.

        :raises Unavailable: if there is no such PF now
        """
        try:
            address = fields.pci_address(device)
        except InvalidField:
            link = f"{self._net}/{device}/device"
            if "/" in device or not os.path.exists(link):
                raise Unavailable(f"there is no network device {device!r}") from None
            address = _target(link)
        if not os.path.exists(f"{self._devices}/{address}/sriov_totalvfs"):
            raise Unavailable(f"{device} is no SR-IOV physical function")
        return address

    def pf_netdevs(self) -> list[str]:
        """The interface names of every PF in this network namespace."""
        return [
            name
            for name in _names(self._net)
            if os.path.exists(f"{self._net}/{name}/device/sriov_totalvfs")
        ]

    def netdev(self, address: str) -> str:
        """The interface name of a PF now.

        :raises Unavailable: if it has none in this network namespace
        """
        names = _names(f"{self._devices}/{address}/net")
        if len(names) != 1:
            raise Unavailable(f"PF {address} has no network device in this network namespace")
        return names[0]

    def total_vfs(self, address: str) -> int:
        """How many VFs the PF can have (``sriov_totalvfs``)."""
        try:
            return int(_text(f"{self._devices}/{address}/sriov_totalvfs"))
        except (OSError, ValueError) as error:
            raise Unavailable(f"PF {address}: {error}") from error

    def has_iommu(self, address: str) -> bool:
        """Whether a device can be given to a guest: it is in an IOMMU group."""
        return os.path.exists(f"{self._devices}/{address}/iommu_group")

    def device_address(self, netdev: str) -> str:
        """The PCI address of a network device, its own name where it has none."""
        device = f"{self._net}/{netdev}/device"
        return _target(device) or netdev

    def driver(self, netdev: str) -> str:
        """The driver of a network device, "" where it has none."""
        return _target(f"{self._net}/{netdev}/device/driver")

    def vfs(self, address: str, known: Sequence[Function | None] = ()) -> tuple[Function, ...]:
        """The VFs of a PF by index.

        :param known: by index, those that are known to be as they were, unless there are more VFs
            or fewer now: their addresses depend on how many there are
        :raises Unavailable: if sysfs changes while it is read, or a VF is missing
        """
        try:
            device = f"{self._devices}/{address}"
            count = int(_text(f"{device}/sriov_numvfs"))
            if len(known) != count:
                known = [None] * count
            return tuple(
                function or self._function(_followed(f"{device}/virtfn{index}"), index)
                for index, function in enumerate(known)
            )
        except (OSError, ValueError) as error:
            raise Unavailable(f"PF {address}: {error}") from error

    def _function(self, device: str, index: int) -> Function:
        try:
            names = os.listdir(f"{device}/net")
            net = True
        except (FileNotFoundError, NotADirectoryError):
            names, net = [], False
        used = _used(f"{device}/net/{names[0]}") if names else ""
        return Function(
            address=os.path.basename(device),
            index=index,
            driver=_target(f"{device}/driver") or None,
            netdev=names[0] if names else None,
            net=net,
            used=used,
            macvtap=_macvtap(f"{device}/net/{names[0]}") if used else "",
        )


def _used(netdev: str) -> str:
    """Why the network device is in use, "" if it is not."""
    if master := _target(f"{netdev}/master"):
        return f"netdev {os.path.basename(netdev)} is a port of {master}"
    if int(_text(f"{netdev}/flags"), 16) & _IFF_UP:
        return f"netdev {os.path.basename(netdev)} is up"
    return ""


def _macvtap(netdev: str) -> str:
    """The name of a macvtap on it, "" if there is none."""
    uppers = (name for name in _names(netdev) if name.startswith("upper_macvtap"))
    return next(uppers, "").removeprefix("upper_")


def _followed(link: str) -> str:
    """Where a link leads: in a path, the kernel takes longer for a link than for what is read."""
    return os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _target(link: str) -> str:
    """The name of what a link leads to, "" where there is none."""
    try:
        return os.path.basename(os.readlink(link))
    except FileNotFoundError:
        return ""


def _text(path: str) -> str:
    """What a file says, which the kernel gives whole; a file object takes twice the calls."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, _PAGE).decode("ascii")
    finally:
        os.close(file)
