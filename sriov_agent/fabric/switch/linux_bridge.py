# SPDX-License-Identifier: Apache-2.0
"""A Linux bridge on a whitebox switch, by SSH."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import paramiko
from msgspec import Struct

from sriov_agent.exceptions import ConfigError, Refused, Unavailable, printable
from sriov_agent.fabric.model import Applied, Changes, Ports, PortVlans
from sriov_agent.fabric.ranges import ranges, text
from sriov_agent.fabric.switch.base import (
    Decide,
    Login,
    Switch,
    effective,
    port_name,
    targets,
)

DEFAULT_LOCK_FILE = "/run/lock/sriov-device-manager"
PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/-]+")

# Fixed text: nothing that comes from the fabric is ever part of a command.
READ = "bridge -json -compressvlans vlan show && ip -json -details link show"
ABOUT = "uname -sr && bridge -V"
#: One command is one transaction: it reads, waits for an edit on stdin, makes it and reads again.
#: An edit without its last line was cut short; one that does not come lets go of the lock.
TRANSACTION = """
{read} || exit
edit=$(timeout {seconds} cat) || exit
case $edit in *"# end") ;; *) exit 0 ;; esac
printf "%s\\n" "$edit" | {sudo} bridge -batch - || exit
{read}
"""
#: exit statuses: what ``flock -E`` is told for a lock that somebody has, and timeout's own
LOCKED, TOO_LATE = 75, 124
LONGEST_ANSWER = 1 << 26
SSH_PORT = 22


class LinuxBridge(Switch):
    """Needs ``host_key``, and a ``password`` or a ``key_file``; neither an agent nor another key is
    tried. Options: ``sudo = true`` if the user is not root, and ``lock_file``
    (/run/lock/sriov-device-manager), which one transaction at a time holds.

    A VLAN that is not listed is not carried, so the last may go. VLANs that are untagged on a
    port, and the bridge's own, are never changed. The bridge forgets all of it in a restart.
    """

    needs_a_vlan = False

    def __init__(self, login: Login) -> None:
        super().__init__(login)
        self._host_key = _host_key(login)
        if not login.password and not login.key_file:
            raise ConfigError(f"[switch:{login.name}] key_file: needed, if there is no password")
        sudo = login.options.get("sudo", "false").lower()
        lock_file = login.options.get("lock_file", DEFAULT_LOCK_FILE)
        if sudo not in {"true", "false"}:
            raise ConfigError(f"[switch:{login.name}] sudo: {sudo!r} is neither true nor false")
        if not PLAIN_PATH.fullmatch(lock_file):
            raise ConfigError(f"[switch:{login.name}] lock_file: {lock_file!r} is no plain path")
        self._transaction = transaction(lock_file, math.ceil(login.timeout), sudo == "true")
        self._client: paramiko.SSHClient | None = None

    def describe(self) -> list[str]:
        with self._running(ABOUT) as command:
            about = command.words().splitlines()
        with self._running(READ) as command:
            ports = command.bridge_ports()
        bridged = [port.carried for port in ports.values() if not port.carried.lag]
        unfiltered = sum(port.every for port in bridged)
        return [
            ", ".join(map(printable, about)),
            f"{len(bridged)} bridge ports, {unfiltered} of them in a bridge that filters no VLANs",
        ]

    def read(self, ports: Iterable[str]) -> Ports:
        names = [port_name(name) for name in ports]
        with self._running(READ) as command:
            return _named(command.bridge_ports(), names)

    def apply(self, ports: Iterable[str], decide: Decide) -> Applied:
        names = [port_name(name) for name in ports]
        with self._running(self._transaction) as command:
            found = command.bridge_ports()
            before = _named(found, names)
            changes = effective(before, decide(before), self.needs_a_vlan)
            if not changes:
                return Applied(before=before, changes={}, after=before)
            command.give(_batch(targets(before, changes), found))
            after = _named(command.bridge_ports(), names)
        return Applied(before=before, changes=changes, after=after)

    def close(self) -> None:
        if self._client:
            self._client.close()
        self._client = None

    @contextlib.contextmanager
    def _running(self, command: str) -> Iterator[_Command]:
        """A command; in the end it has ended, and so has its lock."""
        where = f"{self.login.name} ({self.login.address})"
        try:
            with _answering(where):
                channel = self._transport().open_session(timeout=self.login.timeout)
                channel.exec_command(f"PATH=$PATH:/usr/sbin:/sbin; export PATH; {command}")
            running = _Command(channel, where, self.login.timeout)
            try:
                yield running
            finally:
                running.end()
        except Unavailable:
            self.close()
            raise

    def _transport(self) -> paramiko.Transport:
        transport = self._client.get_transport() if self._client else None
        if transport is None or not transport.is_active():
            self.close()
            self._client = self._connect()
            transport = self._client.get_transport()
        if transport is None:
            raise EOFError("the connection is gone")
        return transport

    def _connect(self) -> paramiko.SSHClient:
        login, client = self.login, paramiko.SSHClient()
        port = login.port or SSH_PORT
        known_as = login.address if port == SSH_PORT else f"[{login.address}]:{port}"
        client.get_host_keys().add(known_as, self._host_key.get_name(), self._host_key)
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        key = _key(login)
        try:
            client.connect(
                login.address,
                port,
                login.username,
                login.password or None,
                key,
                allow_agent=False,
                look_for_keys=False,
                timeout=login.timeout,
                banner_timeout=login.timeout,
                auth_timeout=login.timeout,
            )
        except BaseException:
            client.close()
            raise
        return client


def transaction(lock_file: str, seconds: int, sudo: bool) -> str:
    """The command that is a transaction.

    :param seconds: how long it waits for an edit, with the lock
    """
    script = TRANSACTION.format(read=READ, seconds=seconds, sudo="sudo -n" if sudo else "")
    return f"flock -n -E {LOCKED} {lock_file} sh -c '{script}'"


class Port(Struct, frozen=True):
    """A port of a bridge; ``untagged`` are VLANs whose frames leave it without a tag."""

    carried: PortVlans
    untagged: frozenset[int] = frozenset()


class _Command:
    """A command that runs on the switch.

    :param where: whose it is, for messages
    :param timeout: seconds for each answer
    """

    def __init__(self, channel: paramiko.Channel, where: str, timeout: float) -> None:
        self._channel = channel
        self._where = where
        self._timeout = timeout
        self._buffer = b""
        self._lost = ""

    def words(self) -> str:
        """All that it prints.

        :raises Refused: it failed
        """
        deadline = time.monotonic() + self._timeout
        while self._receive(deadline):
            pass
        if self._status() != 0:
            raise self._failure()
        return self._buffer.decode(errors="replace")

    def bridge_ports(self) -> dict[str, Port]:
        """What it prints next: all ports of bridges, and members of their aggregates.

        :raises Refused: it failed
        """
        deadline = time.monotonic() + self._timeout
        while True:
            if self._buffer.rstrip().endswith(b"]"):
                with contextlib.suppress(ValueError):
                    vlans, links = _documents(self._buffer.decode())
                    self._buffer = b""
                    return bridge_ports(vlans, links)
            if not self._receive(deadline):
                raise self._failure()

    def give(self, edit: str) -> None:
        """Its stdin, all of it."""
        self._lost = "; whether the change was made is unknown"
        with _answering(self._where, self._lost):
            self._channel.settimeout(self._timeout)
            self._channel.sendall(edit.encode())
            self._channel.shutdown_write()

    def end(self) -> None:
        """Give it nothing more, and wait until it has ended."""
        with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
            self._channel.shutdown_write()
            self._status()
            self._channel.close()

    def _receive(self, deadline: float) -> bool:
        """Whether there was more."""
        with _answering(self._where, self._lost):
            self._channel.settimeout(max(0.001, deadline - time.monotonic()))
            received = self._channel.recv(1 << 16)
        self._buffer += received
        if len(self._buffer) > LONGEST_ANSWER:
            raise Unavailable(f"{self._where}: its answer has no end{self._lost}")
        return bool(received)

    def _status(self) -> int:
        """What it ended with; -1 if that is not known."""
        self._channel.status_event.wait(self._timeout)
        return int(self._channel.exit_status)

    def _failure(self) -> Exception:
        """Why it ended before it answered."""
        status = self._status()
        if status == LOCKED:
            return Unavailable(f"{self._where}: locked by somebody else")
        if status == TOO_LATE:
            return Unavailable(f"{self._where}: no edit came in {self._timeout:g} s, none was made")
        if status < 0:
            return Unavailable(f"{self._where}: the connection ended{self._lost}")
        with _answering(self._where):
            complaint = self._channel.recv_stderr(4096).decode(errors="replace")
        said = printable(" ".join(complaint.split()), 200)
        return Refused(f"{self._where}: {said} (status {status})")


@contextlib.contextmanager
def _answering(where: str, lost: str = "") -> Iterator[None]:
    """What SSH fails with, as errors of ours.

    :param lost: what it means if the connection fails
    """
    try:
        yield
    except paramiko.BadHostKeyException as error:
        raise Refused(f"{where}: its host key is not that of host_key") from error
    except paramiko.AuthenticationException as error:
        # paramiko has this one for a connection that ended meanwhile, too
        passing = "timeout" in str(error) or "shut down" in str(error)
        kind = Unavailable if passing else Refused
        raise kind(f"{where}: it does not let the user in: {error}") from error
    except TimeoutError as error:
        raise Unavailable(f"{where}: no answer in time{lost}") from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise Unavailable(f"{where}: {error or type(error).__name__}{lost}") from error


def _documents(answer: str) -> tuple[Any, Any]:
    """Two JSON documents, one behind the other.

    :raises ValueError: they are not, or not yet, there
    """
    answer = answer.lstrip()
    first, end = json.JSONDecoder().raw_decode(answer)
    return first, json.loads(answer[end:])


def _named(found: Mapping[str, Port], names: Iterable[str]) -> Ports:
    return {name: found[name].carried for name in names if name in found}


def bridge_ports(
    vlans: Sequence[Mapping[str, Any]], links: Sequence[Mapping[str, Any]]
) -> dict[str, Port]:
    """From what ``bridge -json vlan show`` and ``ip -json -details link show`` list."""
    entries = {row["ifname"]: row["vlans"] for row in vlans}
    # An entry of a link in another namespace is empty.
    links = [link for link in links if "ifname" in link]
    details = {link["ifname"]: link.get("linkinfo", {}) for link in links}
    masters = {link["ifname"]: link.get("master", "") for link in links}
    found = {}
    for name, detail in details.items():
        if detail.get("info_slave_kind") == "bridge":
            bridge = details.get(masters[name], {})
            filters = bool(bridge.get("info_data", {}).get("vlan_filtering"))
            found[name] = _port(entries.get(name, []), filters)
    for name, detail in details.items():
        lag = masters[name]
        if detail.get("info_slave_kind") in {"bond", "team"} and lag in found:
            found[name] = Port(replace(found[lag].carried, lag=lag))
    return found


def _port(entries: Sequence[Mapping[str, Any]], filters: bool) -> Port:
    tagged: set[int] = set()
    untagged: set[int] = set()
    native = None
    for entry in entries:
        flags = entry.get("flags", [])
        vlans = range(entry["vlan"], entry.get("vlanEnd", entry["vlan"]) + 1)
        (untagged if "Egress Untagged" in flags else tagged).update(vlans)
        if "PVID" in flags:
            native = entry["vlan"]
    carried = PortVlans(vlans=frozenset(tagged), every=not filters, native=native)
    return Port(carried, frozenset(untagged))


def _batch(changes: Changes, found: Mapping[str, Port]) -> str:
    """The edit, as ``bridge -batch`` takes it.

    :raises Refused: it would change what was not asked
    """
    lines = []
    for port, change in changes.items():
        if untagged := change.add & found[port].untagged:
            raise Refused(f"{port} has VLAN {text(untagged)} untagged: adding it would tag it")
        for verb, vlans in (("add", change.add), ("del", change.remove)):
            lines += [
                f"vlan {verb} dev {port} vid {low if low == high else f'{low}-{high}'}"
                for low, high in ranges(vlans)
            ]
    return "\n".join([*lines, "# end"])


def _host_key(login: Login) -> paramiko.PKey:
    where = f"[switch:{login.name}] host_key"
    if not login.host_key:
        raise ConfigError(f"{where}: needed, as in known_hosts without the name")
    try:
        kind, data = login.host_key.split()[:2]
        return paramiko.PKey.from_type_string(kind, base64.b64decode(data, validate=True))
    except Exception as error:  # paramiko has a different one for each way to be wrong
        raise ConfigError(f"{where}: no public key as in known_hosts: {error}") from error


def _key(login: Login) -> paramiko.PKey | None:
    if login.key_file is None:
        return None
    try:
        return paramiko.PKey.from_path(login.key_file)
    except Exception as error:  # as above; and some of them show the file
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise ConfigError(
            f"[switch:{login.name}] key_file: no private key without passphrase: "
            f"{login.key_file}: {reason}"
        ) from None
