# SPDX-License-Identifier: Apache-2.0
"""The PFs of the configuration with their VFs, as sysfs and rtnetlink show them together."""

import collections
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from sriov_agent.core import fields
from sriov_agent.core.model import Pf, Uplink, Vf, VfSettings
from sriov_agent.exceptions import SriovAgentError, Unavailable, Unsupported
from sriov_agent.host.ethtool import private_flags
from sriov_agent.host.rtnl import Link
from sriov_agent.host.sysfs import Function, Sysfs

#: Who holds a VF that the configuration says to leave alone.
EXCLUDED = "excluded by [sriov_nic] exclude_devices"

#: Masters whose members share the traffic, as iproute2 names their types.
_BONDS = frozenset({"bond", "team"})

#: By driver: the private flag of the LLDP agent in firmware, and its value that leaves frames
#: alone. What mends it is only told, never done: DCB may depend on that agent, and the setting
#: outlives a reboot. Source: ``i40e_ethtool.c``, ``ice_ethtool.c``.
_LLDP_FLAGS = {"i40e": ("disable-fw-lldp", True), "ice": ("fw-lldp-agent", False)}


class Kernel(Protocol):
    """rtnetlink; see :class:`sriov_agent.host.netlink.Netlink`."""

    def links(self) -> dict[str, Link]: ...

    def link(self, name: str) -> Link | None: ...

    def set_vfs(
        self, link: Link, changes: Iterable[tuple[int, VfSettings]]
    ) -> dict[tuple[int, str], SriovAgentError]: ...


class Inventory:
    """PFs and VFs of this host.

    :param mappings: (physical network, PF as PCI address or interface name) pairs; a name is
        looked up once, so that a PF renamed later stays the same PF
    :param excluded: PCI addresses of VFs that are to be left alone
    """

    def __init__(
        self,
        mappings: Iterable[tuple[str, str]],
        netlink: Kernel,
        sysfs: Sysfs | None = None,
        private_flags: Callable[[str], Mapping[str, bool]] = private_flags,
        excluded: Collection[str] = (),
    ) -> None:
        self.mappings = tuple(mappings)
        self.netlink = netlink
        self.sysfs = sysfs or Sysfs()
        self.private_flags = private_flags
        self.excluded = frozenset(excluded)
        self._addresses: dict[str, str] = {}
        self._links: dict[str, Link] = {}
        self._unsupported: dict[str, frozenset[str]] = {}
        #: The PFs that :meth:`pfs` looked at last, of those that it saw.
        self.looked_at: frozenset[str] = frozenset()
        self._seen: dict[str, Pf] = {}
        self._netdevs: dict[str, frozenset[str | None]] = {}
        #: By PF and index, VFs with a network device of which the kernel has told nothing since.
        self._functions: dict[str, tuple[Function | None, ...]] = {}
        #: By PF, how many VFs it can have and what its firmware does with LLDP, as of the last
        #: look at all.
        self._hardware: dict[str, tuple[int, str]] = {}
        self._changed: collections.deque[tuple[str, str]] = collections.deque()

    def changed(self, netdev: str, kind: str) -> None:
        """The kernel told of a network device, "" if of any; from any thread.

        :param kind: what iproute2 calls its type, "" for hardware
        """
        if not kind or kind in _BONDS or kind == "macvtap":
            self._changed.append((netdev, kind))

    def pfs(self, again: Collection[str] | None = None) -> tuple[dict[str, Pf], dict[str, str]]:
        """The PFs that can be seen whole, by address, and why any other cannot, by device.

        What is in use by its network device's state is known from the kernel's telling of changes:
        such a VF is read in sysfs again when it told of one, or when all are looked at.

        :param again: look at these, at those of which the kernel told of a change since they were
            seen, and at those that were not; ``None``: look at all
        """
        pfs: dict[str, Pf] = {}
        errors: dict[str, str] = {}
        self._forget_changed()
        if again is None:
            self._functions.clear()
            self._hardware.clear()
        try:
            links = _Links(self.netlink, whole=again is None)
        except Unavailable as error:
            self._seen.clear()
            self.looked_at = frozenset()
            keys = (self._addresses.get(device, device) for _, device in self.mappings)
            return {}, {f"pf {key}": str(error) for key in keys}
        for physical_network, device in self.mappings:
            key = device
            try:
                key = self._addresses.get(device) or self.sysfs.pf_address(device)
                self._addresses[device] = key
                if key in pfs:
                    raise Unavailable(f"PF {key} is configured twice, the second time as {device}")
                known = None if again is None or key in again else self._seen.get(key)
                pfs[key] = known or self._pf(key, physical_network, links)
            except SriovAgentError as error:
                errors[f"pf {device if key in pfs else key}"] = str(error)
        self.looked_at = frozenset(
            address for address, pf in pfs.items() if pf is not self._seen.get(address)
        )
        self._netdevs |= {address: _netdevs(pfs[address]) for address in self.looked_at}
        self._seen = dict(pfs)
        return pfs, errors

    def _forget_changed(self) -> None:
        """Keep of what was seen what the kernel told of no change of."""
        while self._changed:
            netdev, kind = self._changed.popleft()
            theirs = [address for address, names in self._netdevs.items() if netdev in names]
            if kind or not theirs:
                self._seen.clear()
                self._functions.clear()
            for address in theirs:
                self._seen.pop(address, None)
            self._functions = {
                pf: tuple(vf if vf and vf.netdev != netdev else None for vf in vfs)
                for pf, vfs in self._functions.items()
            }

    def set_vfs(
        self, pf: str, changes: Iterable[tuple[int, VfSettings]]
    ) -> Mapping[tuple[int, str], SriovAgentError]:
        """Set VFs of a PF that :meth:`pfs` has shown; what was refused by (index, setting)."""
        if pf not in self._links:
            raise Unavailable(f"PF {pf} was not seen")
        refused = self.netlink.set_vfs(self._links[pf], changes)
        lacking = {name for (_, name), error in refused.items() if isinstance(error, Unsupported)}
        self._unsupported[pf] = self._unsupported.get(pf, frozenset()) | lacking
        return refused

    def _pf(self, address: str, physical_network: str, links: "_Links") -> Pf:
        netdev = self.sysfs.netdev(address)
        link = links.get(netdev)
        if link is None:
            raise Unavailable(f"PF {address}: the kernel has no network device {netdev}")
        self._links[address] = link
        functions = self.sysfs.vfs(address, self._functions.get(address, ()))
        self._functions[address] = tuple(each if each.netdev else None for each in functions)
        if address not in self._hardware:
            self._hardware[address] = self.sysfs.total_vfs(address), self._firmware_lldp(netdev)
        total_vfs, firmware_lldp = self._hardware[address]
        settings = link.all_vfs()
        if len(functions) != len(settings):
            raise Unavailable(
                f"PF {address}: {len(functions)} VFs in sysfs, {len(settings)} in rtnetlink"
            )
        return Pf(
            address=address,
            netdev=netdev,
            mac=link.mac,
            up=link.up,
            carrier=link.carrier,
            carrier_changes=link.carrier_changes,
            firmware_lldp=firmware_lldp,
            physical_network=physical_network,
            bonded_with=tuple(map(self._uplink, links.bonded_with(link))),
            total_vfs=total_vfs,
            vfs=tuple(self._vf(address, f, s) for f, s in zip(functions, settings, strict=True)),
            unsupported=self._unsupported.get(address, frozenset()),
        )

    def _vf(self, pf: str, function: Function, settings: VfSettings) -> Vf:
        excluded = function.address in self.excluded
        return Vf(
            address=function.address,
            pf=pf,
            index=function.index,
            driver=function.driver,
            netdev=function.netdev,
            settings=settings,
            held_by=EXCLUDED if excluded else held_by(function, settings),
            passed_through=function.passed_through,
            excluded=excluded,
        )

    def _uplink(self, link: Link) -> Uplink:
        return Uplink(
            address=self.sysfs.device_address(link.name),
            netdev=link.name,
            mac=link.mac,
            up=link.up,
            carrier=link.carrier,
            carrier_changes=link.carrier_changes,
            firmware_lldp=self._firmware_lldp(link.name),
        )

    def _firmware_lldp(self, netdev: str) -> str:
        flag, harmless = _LLDP_FLAGS.get(self.sysfs.driver(netdev), ("", False))
        if not flag or self.private_flags(netdev).get(flag, harmless) == harmless:
            return ""
        return f"ethtool --set-priv-flags {netdev} {flag} {'on' if harmless else 'off'}"


class _Links:
    """The kernel's devices: all from one dump, or each when it is asked for.

    :raises Unavailable: if the kernel could not be asked, as every method
    """

    def __init__(self, kernel: Kernel, *, whole: bool) -> None:
        self._kernel = kernel
        self._all = kernel.links() if whole else None

    def get(self, name: str) -> Link | None:
        return self._kernel.link(name) if self._all is None else self._all.get(name)

    def bonded_with(self, link: Link) -> list[Link]:
        """The other members of its bond, if it is in one."""
        if not link.master:
            return []
        if self._all is None:
            self._all = self._kernel.links()
        everything = self._all.values()
        members = [other for other in everything if other.master == link.master]
        bonds = [other for other in everything if other.index == link.master]
        if not any(bond.kind in _BONDS for bond in bonds):
            return []
        return [other for other in members if other.index != link.index]


def _netdevs(pf: Pf) -> frozenset[str | None]:
    """The network devices that what is known of a PF is of."""
    uplinks = (uplink.netdev for uplink in pf.uplinks())
    return frozenset([*uplinks, *(vf.netdev for vf in pf.vfs)])


def held_by(function: Function, settings: VfSettings) -> str:
    """Who uses a VF that no port of ours holds; "" if it is free to give away.

    A VF without a network device tells by the MAC its user had set; one with a network device
    by the state of that. A VLAN is only ever set by somebody with a purpose.
    """
    if function.used:
        return function.used
    if function.net and function.netdev is None:
        return "its netdev is in another network namespace"
    if settings.vlan:
        return f"VLAN {settings.vlan} is set"
    if not function.net and settings.mac not in (None, fields.ZERO_MAC):
        return f"driver {function.driver or 'none'} and MAC {settings.mac} set"
    return ""
