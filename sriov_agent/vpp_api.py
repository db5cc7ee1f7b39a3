# SPDX-License-Identifier: Apache-2.0
"""VPP by its API socket. The only user of ``vpp_papi``, which is loaded with this one.

The messages are those that VPP itself tells of, so that none need be installed here, and an
interface is named by its ``sw_if_index``.
"""

import contextlib
import logging
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from vpp_papi import VPPApiClient, VPPIOError

from sriov_agent.exceptions import Refused, SriovAgentError, Unavailable, Unsupported, printable
from sriov_agent.vpp.changes import Change, Gateway, Guest, Sub, Target, Verb
from sriov_agent.vpp.messages import POP_1, TYPE_HARDWARE, TYPE_SUB, UP, request
from sriov_agent.vpp.model import (
    Bridge,
    Loopback,
    Observed,
    Socket,
    SubInterface,
)

LOG = logging.getLogger(__name__)

DEFAULT_SOCKET = "/run/vpp/api.sock"
NONE = 0xFFFFFFFF  # VPP's ~0
_LOOPBACK = re.compile(r"loop(\d{1,4})")
#: What an answer says, where it can be said better than by its number (VPP's vnet/error.h).
_SAID: Mapping[int, str] = {
    -2: "the interface has gone since it was read: do it again",
    -3: "there is no such table any more: do it again",
    -12: "VPP cannot make the socket there: see that its directory is there, and VPP's",
    -31: "{on} is there: see vppctl show interface",
    -56: "the sub-interface is there: do it again",
    -79: "VPP has an interface with this socket: do it again",
    -105: "VPP has it, or one of its network, on another interface of the table: "
    "see vppctl show interface address",
    -119: "it is there: do it again",
    -120: "something was put into it since it was read: do it again",
    -152: "it has another BVI: see vppctl show bridge-domain",
}


class Vpp:
    """One VPP; a context manager that is connected within.

    :param socket: path of its API socket
    :param timeout: seconds for each answer
    """

    def __init__(self, socket: str = DEFAULT_SOCKET, timeout: float = 5.0) -> None:
        self.socket = socket
        self._client = VPPApiClient(
            server_address=socket, read_timeout=timeout, bootstrapapi=True, async_thread=False
        )
        self._indices: dict[Target, int] = {}

    def __enter__(self) -> "Vpp":
        """Connect.

        :raises Unavailable: if nothing, or not VPP, answers there
        :raises Unsupported: if this VPP does not tell its messages
        """
        try:
            with self._errors():
                self._client.connect("sriov-agent")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(Exception):
            self._client.disconnect()

    def observed(self) -> Observed:
        """What VPP has, of what may be ours.

        :raises Unavailable: if it does not answer
        """
        interfaces = self._by_index("sw_interface_dump")
        domains = self._call("bridge_domain_dump", bd_id=NONE, sw_if_index=NONE)
        common = _common(interfaces, domains)
        subs = _subs(interfaces, common)
        observed = Observed(
            sockets={
                each.sock_filename: Socket(
                    **common[index],
                    server=bool(each.is_server),
                    connected=each.num_regions > 0,
                    subs=subs.get(index, {}),
                )
                for index, each in self._by_index("sw_interface_vhost_user_dump").items()
                if index in common
            },
            loopbacks={
                int(found[1]): self._loopback(common[index])
                for index, each in interfaces.items()
                if each.type == TYPE_HARDWARE
                if (found := _LOOPBACK.fullmatch(each.interface_name))
            },
            bridges={each.bd_id: _bridge(each, common) for each in domains},
            tables={
                (6 if each.table.is_ip6 else 4, each.table.table_id): each.table.name
                for each in self._call("ip_table_dump")
            },
        )
        self._indices = dict(_indices(observed))
        return observed

    def apply(self, changes: Iterable[Change]) -> Iterator[tuple[Change, SriovAgentError | None]]:
        """Make each change of a plan on what was observed last, and say what became of it.

        What needs something that could not be made is left out; the rest goes on.

        :raises Unavailable: if VPP does not answer
        """
        failed: set[Target] = set()
        for change in changes:
            if failed.isdisjoint({change.on, *change.needs}):
                try:
                    self._make(change)
                except Unavailable:
                    raise
                except SriovAgentError as error:
                    failed.add(change.on)
                    yield change, error
                else:
                    yield change, None
            else:
                failed.add(change.on)

    def _make(self, change: Change) -> None:
        """Make a change.

        :raises Refused: if VPP says no
        """
        if isinstance(change.on, Guest) and change.value:
            _check_file(change.on.socket)
        message, fields = request(change, self._index)
        answer = self._call(message, **fields)
        if answer.retval:
            said = _SAID.get(answer.retval, "").format(on=change.on, value=change.shown)
            number = f"VPP answers {answer.retval}"
            raise Refused(f"{change}: {said} ({number})" if said else f"{change}: {number}")
        if change.verb == Verb.ADD and hasattr(answer, "sw_if_index"):
            self._indices[change.on] = answer.sw_if_index

    def _loopback(self, common: Mapping[str, Any]) -> Loopback:
        index = common["index"]
        addresses = [
            str(each.prefix)
            for is_ipv6 in (False, True)
            for each in self._call("ip_address_dump", sw_if_index=index, is_ipv6=is_ipv6)
        ]
        tables = {
            version: self._call(
                "sw_interface_get_table", sw_if_index=index, is_ipv6=version == 6
            ).vrf_id
            for version in (4, 6)
        }
        return Loopback(**common, addresses=tuple(addresses), tables=tables)

    def _by_index(self, dump: str) -> dict[int, Any]:
        return {each.sw_if_index: each for each in self._call(dump, sw_if_index=NONE)}

    def _index(self, on: Target) -> int:
        if on not in self._indices:
            raise Refused(f"{on}: not in VPP any more: do it again")
        return self._indices[on]

    def _call(self, message: str, **fields: object) -> Any:
        with self._errors():
            return getattr(self._client.api, message)(**fields)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        where = f"VPP's API socket {self.socket}"
        try:
            yield
        except FileNotFoundError as error:
            raise Unavailable(f"{where} is not there: start VPP, or name it by --socket") from error
        except ConnectionRefusedError as error:
            raise Unavailable(f"{where}: nobody listens: start VPP") from error
        except PermissionError as error:
            raise Unavailable(f"{where}: not permitted: be root, or of VPP's group") from error
        except TimeoutError as error:
            raise Unavailable(f"{where}: no answer: see whether VPP hangs") from error
        except (VPPIOError, OSError) as error:
            raise Unavailable(
                f"{where}: no answer, or the connection ended: see whether VPP runs"
            ) from error
        except AttributeError as error:
            raise Unsupported(
                f"{where}: this VPP has other messages, or does not tell them: take 24.10 or newer"
            ) from error
        except (LookupError, TypeError, ValueError, struct.error) as error:
            LOG.debug("%s", where, exc_info=True)
            raise Unavailable(
                f"{where}: its answer is not as VPP's: {printable(repr(error))}"
            ) from error

    def _close(self) -> None:
        connection = self._client.transport.socket
        if connection is not None:
            connection.close()


def _indices(observed: Observed) -> Iterator[tuple[Target, int]]:
    for vlan, loopback in observed.loopbacks.items():
        yield Gateway(vlan), loopback.index
    for path, socket in observed.sockets.items():
        yield Guest(path), socket.index
        yield from ((Sub(path, vlan), sub.index) for vlan, sub in socket.subs.items())


def _common(interfaces: Mapping[int, Any], domains: Iterable[Any]) -> dict[int, dict[str, Any]]:
    """What there is of each interface, whatever its kind; its name as it may be printed."""
    domain_of = {member.sw_if_index: each for each in domains for member in each.sw_if_details}
    return {
        index: {
            "index": index,
            "name": printable(each.interface_name)[1:-1],
            "tag": each.tag,
            "up": bool(each.flags & UP),
            "bridge": domain_of[index].bd_id if index in domain_of else 0,
            "bvi": index in domain_of and domain_of[index].bvi_sw_if_index == index,
        }
        for index, each in interfaces.items()
    }


def _subs(
    interfaces: Mapping[int, Any], common: Mapping[int, dict[str, Any]]
) -> dict[int, dict[int, SubInterface]]:
    """The sub-interfaces of each interface, by their number."""
    found: dict[int, dict[int, SubInterface]] = {}
    for index, each in interfaces.items():
        if each.type == TYPE_SUB:
            sub = SubInterface(**common[index], vlan=_vlan(each), pops=each.vtr_op == POP_1)
            found.setdefault(each.sup_sw_if_index, {})[each.sub_id] = sub
    return found


def _bridge(domain: Any, common: Mapping[int, dict[str, Any]]) -> Bridge:
    members = (common.get(member.sw_if_index) for member in domain.sw_if_details)
    bvi = common.get(domain.bvi_sw_if_index)
    return Bridge(
        tag=domain.bd_tag,
        members=frozenset(str(member["name"]) for member in members if member),
        bvi=bvi["name"] if bvi else "",
    )


def _vlan(details: Any) -> int:
    """The VLAN of a sub-interface that is for the frames with this one tag, and is numbered so."""
    exact = details.sub_number_of_tags == 1 and details.sub_outer_vlan_id == details.sub_id
    return int(details.sub_id) if exact else 0


def _check_file(socket: str) -> None:
    """VPP removes what is at the path where it makes a socket.

    :raises Refused: if that is something else
    """
    try:
        there = Path(socket).exists() and not Path(socket).is_socket()
    except OSError:
        there = False
    if there:
        raise Refused(f"{socket} is there and not a socket: VPP would remove it; name another path")
