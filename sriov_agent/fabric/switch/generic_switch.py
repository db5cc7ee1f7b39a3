# SPDX-License-Identifier: Apache-2.0
"""Switches with a command line, by networking-generic-switch (NGS) as a library."""

from __future__ import annotations

import atexit
import contextlib
import json
import re
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from oslo_service import backend

# Before NGS is imported, which else takes the one with eventlet.
with contextlib.suppress(backend.exceptions.BackendAlreadySelected):
    backend.init_backend(backend.BackendType.THREADING)

from networking_generic_switch import batching, devices
from networking_generic_switch.exceptions import GenericSwitchException

from sriov_agent.exceptions import (
    ConfigError,
    InvalidField,
    Refused,
    Unavailable,
    printable,
)
from sriov_agent.fabric.model import Applied, Changes, Ports, PortVlans
from sriov_agent.fabric.ranges import vlans
from sriov_agent.fabric.switch.base import (
    Decide,
    Login,
    Switch,
    effective,
    port_name,
    targets,
)
from sriov_agent.fabric.switch.host_key import host_key
from sriov_agent.fabric.switch.ovsdb import carried, rows

# It waits for threads of batching, which is not used, and says that it did so in vain.
atexit.unregister(batching._wait_for_threads)

#: What a line of a switch's answer has that NGS takes for success.
COMPLAINT = re.compile(
    r"^\s*%|\b(?:error|invalid|incomplete|ambiguous|unknown command)\b"
    r"|\b(?:not found|no row|denied|failed)\b",
    re.IGNORECASE,
)
#: The network's name on the switch, if NGS makes VLANs: the same for the same VLAN everywhere.
NETWORKS = uuid.UUID("6a1c8e4e-0f57-4f0a-9c59-0b4f3f1f6f5e")

Ask = Callable[[str], str]


class GenericSwitch(Switch):
    """``device_type`` is NGS's, ``netmiko_arista_eos``; further options are given to it as they
    are: ``ngs_*``, and netmiko's. Needs ``host_key``, and a ``password`` or a ``key_file``; the
    password is also that of the enable mode.

    Only device types whose ports can be read here are driven: NGS says of a change that it was
    made when the switch refused it. A change is a list of commands: it is not made as a whole, no
    lock keeps others out, and one that is cut off may be half made.
    """

    def __init__(self, login: Login) -> None:
        super().__init__(login)
        section = f"[switch:{login.name}]"
        kind = login.options.get("device_type", "")
        if kind not in READERS:
            known = ", ".join(READERS)
            raise ConfigError(
                f"{section} device_type: {kind!r} is none whose ports can be read, and what cannot "
                f"be read is not changed; expected one of {known}"
            )
        if not login.password and not login.key_file:
            raise ConfigError(f"{section} key_file: needed, if there is no password")
        if login.key_file and not login.key_file.is_file():
            raise ConfigError(f"{section} key_file: {login.key_file} is no file")
        host_key(login)
        self._read = READERS[kind]
        self._known_hosts = tempfile.NamedTemporaryFile("w", prefix="known-host-")  # noqa: SIM115
        where = login.address if login.port in {None, 22} else f"[{login.address}]:{login.port}"
        self._known_hosts.write(f"{where} {' '.join(login.host_key.split()[:2])}\n")
        self._known_hosts.flush()
        try:
            self._device: Any = devices.device_manager(self._settings(kind), login.name)
        except Exception as error:
            raise ConfigError(f"{section} device_type: {printable(str(error))}") from error
        if not self._device.support_trunk_on_ports:
            raise ConfigError(f"{section} device_type: NGS changes no trunks of {kind!r}")
        self._send = self._device.send_commands_to_device
        self._device.send_commands_to_device = self._checked

    def describe(self) -> list[str]:
        with self._answering(), self._device._get_connection() as connection:
            prompt = connection.find_prompt()
        return [
            f"{self.login.options['device_type']} by networking-generic-switch",
            f"its prompt: {printable(prompt)}",
            f"changes trunks{' and bonds' if self._device.support_trunk_on_bond_ports else ''}",
        ]

    def read(self, ports: Iterable[str]) -> Ports:
        names = [port_name(name) for name in ports]
        return self._carried(names)

    def apply(self, ports: Iterable[str], decide: Decide) -> Applied:
        names = [port_name(name) for name in ports]
        before = self._carried(names)
        changes = effective(before, decide(before), self.needs_a_vlan)
        if changes:
            self._make(targets(before, changes), {before[port].lag for port in changes})
        after = self._carried(names) if changes else before
        return Applied(before=before, changes=changes, after=after)

    def close(self) -> None:
        self._device._drain_cached_connections()

    def _settings(self, kind: str) -> dict[str, Any]:
        """NGS's configuration of the switch; it takes what is its own out of it."""
        login = self.login
        return {
            # one connection for all of a transaction, and one attempt to make it
            "ngs_ssh_reuse_connection": "True",
            "ngs_ssh_connect_timeout": "0",
            "ngs_manage_vlans": "False",
            "secret": login.password,
            **{name: value for name, value in login.options.items() if name != "device_type"},
            "device_type": kind,
            "ngs_batch_requests": "False",
            "ip": login.address,
            **({"port": login.port} if login.port else {}),
            "username": login.username,
            "password": login.password,
            **({"key_file": str(login.key_file)} if login.key_file else {}),
            "use_keys": False,
            "allow_agent": False,
            "ssh_strict": True,
            "system_host_keys": False,
            "alt_host_keys": True,
            "alt_key_file": self._known_hosts.name,
            "conn_timeout": login.timeout,
            "auth_timeout": login.timeout,
            "banner_timeout": login.timeout,
            "read_timeout_override": login.timeout,
        }

    def _carried(self, names: list[str]) -> Ports:
        if not names:
            return {}
        with self._answering(), self._device._get_connection() as connection:
            try:
                return self._read(connection.send_command, names)
            except (LookupError, TypeError, ValueError, InvalidField) as error:
                reason = f"its answer is not as expected: {printable(str(error))}"
                raise Unavailable(f"{self._where}: {reason}") from None

    def _make(self, changes: Changes, lags: set[str]) -> None:
        """Open first: a port that changes hands is never without VLANs."""
        for port, change in changes.items():
            profile = {}
            if port in lags:
                if not self._device.support_trunk_on_bond_ports:
                    raise Refused(f"{port}: networking-generic-switch changes no bonds of its type")
                profile = {"local_group_information": {"bond_mode": "802.3ad"}}
            with self._answering("; whether all of the change was made is unknown"):
                if self._device._do_vlan_management():
                    for vlan in sorted(change.add):
                        self._device.add_network(vlan, str(uuid.uuid5(NETWORKS, str(vlan))))
                for act, listed in (
                    (self._device.add_subports_on_trunk, change.add),
                    (self._device.del_subports_on_trunk, change.remove),
                ):
                    if listed:
                        act(profile, port, [{"segmentation_id": vlan} for vlan in sorted(listed)])

    def _checked(self, commands: list[str]) -> str:
        """What the switch prints to commands.

        :raises Refused: there are none, or one was not taken
        """
        if not commands:
            raise Refused(f"{self._where}: networking-generic-switch has no command for this")
        printed: str = self._send(commands) or ""
        for line in printed.splitlines():
            if COMPLAINT.search(line):
                raise Refused(f"{self._where}: {printable(line.strip(), 200)}")
        return printed

    @property
    def _where(self) -> str:
        return f"{self.login.name} ({self.login.address})"

    @contextlib.contextmanager
    def _answering(self, lost: str = "") -> Iterator[None]:
        """What NGS and netmiko fail with, as errors of ours.

        :param lost: what it means if the connection fails
        """
        try:
            yield
        except (Refused, Unavailable):
            raise
        except Exception as error:
            # NGS has one error for all of it; what it was is behind that.
            causes = list(_causes(error))
            names = {type(cause).__name__ for cause in causes}
            if "BadHostKeyException" in names:
                raise Refused(f"{self._where}: its host key is not that of host_key") from None
            if names & {"AuthenticationException", "NetmikoAuthenticationException"}:
                raise Refused(f"{self._where}: it does not let the user in") from None
            first = next((c for c in causes if not isinstance(c, GenericSwitchException)), error)
            reason = f"{type(first).__name__}: {printable(str(first), 200)}"
            raise Unavailable(f"{self._where}: {reason}{lost}") from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _open_vswitch(ask: Ask, names: list[str]) -> Ports:
    listed = _table(
        ask("ovs-vsctl --format=json --columns=name,interfaces,vlan_mode,tag,trunks list Port")
    )
    interfaces = _table(ask("ovs-vsctl --format=json --columns=_uuid,name list Interface"))
    found = rows(listed, interfaces)
    return {name: carried(found[name]) for name in names if name in found}


def _table(answer: str) -> list[dict[str, Any]]:
    table = json.loads(answer)
    return [dict(zip(table["headings"], row, strict=True)) for row in table["data"]]


def _eos(ask: Ask, names: list[str]) -> Ports:
    """As EOS 4 writes it; not run against a switch."""
    members = {
        member: lag
        for lag, row in json.loads(ask("show port-channel | json"))["portChannels"].items()
        for member in row["activePorts"] | row["inactivePorts"]
    }
    ports = json.loads(ask("show interfaces switchport | json"))["switchports"]
    found = {}
    for name in names:
        if (row := ports.get(members.get(name, name))) is not None:
            about = row["switchportInfo"]
            trunk = bool(row["enabled"]) and about["mode"] == "trunk"
            allowed = about["trunkAllowedVlans"].lower()
            found[name] = PortVlans(
                trunk=trunk,
                every=trunk and allowed == "all",
                vlans=vlans(allowed) if trunk and allowed not in {"all", "none"} else frozenset(),
                native=about["trunkingNativeVlanId"] if trunk else about["accessVlanId"],
                lag=members.get(name, ""),
            )
    return found


#: device type -> how its ports are read
READERS: Mapping[str, Callable[[Ask, list[str]], Ports]] = {
    "netmiko_ovs_linux": _open_vswitch,
    "netmiko_arista_eos": _eos,
}
