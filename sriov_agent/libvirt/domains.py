# SPDX-License-Identifier: Apache-2.0
"""libvirt's domains: what they have of this host, and how a VF gets into one and out again.

The only user of the ``libvirt`` module, which is loaded with this one. What it tells is read anew
each time, so a libvirtd that was gone has nothing to catch up on.
"""

import contextlib
import errno
import functools
import logging
import queue
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import Any

import libvirt

from sriov_agent.core.guests import Held, Reserved
from sriov_agent.core.state import Interface
from sriov_agent.exceptions import InvalidField, Refused, SriovAgentError, Unavailable
from sriov_agent.libvirt import nic, xml
from sriov_agent.libvirt.network import reserved

LOG = logging.getLogger(__name__)

#: A peer that is silent for as long as interval times count, in seconds, is gone.
_KEEPALIVE_INTERVAL, _KEEPALIVE_COUNT = 5, 3
_LOOK_AGAIN_SECONDS = 1.0

#: Life-cycle events after which a domain may have more or less than before.
_CHANGING = frozenset(
    {
        libvirt.VIR_DOMAIN_EVENT_STARTED,
        libvirt.VIR_DOMAIN_EVENT_STOPPED,
        libvirt.VIR_DOMAIN_EVENT_CRASHED,
    }
)
_READ_ONLY = frozenset(
    {
        libvirt.VIR_ERR_OPERATION_DENIED,
        libvirt.VIR_ERR_ACCESS_DENIED,
        libvirt.VIR_ERR_AUTH_CANCELLED,
        libvirt.VIR_ERR_AUTH_FAILED,
        libvirt.VIR_ERR_AUTH_UNAVAILABLE,
    }
)


class Domains:
    """The domains of one libvirt; connects when it is asked something, and again when it has to.

    :param uri: as ``virsh -c`` takes it
    :param changed: called from a thread of its own when a domain may have more or less than
        before, and when the connection is lost
    :param read_only: whether it is only to be observed
    :param patience: seconds that a connection may take to come about
    """

    def __init__(
        self,
        uri: str,
        changed: Callable[[], None] | None = None,
        *,
        read_only: bool = False,
        patience: float = 10.0,
    ) -> None:
        self.uri = uri
        self._changed = changed
        self._read_only = read_only
        self._patience = patience
        self._connection: Any = None
        self._opening: queue.SimpleQueue[Any] | None = None
        self._happened = threading.Event()
        self._kept: set[tuple[str, str]] = set()

    def held(self) -> list[Held]:
        """What running domains have of the host's PCI functions and netdevs.

        :raises Unavailable: if libvirt does not answer
        """
        found: list[Held] = []
        with self._errors("its domains cannot be listed"):
            connection = self._connected()
            for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                name = domain.name()
                for device in nic.devices(_live(domain)):
                    match nic.source(device):
                        case nic.Vf(address) | nic.WholePf(address):
                            found.append(Held(domain=name, address=address))
                        case nic.Macvtap(netdev):
                            found.append(Held(domain=name, netdev=netdev))
        return found

    def reserved(self) -> list[Reserved]:
        """What active networks give their guests of the host's VFs.

        :raises Unavailable: if libvirt does not answer
        """
        with self._errors("its networks cannot be listed"):
            connection = self._connected()
            try:
                found = connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE)
            except libvirt.libvirtError as error:
                if _has_no_networks(error):
                    return []
                raise
            listed = [reserved(str(each.XMLDesc())) for each in found]
        return [each for each in listed if each]

    def attach(self, name: str, interface: Interface, *, live: bool, config: bool) -> None:
        """Give a port's VF to a domain: the running one, ``live``, its definition, ``config``.

        :raises InvalidField: if there is no such domain
        :raises Refused: if another domain has the VF, or libvirt refuses
        """
        domain = self._domain(name)
        for holder in self.held():
            if holder.address == interface.vf or (
                interface.netdev and holder.netdev == interface.netdev
            ):
                raise Refused(
                    f"domain {name}: VF {interface.vf} is in the running domain {holder.domain}: "
                    "detach it there first (sriovctl port detach)"
                )
        with self._errors("VF not attached", name, interface.vf):
            domain.attachDeviceFlags(xml.render(interface), _flags(live, config))

    def detach(
        self, name: str, interface: Interface, *, live: bool, config: bool, timeout: float
    ) -> None:
        """Take a port's VF out of a domain, and wait until its guest has let go of it.

        Where it is of the two, of those that are asked for.

        :param timeout: seconds to wait
        :raises InvalidField: if there is no such domain, or it has no such interface
        :raises Refused: if libvirt refuses, or the guest keeps the VF
        """
        domain = self._domain(name)
        with self._errors("VF not detached", name, interface.vf):
            running, alias = _device(_live(domain), interface) if live else (None, "")
            defined, _ = (
                _device(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), interface)
                if config
                else (None, "")
            )
            device = defined if running is None else running
            if device is None:
                raise InvalidField(
                    "port", interface.mac, f"VF {interface.vf} is not in the domain {name}"
                )
            self._happened.clear()
            self._kept.discard((name, alias))
            flags = _flags(running is not None, defined is not None)
            domain.detachDeviceFlags(nic.text(device), flags)
            deadline = time.monotonic() + timeout
            while running is not None and self._has(domain, interface):
                if (name, alias) in self._kept:
                    raise Refused(
                        f"domain {name}: its guest refused to give VF {interface.vf} back: "
                        "have it stop using the device, then detach again"
                    )
                if time.monotonic() > deadline:
                    raise Refused(
                        f"domain {name}: its guest has not given VF {interface.vf} back in "
                        f"{timeout:g} s: see that it has booted and supports hot-unplug, then "
                        "detach again, or shut the domain down"
                    )
                self._happened.wait(_LOOK_AGAIN_SECONDS)
                self._happened.clear()

    @staticmethod
    def _has(domain: Any, interface: Interface) -> bool:
        return bool(domain.isActive()) and _device(_live(domain), interface)[0] is not None

    def networks(self) -> dict[str, str]:
        """The XML of every network that is defined or active, by name.

        :raises Unavailable: if libvirt does not answer
        """
        with self._errors("its networks cannot be listed"):
            found = self._connected().listAllNetworks()
            return {network.name(): str(network.XMLDesc()) for network in found}

    def is_active_network(self, name: str) -> bool:
        """Whether there is a network of this name that runs.

        :raises Unavailable: if libvirt does not answer
        """
        with self._errors("its networks cannot be listed"):
            found = self._connected().listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE)
            return name in {network.name() for network in found}

    def define_network(self, name: str, text: str, *, start: bool) -> None:
        """Define a network, and have it active, now and after a restart, if it is to ``start``.

        :raises Refused: if there is one of that name that runs, or libvirt refuses
        """
        if self.is_active_network(name):
            raise Refused(
                f"network {name} is active, and guests may be in it: end it first (virsh "
                f"-c {self.uri} net-destroy {name})"
            )
        with self._errors(f"network {name}: not defined"):
            network = self._connected().networkDefineXML(text)
            if start:
                network.setAutostart(True)
                network.create()

    def undefine_network(self, name: str, uuid: str) -> None:
        """End a network, and forget it; one that is not there is left at that.

        :raises Refused: if libvirt refuses
        """
        with self._errors(f"network {name}: not undefined"):
            for network in self._connected().listAllNetworks():
                if network.UUIDString() == uuid:
                    if network.isActive():
                        network.destroy()
                    network.undefine()

    def define(self, name: str, text: str) -> None:
        """Define a domain, or define it anew: one that runs has it from its next start on.

        :raises Refused: if there is another of that name, or libvirt refuses
        """
        with self._errors("not defined", name):
            self._connected().defineXML(text)

    def start(self, name: str, uuid: str) -> None:
        """Start a domain; one that runs already runs on.

        :raises InvalidField: if there is no such domain
        :raises Refused: if the one of that name has another UUID, or libvirt refuses
        """
        domain = self._own(name, uuid)
        with self._errors("not started", name):
            if not domain.isActive():
                domain.create()

    def shut_down(self, name: str, uuid: str) -> None:
        """Ask a domain's guest to shut down; as :meth:`start`."""
        domain = self._own(name, uuid)
        with self._errors("not shut down", name):
            if domain.isActive():
                domain.shutdown()

    def destroy(self, name: str, uuid: str) -> None:
        """End a domain at once, and forget it; one that is not there is left at that.

        :raises Refused: as :meth:`start`
        """
        try:
            domain = self._own(name, uuid)
        except InvalidField:
            return
        with self._errors("not destroyed", name):
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)

    def _own(self, name: str, uuid: str) -> Any:
        """The domain of this name, if it has this UUID: another one is somebody else's."""
        domain = self._domain(name)
        with self._errors("its UUID is unknown", name):
            found = domain.UUIDString()
        if found != uuid:
            raise Refused(f"domain {name}: it was not defined here: its UUID is {found}")
        return domain

    def active(self, name: str) -> tuple[bool, bool]:
        """Whether a domain is running, and whether its definition outlives that.

        :raises InvalidField: if there is no such domain
        """
        domain = self._domain(name)
        with self._errors("its state is unknown", name):
            return bool(domain.isActive()), bool(domain.isPersistent())

    def close(self) -> None:
        """Leave libvirt."""
        self._changed = None
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(libvirt.libvirtError):
                connection.unregisterCloseCallback()
            with contextlib.suppress(libvirt.libvirtError):
                connection.close()

    def _domain(self, name: str) -> Any:
        with self._errors("not found", name):
            try:
                return self._connected().lookupByName(name)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
        raise InvalidField("domain", name, f"no such domain; see: virsh -c {self.uri} list --all")

    def _connected(self) -> Any:
        if self._connection is not None and not self._connection.isAlive():
            with contextlib.suppress(libvirt.libvirtError):
                self._connection.close()
            self._connection = None
        if self._connection is None:
            opened = self._opened()
            with contextlib.suppress(libvirt.libvirtError):  # drivers without a daemon have none
                opened.setKeepAlive(_KEEPALIVE_INTERVAL, _KEEPALIVE_COUNT)
            self._listen(opened)
            self._connection = opened
        return self._connection

    def _opened(self) -> Any:
        """A new connection. A libvirtd that hangs would hold up who opens one for ever."""
        wait = 0.0
        if self._opening is None:
            start_events()
            self._opening, wait = queue.SimpleQueue(), self._patience
            open_ = libvirt.openReadOnly if self._read_only else libvirt.open
            arguments = open_, self.uri, self._opening
            threading.Thread(target=_open, args=arguments, name="libvirt", daemon=True).start()
        try:
            answer = self._opening.get(timeout=wait)
        except queue.Empty:
            raise Unavailable(f"{self.uri} does not answer: is it running?") from None
        self._opening = None
        if isinstance(answer, libvirt.libvirtError):
            raise answer
        return answer

    def _listen(self, connection: Any) -> None:
        with contextlib.suppress(libvirt.libvirtError):
            connection.registerCloseCallback(self._lost, None)
        for event, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._life_cycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, self._device_changed),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._device_changed),
            (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, self._device_kept),
        ):
            connection.domainEventRegisterAny(None, event, callback, None)

    def _lost(self, _connection: Any, _reason: int, _: object) -> None:
        LOG.warning("%s: the connection is lost", self.uri)
        self._tell()

    def _life_cycle(self, _connection: Any, _domain: Any, event: int, _: int, __: object) -> None:
        if event in _CHANGING:
            self._tell()

    def _device_changed(self, _connection: Any, _domain: Any, _alias: str, _: object) -> None:
        self._tell()

    def _device_kept(self, _connection: Any, domain: Any, alias: str, _: object) -> None:
        self._kept.add((domain.name(), alias))
        self._happened.set()

    def _tell(self) -> None:
        self._happened.set()
        if self._changed:
            self._changed()

    @contextlib.contextmanager
    def _errors(self, what: str, name: str = "", vf: str = "") -> Iterator[None]:
        """Errors of libvirt as ours: one sentence that names the domain and the VF."""
        try:
            yield
        except libvirt.libvirtError as error:
            about = " ".join(filter(None, [name and f"domain {name}:", vf and f"VF {vf}:", what]))
            said = " ".join(str(error).split())
            if error.get_error_code() in _READ_ONLY:
                raise Refused(
                    f"{about}: {self.uri} may only be read by this user ({said}): run this as "
                    "root or as a member of the group libvirt"
                ) from error
            alive: SriovAgentError = Refused(f"{about}: libvirt refuses: {said}")
            if not self._alive():
                alive = Unavailable(f"{about}: {self.uri} does not answer ({said}): is it running?")
            raise alive from error

    def _alive(self) -> bool:
        try:
            return self._connection is not None and bool(self._connection.isAlive())
        except libvirt.libvirtError:
            return False


def _has_no_networks(error: libvirt.libvirtError) -> bool:
    """Whether this libvirt has no driver for networks, or its daemon of that is not installed."""
    code = error.get_error_code()
    absent = code == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() == errno.ENOENT
    return bool(absent or code == libvirt.VIR_ERR_NO_SUPPORT)


def _open(open_: Callable[[str], Any], uri: str, answer: "queue.SimpleQueue[Any]") -> None:
    try:
        answer.put(open_(uri))
    except libvirt.libvirtError as error:
        answer.put(error)


def _live(domain: Any) -> str:
    """The XML of a domain; of one that has just ended, nothing."""
    try:
        return str(domain.XMLDesc(0))
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return "<domain/>"


def _device(domain: str, interface: Interface) -> tuple[ET.Element | None, str]:
    """The element of a port's VF in a domain's XML, and libvirt's alias of it."""
    wanted = xml.device(interface).source
    for device in nic.devices(domain):
        if nic.source(device) == wanted:
            alias = device.find("alias")
            return device, alias.get("name", "") if alias is not None else ""
    return None, ""


def _flags(live: bool, config: bool) -> int:
    return int(live and libvirt.VIR_DOMAIN_AFFECT_LIVE) | int(
        config and libvirt.VIR_DOMAIN_AFFECT_CONFIG
    )


@functools.cache
def start_events() -> None:
    """libvirt's own event loop, once in a process; it also keeps libvirt off stderr."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, name="libvirt events", daemon=True).start()


def _run_events() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            LOG.error("libvirt's event loop: %s", error)
            time.sleep(_LOOK_AGAIN_SECONDS)
