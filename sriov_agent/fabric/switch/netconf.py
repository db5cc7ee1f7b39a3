# SPDX-License-Identifier: Apache-2.0
"""NETCONF over SSH (RFC 6241, 6242): a session, and the transaction that its drivers share.

The one module that knows ncclient. What it adds to it: a host key of any kind can be pinned
(ncclient 0.7.1 asks for RSA keys by SHA-1 alone, which servers no longer have), a request is sent
at once and not at the next tenth of a second, and an answer is judged by each of its errors.
"""

import abc
import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lxml import etree
from ncclient.devices.default import DefaultDeviceHandler
from ncclient.manager import Manager
from ncclient.operations import RaiseMode
from ncclient.transport import AuthenticationError, SSHSession, SSHUnknownHostError

from sriov_agent.exceptions import (
    ConfigError,
    Refused,
    SriovAgentError,
    Unavailable,
    printable,
)
from sriov_agent.fabric.model import Applied, Change, Ports, PortVlans
from sriov_agent.fabric.ranges import Range
from sriov_agent.fabric.switch.base import Decide, Login, Switch, effective, port_name, targets
from sriov_agent.fabric.switch.host_key import HostKey, host_key

BASE = "urn:ietf:params:xml:ns:netconf:base:1.0"
#: The attribute that says what an edit does with an element: without its namespace it is nothing.
OPERATION = f"{{{BASE}}}operation"
#: IANA; some switches have NETCONF on 22.
PORT = 830
#: Errors that may pass (RFC 6241, appendix A); all others will be the same next time.
TRANSIENT = frozenset({"in-use", "lock-denied", "resource-denied"})
#: Seconds between the greeting and the first request: yuma123 2.13 loses one that comes in one
#: piece with it. ncclient itself waits as long, before each.
PAUSE = 0.1
#: Seconds between signs of life on a connection that is not used.
KEEPALIVE = 30
ENTRY = re.compile(r"([0-9]{1,4})(?:(?:\.\.|-)([0-9]{1,4}))?")


def entry(text: str) -> Range | None:
    """An entry of a list of VLANs, ``100``, ``90..110`` or ``90-110``; else ``None``."""
    found = ENTRY.fullmatch(text)
    return (int(found[1]), int(found[2] or found[1])) if found else None


def child(parent: etree._Element, tag: str, text: str | None = None) -> etree._Element:
    """A new last child, in the namespace of its parent unless the tag has one."""
    namespace = etree.QName(parent).namespace
    made = etree.SubElement(parent, tag if tag.startswith("{") else f"{{{namespace}}}{tag}")
    made.text = text
    return made


class NetconfSwitch(Switch):
    """What the drivers over NETCONF share; the pure functions below are what they differ in.

    A transaction holds the lock on the candidate, and throws away what somebody left uncommitted
    there. It sends no ``<validate>``: a commit validates (RFC 6241, 8.3.4.1), and one server loses
    the edit if it is asked to before. Where there is a key file, which has no passphrase, the
    password is not used.
    """

    def __init__(self, login: Login) -> None:
        super().__init__(login)
        option = f"[switch:{login.name}]"
        self._host_key = host_key(login)
        if not login.username:
            raise ConfigError(f"{option} username: needed to log in by SSH")
        if not (login.key_file or login.password):
            raise ConfigError(f"{option} key_file: needed to log in by SSH, or a password")
        self._session: Session | None = None

    @staticmethod
    @abc.abstractmethod
    def subtree(names: Iterable[str]) -> etree._Element:
        """The top element of a subtree filter (RFC 6241, 6) for these ports."""

    @staticmethod
    @abc.abstractmethod
    def ports(data: etree._Element, names: Iterable[str]) -> dict[str, PortVlans]:
        """What the ports carry, by ``<data>``; of a member, what its aggregate does if it is there.

        :raises Refused: if something cannot be understood
        """

    @staticmethod
    @abc.abstractmethod
    def edit(data: etree._Element, changes: Mapping[str, Change]) -> tuple[etree._Element, str]:
        """The top element of an edit, and its default operation.

        :param changes: by port or aggregate that is in ``data``
        :raises Refused: if it cannot be done
        """

    def describe(self) -> list[str]:
        return self._connected().describe()

    def read(self, ports: Iterable[str]) -> Ports:
        names = [port_name(port) for port in ports]
        return self._read(self._connected(), names)[1] if names else {}

    def apply(self, ports: Iterable[str], decide: Decide) -> Applied:
        names = [port_name(port) for port in ports]
        session = self._connected()
        with session.locked():
            data, before = self._read(session, names)
            changes = effective(before, decide(before), self.needs_a_vlan)
            if not changes:
                return Applied(before=before, changes={}, after=before)
            session.edit(*self.edit(data, targets(before, changes)))
            session.commit()
            lags = {port.lag for port in before.values() if port.lag}
            _, after = self._read(session, names, lags)
        return Applied(before=before, changes=changes, after=after)

    def close(self) -> None:
        if self._session:
            self._session.close()
        self._session = None

    def _connected(self) -> "Session":
        if self._session is None or not self._session.connected:
            self.close()
            self._session = Session(self.login, self._host_key)
        return self._session

    def _read(
        self, session: "Session", names: Iterable[str], lags: Iterable[str] = ()
    ) -> tuple[etree._Element, Ports]:
        """The configuration with the ports and their aggregates, and what they carry."""
        asked = list(dict.fromkeys([*names, *lags]))
        if not asked:
            return etree.Element("data"), {}
        data = session.running(self.subtree(asked))
        found = self.ports(data, names)
        more = {port.lag for port in found.values() if port.lag}.difference(asked)
        return self._read(session, names, [*lags, *more]) if more and not lags else (data, found)


class Session:
    """A connection that was made and logged in; closed once it failed.

    :raises ConfigError: the key file cannot be read
    :raises Refused: the host key is another, or the login was refused
    :raises Unavailable: anything else
    """

    def __init__(self, login: Login, pinned: HostKey) -> None:
        port = login.port or PORT
        self._where = f"{login.name} at {login.address}:{port}"
        self._option = f"[switch:{login.name}]"
        self._dirty = False
        handler = DefaultDeviceHandler()
        self._ssh = _Ssh(handler, pinned, login.timeout)
        if login.key_file:
            try:
                login.key_file.read_bytes()
            except OSError as error:
                raise ConfigError(f"{self._option} key_file: {error}") from error
        try:
            self._connect(login, port)
        except SSHUnknownHostError as error:
            self.close()
            raise Refused(
                f"{self._where}: its host key is not that of {self._option} host_key"
            ) from error
        except AuthenticationError:  # what it says of the cause is of no use, and may say too much
            self.close()
            raise Refused(
                f"{self._where}: does not let {printable(login.username)} in: see username,"
                f" key_file and password of {self._option}"
            ) from None
        except Exception as error:  # ncclient, paramiko and cryptography have many
            self.close()
            raise Unavailable(f"{self._where}: no connection: {_words(error)}") from error
        self._manager = Manager(
            self._ssh, handler, timeout=login.timeout, raise_mode=RaiseMode.NONE
        )

    @property
    def connected(self) -> bool:
        return bool(self._ssh.connected)

    def describe(self) -> list[str]:
        """Where it is and what it can, a line each."""
        known = {"candidate", "confirmed-commit", "rollback-on-error", "validate", "startup"}
        found, models = set(), []
        for uri in map(str, self._manager.server_capabilities):
            if (name := uri.split("?")[0].split(":capability:")[-1].split(":")[0]) in known:
                found.add(name)
            elif "openconfig-vlan&" in uri or "/junos/" in uri or "junos-" in uri:
                models.append(uri)
        lines = [
            f"{self._where}: NETCONF session {printable(str(self._ssh.id))}",
            f"can: {', '.join(sorted(found))}",
            *(f"has: {printable(model, 200)}" for model in sorted(models)),
        ]
        if "candidate" not in found:
            lines.append(self._lacks_candidate())
        return lines

    def running(self, subtree: etree._Element) -> etree._Element:
        """``<data>`` of the running configuration."""
        wanted = etree.Element(f"{{{BASE}}}filter", {"type": "subtree"})
        wanted.append(subtree)
        data = self._ask("get_config", "running", filter=wanted).data_ele
        if data is None:
            raise Unavailable(f"{self._where}: get-config was answered without data")
        found: etree._Element = data
        return found

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the candidate, which is as the running configuration then.

        :raises Unavailable: if somebody else does
        :raises Refused: if there is none
        """
        if ":candidate" not in self._manager.server_capabilities:
            raise Refused(f"{self._where}: {self._lacks_candidate()}")
        errors = _errors(self._answer("lock", "candidate"))
        if any(map(_left_behind, errors)):
            self._ask("discard_changes")
            errors = _errors(self._answer("lock", "candidate"))
        if errors:
            raise self._error("lock", errors)
        try:
            self._ask("discard_changes")
            yield
        finally:
            self._unlock()

    def edit(self, config: etree._Element, default_operation: str) -> None:
        """Edit the candidate."""
        edit = etree.Element(f"{{{BASE}}}config")
        edit.append(config)
        self._dirty = True
        self._ask("edit_config", edit, target="candidate", default_operation=default_operation)

    def commit(self) -> None:
        """Make the edit real.

        :raises Unavailable: also if it is unknown whether it is: nothing was answered
        """
        try:
            self._ask("commit")
        except Unavailable as error:
            if self.connected:
                raise
            raise Unavailable(f"{error}; it is unknown whether the change was made") from error
        self._dirty = False

    def close(self) -> None:
        """End the connection; the server lets go of its lock, and forgets what is uncommitted."""
        if self._ssh.transport:
            self._ssh.close()

    def _unlock(self) -> None:
        if not self.connected:
            return
        try:
            if self._dirty:
                self._ask("discard_changes")
            self._dirty = False
            self._ask("unlock", "candidate")
        except SriovAgentError:
            self.close()

    def _connect(self, login: Login, port: int) -> None:
        with socket.create_connection((login.address, port), login.timeout) as connection:
            # A server that says nothing more would be waited for: paramiko knows no limit.
            limit = threading.Timer(login.timeout, _shut, [connection])
            limit.start()
            try:
                self._ssh.connect(
                    login.address,
                    port,
                    timeout=login.timeout,
                    username=login.username,
                    password=None if login.key_file else login.password,
                    key_filename=str(login.key_file) if login.key_file else None,
                    allow_agent=False,
                    look_for_keys=False,
                    sock=connection.dup(),
                    keepalive=KEEPALIVE,
                )
            finally:
                limit.cancel()
        time.sleep(PAUSE)

    def _ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """The answer, which has no errors."""
        reply = self._answer(operation, *args, **kwargs)
        if errors := _errors(reply):
            raise self._error(operation, errors)
        return reply

    def _answer(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        try:
            reply = getattr(self._manager, operation)(*args, **kwargs)
            reply.parse()
        except Exception as error:  # of ncclient, paramiko and lxml: all are a session that is lost
            self.close()
            name = operation.replace("_", "-")
            raise Unavailable(f"{self._where}: no answer to {name}: {_words(error)}") from error
        return reply

    def _error(self, operation: str, errors: list[Any]) -> SriovAgentError:
        """All that an answer says, as an error of ours."""
        said = []
        for error in errors:
            holder = _session_id(error)
            held = f", held by session {printable(holder)}" if holder else ""
            said.append(
                f"{printable(error.tag or 'no tag')}{held}: {printable(_message(error), 200)}"
            )
        kind = Unavailable if all(error.tag in TRANSIENT for error in errors) else Refused
        name = operation.replace("_", "-")
        return kind(f"{self._where}: {name}: {'; '.join(dict.fromkeys(said))}")

    @staticmethod
    def _lacks_candidate() -> str:
        return "has no candidate configuration, without which nothing is changed at once"


class _Ssh(SSHSession):  # type: ignore[misc]
    """ncclient's connection, with a pinned host key, and without its wait before each request."""

    def __init__(self, handler: Any, pinned: HostKey, timeout: float) -> None:
        super().__init__(handler)
        self._host_keys = pinned
        self._timeout = timeout

    def load_known_hosts(self, filename: str | None = None) -> None:
        """No other key is believed."""

    def send(self, message: str) -> None:
        data = message.encode()
        if self._base == 2:  # RFC 6242: in chunks, since both said that they can
            data = b"\n#%d\n%s\n##\n" % (len(data), data)
        else:
            data += b"]]>]]>"
        self._channel.settimeout(self._timeout)
        self._channel.sendall(data)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _errors(reply: Any) -> list[Any]:
    return [error for error in reply.errors if error.severity != "warning"]


def _left_behind(error: Any) -> bool:
    """Whether a lock was denied for what nobody alive left uncommitted in the candidate.

    RFC 6241 (8.3.5.2) wants ``lock-denied`` with session 0, yuma123 says ``resource-denied``.
    """
    return error.tag == "resource-denied" or _session_id(error) == "0"


def _session_id(error: Any) -> str:
    if not error.info:
        return ""
    found = etree.fromstring(error.info.encode()).iter("{*}session-id")
    return next((element.text or "" for element in found), "")


def _message(error: Any) -> str:
    return " ".join((error.message or "").split())


def _words(error: Exception) -> str:
    return printable(str(error) or type(error).__name__, 200)
