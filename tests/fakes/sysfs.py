# SPDX-License-Identifier: Apache-2.0
"""A directory tree with what ``/sys`` shows of PFs and VFs: real directories and symlinks."""

import shutil
from pathlib import Path

from tests.topology import NETDEVS, vf_address

UP, DOWN = 0x1003, 0x1002


class SysfsTree:
    """Builds below ``root``; devices are below ``devices``, everything else links there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for path in ("devices/pci0000:00", "bus/pci/devices", "bus/pci/drivers", "class/net"):
            (root / path).mkdir(parents=True)
        (root / "devices/virtual/net").mkdir(parents=True)

    def device(self, address: str) -> Path:
        return self.root / "devices/pci0000:00" / address

    def add_device(self, address: str) -> Path:
        device = self.device(address)
        device.mkdir()
        (self.root / "bus/pci/devices" / address).symlink_to(device)
        return device

    def add_pf(self, address: str, num_vfs: int = 4, total_vfs: int = 7) -> None:
        device = self.add_device(address)
        (device / "sriov_totalvfs").write_text(f"{total_vfs}\n")
        (device / "sriov_numvfs").write_text(f"{num_vfs}\n")
        self.add_netdev(address, NETDEVS[address], UP)
        for index in range(num_vfs):
            self.add_vf(address, index)

    def add_vf(self, pf: str, index: int) -> str:
        address = vf_address(pf, index)
        device = self.add_device(address)
        (device / "physfn").symlink_to(self.device(pf))
        (self.device(pf) / f"virtfn{index}").symlink_to(device)
        self.bind(address, "igbvf")
        self.add_netdev(address, f"{NETDEVS[pf]}v{index}")
        return address

    def bind(self, address: str, driver: str | None) -> None:
        """Give the device another driver; its netdev is the caller's to add or remove."""
        link = self.device(address) / "driver"
        link.unlink(missing_ok=True)
        if driver:
            target = self.root / "bus/pci/drivers" / driver
            target.mkdir(exist_ok=True)
            link.symlink_to(target)

    def add_netdev(self, address: str, name: str, flags: int = DOWN) -> None:
        netdev = self.device(address) / "net" / name
        netdev.mkdir(parents=True)
        (netdev / "flags").write_text(f"{flags:#x}\n")
        (netdev / "device").symlink_to(self.device(address))
        (self.root / "class/net" / name).symlink_to(netdev)

    def remove_netdev(self, address: str, name: str, *, moved: bool = False) -> None:
        """``moved``: to another network namespace, which leaves an empty directory."""
        (self.root / "class/net" / name).unlink()
        shutil.rmtree(self.device(address) / "net" / name)
        if not moved:
            (self.device(address) / "net").rmdir()

    def rename_netdev(self, address: str, old: str, new: str) -> None:
        self.remove_netdev(address, old)
        self.add_netdev(address, new, UP)

    def set_flags(self, name: str, flags: int) -> None:
        (self.root / "class/net" / name / "flags").write_text(f"{flags:#x}\n")

    def enslave(self, name: str, master: str) -> None:
        bridge = self.root / "devices/virtual/net" / master
        bridge.mkdir(exist_ok=True)
        (self.root / "class/net" / name / "master").symlink_to(bridge)

    def remove_pf(self, address: str) -> None:
        """Pulled out, with its VFs."""
        device = self.device(address)
        gone = [link.resolve() for link in device.glob("virtfn*")]
        for path in (device, *gone):
            for netdev in path.glob("net/*"):
                (self.root / "class/net" / netdev.name).unlink()
            (self.root / "bus/pci/devices" / path.name).unlink()
            shutil.rmtree(path)
