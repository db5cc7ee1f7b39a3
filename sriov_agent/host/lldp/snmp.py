# SPDX-License-Identifier: Apache-2.0
"""LLDP neighbors by SNMP: from the host's own snmpd, and from those of the switches.

lldpd serves its tables through snmpd (AgentX). A switch's tables tell the same from the other end
of the cable. Both are polled: no agent tells of itself when a neighbor comes or goes.
"""

import asyncio
import contextlib
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sriov_agent.core.model import Heard, Uplink
from sriov_agent.exceptions import InvalidField, Unavailable, printable
from sriov_agent.host.lldp import mib

LOG = logging.getLogger(__name__)

#: pysnmp's names of the protocols, by those of net-snmp.
AUTH_PROTOCOLS = {
    "MD5": "USM_AUTH_HMAC96_MD5",
    "SHA": "USM_AUTH_HMAC96_SHA",
    "SHA-224": "USM_AUTH_HMAC128_SHA224",
    "SHA-256": "USM_AUTH_HMAC192_SHA256",
    "SHA-384": "USM_AUTH_HMAC256_SHA384",
    "SHA-512": "USM_AUTH_HMAC384_SHA512",
}
PRIV_PROTOCOLS = {
    "AES": "USM_PRIV_CFB128_AES",
    "AES-192": "USM_PRIV_CFB192_AES_BLUMENTHAL",
    "AES-256": "USM_PRIV_CFB256_AES_BLUMENTHAL",
}

#: What one agent may take for all its answers, besides the time until it is given up as silent.
_ANSWER_SECONDS = 60.0
_PORT = 161
#: Of one GETBULK or GET.
_OBJECTS = 25
#: Far more than any table of ports or neighbors takes.
_MAX_REQUESTS = 2000

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9][A-Za-z0-9._-]*))(?::([0-9]{1,5}))?")

_EXTRA = "pip install 'sriov-agent[snmp]'"
_NO_MIB = (
    "snmpd at {agent} serves no LLDP-MIB: start lldpd with -x, "
    "and add 'view lldp included .1.0.8802.1.1.2'"
)
#: What pysnmp's errors mean, and those of agents.
_ERRORS = {
    "RequestTimedOut": "no answer from {agent}: is snmpd running and does it allow {who}",
    "UnknownUserName": "snmpd at {agent} does not know {who}",
    "WrongDigest": "snmpd at {agent} has another auth key or protocol for {who}",
    "DecryptionError": "snmpd at {agent} has another priv key or protocol for {who}",
    "UnsupportedSecurityLevel": "snmpd at {agent} does not allow {who} at this security level",
    "authorizationError": "snmpd at {agent} does not allow {who} at this security level",
    "EncryptionError": f"cryptography lacks the priv protocol: {_EXTRA}",
}


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What agents are asked with: a community, or by version "3" a user.

    A key that is empty is not used: without ``auth_key`` nothing is authenticated, without
    ``priv_key`` nothing is encrypted.

    :raises InvalidField: for a version or protocol that is unknown, or a key that lacks another
    """

    version: str = "2c"
    community: str = field(default="", repr=False)
    user: str = ""
    auth_protocol: str = "SHA"
    auth_key: str = field(default="", repr=False)
    priv_protocol: str = "AES"
    priv_key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for name, known in (
            ("version", ("2c", "3")),
            ("auth_protocol", AUTH_PROTOCOLS),
            ("priv_protocol", PRIV_PROTOCOLS),
        ):
            if getattr(self, name) not in known:
                raise InvalidField(name, getattr(self, name), f"expected {', '.join(known)}")
        if not (self.user if self.version == "3" else self.community):
            name = "user" if self.version == "3" else "community"
            raise InvalidField(name, "", f"SNMP {self.version} needs one")
        if self.priv_key and not self.auth_key:
            raise InvalidField("auth_key", "", "a priv_key needs one")

    @property
    def who(self) -> str:
        """The name of what an agent may refuse, for messages."""
        if self.version == "2c":
            return "this community"
        return f"user {printable(self.user)}" + (" with this priv key" if self.priv_key else "")


class Snmp:
    """SNMP agents with an LLDP-MIB: this host's, which hears switches, and those of switches.

    :param host_agent: ``ADDR``, ``ADDR:PORT`` or ``[ADDR]:PORT``; "" where none is to be asked
    :param switches: likewise
    :param host: this host's system name, as its lldpd announces it
    :param timeout: seconds until a request is sent again, and after ``retries`` times given up
    :param interval: seconds between two looks, once started
    :raises InvalidField: for an address that is none
    """

    def __init__(
        self,
        host_agent: str,
        switches: Sequence[str],
        credentials: Credentials,
        *,
        host: str = "",
        timeout: float = 2.0,
        retries: int = 1,
        interval: float = 30.0,
    ) -> None:
        self.host_agent = host_agent
        self.agents = {agent: _address(agent) for agent in (host_agent, *switches) if agent}
        self.credentials = credentials
        self.host = host or socket.gethostname()
        self.timeout = timeout
        self.retries = retries
        self.interval = interval
        self._answers: Mapping[str, mib.Tables | str] | None = None
        self._polling: tuple[threading.Thread, Callable[[], object]] | None = None

    def start(self, changed: Callable[[], None]) -> None:
        """Ask again and again from a thread, and call ``changed`` there when an answer differs."""
        loop = asyncio.new_event_loop()
        task = loop.create_task(self._poll(changed))

        def run() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            loop.close()

        thread = threading.Thread(target=run, name="snmp")
        self._polling = thread, lambda: loop.call_soon_threadsafe(task.cancel)
        thread.start()

    def stop(self) -> None:
        """End what :meth:`start` began."""
        if self._polling:
            thread, cancel = self._polling
            cancel()
            thread.join()
            self._polling = self._answers = None

    def hear(self, uplinks: Mapping[str, Uplink]) -> Heard:
        """What the agents tell of these uplinks; once started, what they told last.

        :raises Unavailable: if no agent answered, or none yet
        """
        answers = self._answers if self._polling else asyncio.run(self._ask())
        if answers is None:
            raise Unavailable("SNMP agents: not answered yet")
        return mib.heard(uplinks, answers, self.host_agent, self.host)

    async def _poll(self, changed: Callable[[], None]) -> None:
        while True:
            try:
                answers = await self._ask()
                if answers != self._answers:
                    self._answers = answers
                    changed()
            except Exception:
                LOG.exception("asking SNMP agents")
            await asyncio.sleep(self.interval)

    async def _ask(self) -> dict[str, mib.Tables | str]:
        """Each agent's tables, or why there are none, all asked at once."""
        # What cannot be decoded is as good as no answer.
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: LOG.debug("SNMP: %s", context.get("exception"))
        )
        answers = await asyncio.gather(*map(self._answer, self.agents))
        return dict(zip(self.agents, answers, strict=True))

    async def _answer(self, agent: str) -> mib.Tables | str:
        limit = _ANSWER_SECONDS + self.timeout * (self.retries + 1)
        try:
            async with asyncio.timeout(limit):
                return await self._tables(agent)
        except TimeoutError:
            return f"{agent} did not answer all within {limit:g} s"
        except Unavailable as error:
            return str(error)
        except Exception as error:
            LOG.debug("SNMP agent %s", agent, exc_info=True)
            return f"{agent}: {printable(str(error) or type(error).__name__, 200)}"

    async def _tables(self, agent: str) -> mib.Tables:
        hlapi = _pysnmp(self.credentials)
        host, port = self.agents[agent]
        # An engine of its own each time: what one agent sends spoils no other's answer.
        engine = hlapi.SnmpEngine()
        try:
            loop = asyncio.get_running_loop()
            first, *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            is_ipv6 = first[0] == socket.AF_INET6
            kind = hlapi.Udp6TransportTarget if is_ipv6 else hlapi.UdpTransportTarget
            target = await kind.create((host, port), timeout=self.timeout, retries=self.retries)
            peer = engine, _user(hlapi, self.credentials), target, hlapi.ContextData()
            session = _Session(agent, self.credentials.who, hlapi, peer)
            own = agent == self.host_agent
            parts = mib.PORTS_AND_NEIGHBORS + (mib.EVIDENCE if own else ())
            tables = mib.read(await session.rows(parts))
            # A row may have changed while it was read.
            return mib.read(await session.rows(parts)) if tables.torn else tables
        finally:
            engine.close_dispatcher()
            await asyncio.sleep(0)


@dataclass(frozen=True)
class _Session:
    """Questions to one agent; ``peer`` is what each of pysnmp's commands begins with."""

    agent: str
    who: str
    hlapi: Any
    peer: tuple[Any, ...]

    async def rows(self, parts: Iterable[tuple[mib.Oid, mib.Oid]]) -> dict[mib.Oid, bytes | int]:
        """What the agent serves of the LLDP-MIB.

        :raises Unavailable: if it serves none
        """
        found = await self._system()
        for first, end in parts:
            found |= await self._walk(first, end)
        found |= await self._get(mib.nameless(found))
        # Had lldpd gone away, then the tables were empty, and that no error.
        return found | await self._system()

    async def _system(self) -> dict[mib.Oid, bytes | int]:
        found = await self._get(mib.SYSTEM)
        if mib.CHASSIS_ID not in found:
            raise Unavailable(_NO_MIB.format(agent=self.agent))
        return found

    async def _get(self, names: Sequence[mib.Oid]) -> dict[mib.Oid, bytes | int]:
        found: dict[mib.Oid, bytes | int] = {}
        for start in range(0, len(names), _OBJECTS):
            objects = map(self._object, names[start : start + _OBJECTS])
            answer = await self.hlapi.get_cmd(*self.peer, *objects, lookupMib=False)
            found |= {name: value for name, value in self._pairs(answer) if value is not None}
        return found

    async def _walk(self, first: mib.Oid, end: mib.Oid) -> dict[mib.Oid, bytes | int]:
        """The objects after ``first`` and before ``end``."""
        found: dict[mib.Oid, bytes | int] = {}
        last = first
        for _ in range(_MAX_REQUESTS):
            answer = await self.hlapi.bulk_cmd(
                *self.peer, 0, _OBJECTS, self._object(last), lookupMib=False
            )
            for name, value in self._pairs(answer):
                # After all objects, the last one's name comes once more, without a value.
                if name >= end or (name == last and value is None):
                    return found
                if name <= last:
                    raise Unavailable(f"{self.agent} serves objects in disorder")
                last = name
                if value is not None:
                    found[name] = value
        raise Unavailable(f"{self.agent} comes to no end")

    def _object(self, name: mib.Oid) -> Any:
        return self.hlapi.ObjectType(self.hlapi.ObjectIdentity(name))

    def _pairs(self, answer: Any) -> Iterator[tuple[mib.Oid, bytes | int | None]]:
        """Names and values; ``None`` for what the LLDP-MIB has not."""
        error, status, _, pairs = answer
        if error or status:
            name = type(error).__name__ if error else status.prettyPrint()
            if name in _ERRORS:
                raise Unavailable(_ERRORS[name].format(agent=self.agent, who=self.who))
            raise Unavailable(f"{self.agent}: SNMP error {printable(str(error or name))}")
        for name, value in pairs:
            if isinstance(value, self.hlapi.Integer):
                yield tuple(name), int(value)
            elif isinstance(value, self.hlapi.OctetString) and len(value) <= mib.MAX_OCTETS:
                yield tuple(name), bytes(value)
            else:
                yield tuple(name), None


def _pysnmp(credentials: Credentials) -> Any:
    """pysnmp, and with it what it needs to encrypt."""
    try:
        from pysnmp.hlapi.v3arch import (  # type: ignore[import-untyped]  # noqa: PLC0415
            asyncio as hlapi,
        )

        if credentials.priv_key:
            import cryptography  # noqa: F401, PLC0415
    except ImportError as error:
        library, *_ = (error.name or "pysnmp").split(".")
        raise Unavailable(f"{library} not found: {_EXTRA}") from error
    return hlapi


def _user(hlapi: Any, credentials: Credentials) -> Any:
    if credentials.version == "2c":
        return hlapi.CommunityData(credentials.community, mpModel=1)
    return hlapi.UsmUserData(
        credentials.user,
        credentials.auth_key or None,
        credentials.priv_key or None,
        authProtocol=getattr(hlapi, AUTH_PROTOCOLS[credentials.auth_protocol]),
        privProtocol=getattr(hlapi, PRIV_PROTOCOLS[credentials.priv_protocol]),
    )


def _address(agent: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(agent)
    port = int(found[3] or _PORT) if found else 0
    if found and 0 < port < 65536:
        return found[1] or found[2], port
    raise InvalidField("SNMP agent", agent, "expected ADDR, ADDR:PORT or [ADDR]:PORT")
