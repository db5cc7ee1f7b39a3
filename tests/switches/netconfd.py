# SPDX-License-Identifier: Apache-2.0
"""A NETCONF switch: Debian's ``netconfd`` (yuma123) behind an sshd of ours.

With the models of OpenConfig, which ``OPENCONFIG_YANG`` says where to find, or in the shape of a
Junos switch, by a model of ours. It has no data plane: it is the configuration of a switch.
"""

import contextlib
import os
import pwd
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from lxml import etree
from lxml.builder import ElementMaker
from ncclient import manager, operations
from ncclient.devices.default import DefaultDeviceHandler

from sriov_agent.fabric.ranges import Range
from sriov_agent.fabric.switch.base import Login
from tests.switches import sshd, subsystem
from tests.switches.rig import ALL, CUT, CUT_AFTER, CUT_BEFORE, HELD, LIES, SILENT, Rig
from tools.openstack.processes import Server

NETCONFD = "/usr/sbin/netconfd"
SUBSYSTEM = "/usr/sbin/netconf-subsystem"
MODULES = Path("/usr/share/yuma/modules")
HERE = Path(__file__).parent
#: Where the models of OpenConfig may be beside a checkout.
SHARED = Path("shared/yang")

BASE = "urn:ietf:params:xml:ns:netconf:base:1.0"
REPLACE = {f"{{{BASE}}}operation": "replace"}
#: The faults that tests/switches/subsystem.py plays.
IN_SUBSYSTEM = {CUT_BEFORE: "cut-before", CUT_AFTER: "cut-after", SILENT: "silent", LIES: "lies"}
#: What netconfd says while a session of somebody else is there or ends.
HELD_TAGS = ("in-use", "lock-denied", "resource-denied")
PATIENCE = 120

base = ElementMaker(namespace=BASE, nsmap={None: BASE})


def openconfig_yang() -> Path | None:
    """The directory with the models of OpenConfig, if there is one."""
    if named := os.environ.get("OPENCONFIG_YANG"):
        return Path(named)
    root = HERE.parents[1]
    found = [place / SHARED for place in (root, *root.parents[:1])]
    return next((place for place in found if (place / "openconfig-vlan.yang").exists()), None)


class Behind(DefaultDeviceHandler):  # type: ignore[misc]
    """How the rig itself connects: past what notes and plays."""

    def get_ssh_subsystem_names(self) -> list[str]:
        return ["behind"]


class NetconfRig(Rig):
    """What is common to both models."""

    faults = frozenset({HELD, CUT, *IN_SUBSYSTEM})
    has_ranges = True

    #: The modules that are loaded.
    modules: ClassVar[tuple[str, ...]]

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._server: Server | None = None
        self._manager: Any = None
        for name in ("faults", "sessions", "models"):
            (directory / name).mkdir()
        (directory / "sent").touch()
        socket = directory / "ncx.sock"
        port = sshd.free_ports(1)[0]
        command = f"{SUBSYSTEM} --ncxserver-sockname={port}@{socket}"
        self.filtered = f"{sys.executable} -I {subsystem.__file__} {directory} {command}"
        self.sshd = sshd.Sshd(
            directory / "sshd",
            f"Subsystem netconf {self.filtered}",
            f"Subsystem behind {command}",
            port=port,
        )
        self._command = [
            NETCONFD,
            "--target=candidate",
            f"--startup={directory / 'startup.xml'}",
            f"--superuser={self.sshd.username}",
            f"--port={port}",
            f"--ncxserver-sockname={socket}",
            f"--modpath={directory / 'models'}:{MODULES}",
            *(f"--module={module}" for module in self.modules),
        ]

    @classmethod
    def missing(cls) -> str:
        lacking = [name for name in (NETCONFD, SUBSYSTEM) if not shutil.which(name)]
        return f"not installed: {', '.join(lacking)}" if lacking else sshd.missing()

    def start(self) -> None:
        self._copy_models()
        (self.directory / "startup.xml").write_bytes(etree.tostring(base.config()))
        # netconfd counts its starts in a file that it finds here, or else makes in ~/.yuma. That it
        # makes in any case, or without HOME /tmp/yuma, which then is one user's alone.
        (self.directory / "startup-cfg-txid.txt").write_text("0\n")
        home = pwd.getpwuid(os.getuid()).pw_dir
        made = Path(home, ".yuma")
        had_one = made.exists()
        environment = {"PATH": os.environ["PATH"], "HOME": home}
        self._server = Server(self._command, self.directory / "output", environment)
        try:
            self._server.wait_until(lambda: b"Running netconfd" in self._server.output.read_bytes())
        finally:
            if not had_one:
                with contextlib.suppress(OSError):
                    made.rmdir()
        self.sshd.start()
        login = self.login()
        self._manager = manager.connect_ssh(
            host=login.address,
            port=login.port,
            username=login.username,
            key_filename=str(login.key_file),
            hostkey_b64=login.host_key.split()[1],
            allow_agent=False,
            look_for_keys=False,
            timeout=PATIENCE,
            device_params={"handler": Behind},
        )
        for edit in self.ports():
            self.edit(edit)

    def close(self) -> None:
        if self._manager:
            self._manager.close_session()
        self.cut()
        self.sshd.close()
        if self._server:
            self._server.end()

    def login(self) -> Login:
        return Login(
            name="leaf1",
            address="127.0.0.1",
            port=self.sshd.port,
            username=self.sshd.username,
            key_file=self.sshd.key_file,
            host_key=self.sshd.host_key,
            timeout=60.0,
        )

    def put(self, port: str, entries: Iterable[Range] | None) -> None:
        self.edit(self.trunk(port, entries))

    def get(self, port: str) -> frozenset[int]:
        found = self.entries(self._manager.get_config("running").data_ele, port)
        return ALL if found is None else frozenset(found)

    def writes(self) -> int:
        return self.sent().count("commit")

    def sent(self) -> list[str]:
        """The operations that drivers have sent until now."""
        return (self.directory / "sent").read_text().split()

    @contextlib.contextmanager
    def fault(self, name: str) -> Iterator[None]:
        if name == CUT:
            self.cut()
            yield
        elif name == HELD:
            self._patiently(lambda: self._manager.lock("candidate"))
            try:
                yield
            finally:
                self._manager.unlock("candidate")
        else:
            file = self.directory / "faults" / IN_SUBSYSTEM[name]
            file.touch()
            try:
                yield
            finally:
                file.unlink()

    def cut(self) -> None:
        """Cut all connections of drivers."""
        for session in (self.directory / "sessions").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(session.name), signal.SIGKILL)
            session.unlink()

    def edit(self, config: etree._Element, commit: bool = True) -> None:
        """Edit and commit behind the driver's back, once nobody else holds the switch."""
        self._patiently(lambda: self._manager.edit_config(base.config(config), target="candidate"))
        if commit:
            self._patiently(self._manager.commit)

    @staticmethod
    def _patiently(act: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                act()
            except operations.RPCError as error:
                held = error.errlist is None and error.tag in HELD_TAGS
                if not held or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def _copy_models(self) -> None:
        raise NotImplementedError

    def ports(self) -> list[etree._Element]:
        """The edits that make all ports, as they are when it starts."""
        raise NotImplementedError

    def trunk(self, port: str, entries: Iterable[Range] | None) -> etree._Element:
        """The edit that has a trunk carry these alone."""
        raise NotImplementedError

    def entries(self, data: etree._Element, port: str) -> set[int] | None:
        """The VLANs of a port in the whole configuration; ``None`` if all."""
        raise NotImplementedError


OC = {
    "if": "http://openconfig.net/yang/interfaces",
    "eth": "http://openconfig.net/yang/interfaces/ethernet",
    "lag": "http://openconfig.net/yang/interfaces/aggregate",
    "vlan": "http://openconfig.net/yang/vlan",
    "type": "urn:ietf:params:xml:ns:yang:iana-if-type",
}
oc, eth, lag, ocvlan = (ElementMaker(namespace=OC[name]) for name in ("if", "eth", "lag", "vlan"))


class OpenConfigRig(NetconfRig):
    """With OpenConfig's own models, as openconfig/public has them."""

    driver = "openconfig"
    access = "Ethernet3"
    lag = ("Ethernet4", "Port-Channel1")
    trunks = ("Ethernet1", "Ethernet2")
    modules = (
        "openconfig-interfaces",
        "openconfig-if-ethernet",
        "openconfig-if-aggregate",
        "openconfig-vlan",
    )

    @classmethod
    def excuse(cls) -> str:
        if openconfig_yang():
            return ""
        return "no models of OpenConfig: OPENCONFIG_YANG names a directory with them"

    def ports(self) -> list[etree._Element]:
        member, aggregate = self.lag
        in_vlan = oc.interface(
            oc.name(self.access),
            eth.ethernet(
                ocvlan(
                    "switched-vlan",
                    ocvlan.config(ocvlan("interface-mode", "ACCESS"), ocvlan("access-vlan", "7")),
                )
            ),
        )
        in_lag = oc.interface(
            oc.name(member), eth.ethernet(eth.config(lag("aggregate-id", aggregate)))
        )
        types = [(port, "ethernetCsmacd") for port in (*self.trunks, self.access, member)]
        made = [_interface(port, kind) for port, kind in [*types, (aggregate, "ieee8023adLag")]]
        trunks = [self.trunk(port, []) for port in (*self.trunks, aggregate)]
        return [oc.interfaces(*made), oc.interfaces(in_vlan, in_lag), *trunks]

    def trunk(self, port: str, entries: Iterable[Range] | None) -> etree._Element:
        listed = [str(low) if low == high else f"{low}..{high}" for low, high in entries or []]
        container = lag.aggregation if port == self.lag[1] else eth.ethernet
        config = ocvlan.config(
            ocvlan("interface-mode", "TRUNK"), *(ocvlan("trunk-vlans", text) for text in listed)
        )
        config.set(*next(iter(REPLACE.items())))
        return oc.interfaces(
            oc.interface(oc.name(port), container(ocvlan("switched-vlan", config)))
        )

    def entries(self, data: etree._Element, port: str) -> set[int] | None:
        path = "if:interfaces/if:interface[if:name=$port]/*/vlan:switched-vlan/vlan:config"
        (config,) = data.xpath(path, namespaces=OC, port=port)
        texts = config.xpath("vlan:trunk-vlans/text()", namespaces=OC)
        return _expanded(texts, "..") or None

    def _copy_models(self) -> None:
        yang = openconfig_yang()
        assert yang
        for model in yang.glob("**/*.yang"):
            shutil.copy(model, self.directory / "models")


def _interface(port: str, kind: str) -> etree._Element:
    made = etree.Element(f"{{{OC['if']}}}type", nsmap={"type": OC["type"]})
    made.text = f"type:{kind}"
    return oc.interface(oc.name(port), oc.config(oc.name(port), made))


def _expanded(texts: Iterable[str], between: str) -> set[int]:
    found: set[int] = set()
    for text in texts:
        low, _, high = text.partition(between)
        found.update(range(int(low), int(high or low) + 1))
    return found


JUNOS = "http://xml.juniper.net/xnm/1.1/xnm"
jc = ElementMaker(namespace=JUNOS, nsmap={None: JUNOS})
FAMILY = "j:unit[j:name='0']/j:family/j:ethernet-switching"


class JunosRig(NetconfRig):
    """In the shape of Junos with ELS, by a model of ours; ports name VLANs in each way there is."""

    driver = "junos"
    access = "xe-0/0/3"
    lag = ("xe-0/0/4", "ae0")
    trunks = ("xe-0/0/1", "xe-0/0/2")
    modules = ("junos-mini",)

    def ports(self) -> list[etree._Element]:
        member, aggregate = self.lag
        vlans = jc.vlans(
            jc.vlan(jc.name("storage"), jc("vlan-id", "100")),
            jc.vlan(jc.name("access"), jc("vlan-id", "7")),
        )
        bundle = jc("ieee-802.3ad", jc.bundle(aggregate))
        interfaces = jc.interfaces(
            *(self._port(port) for port in (*self.trunks, aggregate)),
            self._port(self.access, "access", "access"),
            jc.interface(jc.name(member), jc("ether-options", bundle)),
        )
        return [jc.configuration(vlans, interfaces)]

    def trunk(self, port: str, entries: Iterable[Range] | None) -> etree._Element:
        members = ["all"] if entries is None else [self._text(*entry) for entry in entries]
        interface = self._port(port, "trunk", *members)
        (vlan,) = interface.iter(f"{{{JUNOS}}}vlan")
        vlan.set(*next(iter(REPLACE.items())))
        return jc.configuration(jc.interfaces(interface))

    def entries(self, data: etree._Element, port: str) -> set[int] | None:
        names = {"j": JUNOS}
        path = f"j:configuration/j:interfaces/j:interface[j:name=$port]/{FAMILY}/j:vlan/j:members"
        found: set[int] = set()
        for member in data.xpath(f"{path}/text()", namespaces=names, port=port):
            if member == "all":
                return None
            defined = "j:configuration/j:vlans/j:vlan[j:name=$name]/j:vlan-id/text()"
            numbers = data.xpath(defined, namespaces=names, name=member)
            found |= _expanded(numbers or [member], "-")
        return found

    @staticmethod
    def _text(low: int, high: int) -> str:
        if low != high:
            return f"{low}-{high}"
        return "storage" if low == 100 else str(low)

    @staticmethod
    def _port(port: str, mode: str = "trunk", *members: str) -> etree._Element:
        switching = jc("ethernet-switching", jc("interface-mode", mode))
        switching.append(jc.vlan(*(jc.members(member) for member in members)))
        return jc.interface(jc.name(port), jc.unit(jc.name("0"), jc.family(switching)))

    def _copy_models(self) -> None:
        shutil.copy(HERE / "junos-mini.yang", self.directory / "models")
