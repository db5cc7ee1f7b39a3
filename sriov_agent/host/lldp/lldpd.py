# SPDX-License-Identifier: Apache-2.0
"""LLDP neighbors from the local lldpd, by ``lldpcli -f json0``.

Only ``json0`` has a fixed shape; names can hold any character, among them raw control
characters that lldpd before 1.0.22 does not escape, so decoding is tolerant.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from sriov_agent.core.lldp import cabling
from sriov_agent.core.model import Cabling, LldpId, Neighbor, Pf
from sriov_agent.exceptions import Unavailable, printable

Json = object


class Lldpd:
    """The local lldpd.

    :param command: ``lldpcli`` with its options, such as ``-u SOCKET``
    :param timeout: seconds that one question may take
    :param allowed: chassis ids and system names of the fabric's switches; empty for every switch
    """

    def __init__(
        self,
        command: Sequence[str] = ("lldpcli",),
        timeout: float = 5.0,
        allowed: Iterable[str] = (),
    ) -> None:
        self.command = tuple(command)
        self.timeout = timeout
        self.allowed = frozenset(name.lower() for name in allowed)

    def cabling(self, pfs: Mapping[str, Pf]) -> dict[str, Cabling]:
        """Where each PF is cabled, by PCI address.

        :raises Unavailable: if lldpd did not answer
        """
        if not pfs:
            return {}
        interfaces = self._ask("interfaces")
        neighbors = self._ask("neighbors")
        local = local_ids(interfaces)
        listening = {name for name, _ in local}
        announced = frozenset(ids for _, ids in local)
        heard = read_neighbors(neighbors)
        found: dict[str, Cabling] = {}
        for address, pf in pfs.items():
            if pf.netdev not in listening:
                found[address] = Cabling(reason=f"lldpd does not listen on {pf.netdev}")
            elif not pf.carrier:
                found[address] = Cabling(reason=f"{pf.netdev} has no carrier")
            else:
                on_pf = [neighbor for name, neighbor in heard if name == pf.netdev]
                found[address] = cabling(address, on_pf, announced, allowed=self.allowed)
        return found

    def _ask(self, what: str) -> str:
        command = (*self.command, "-f", "json0", "show", what, "details")
        try:
            done = subprocess.run(  # noqa: S603 - separate arguments, no shell
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.timeout,
                check=False,
            )
        except FileNotFoundError:
            raise Unavailable(f"{command[0]} not found: install lldpd") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"lldpcli: {error}") from error
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise Unavailable(f"lldpcli: {printable(said, 200)}; is lldpd running?")
        return done.stdout.decode("utf-8", "replace")


def read_neighbors(text: str) -> list[tuple[str, Neighbor]]:
    """(interface name, neighbor) pairs from ``show neighbors details``.

    :raises Unavailable: if this is not json0
    """
    found: list[tuple[str, Neighbor]] = []
    for entry in _interfaces(text):
        chassis, port = _first(entry.get("chassis")), _first(entry.get("port"))
        chassis_id, port_id = _id(chassis), _id(port)
        if chassis_id is None or port_id is None:
            continue
        found.append(
            (
                str(entry.get("name")),
                Neighbor(
                    chassis_id=chassis_id,
                    port_id=port_id,
                    system_name=_value(chassis.get("name")),
                    port_description=_value(port.get("descr")),
                    management_addresses=tuple(
                        _value([address]) for address in _list(chassis.get("mgmt-ip"))
                    ),
                    capabilities=frozenset(
                        str(capability.get("type"))
                        for capability in _list(chassis.get("capability"))
                        if isinstance(capability, dict) and capability.get("enabled") is True
                    ),
                    ttl=_seconds(_value(port.get("ttl"))),
                ),
            )
        )
    return found


def local_ids(text: str) -> set[tuple[str, tuple[LldpId, LldpId]]]:
    """(interface name, what this host announces there) from ``show interfaces details``."""
    found: set[tuple[str, tuple[LldpId, LldpId]]] = set()
    for entry in _interfaces(text):
        chassis_id, port_id = _id(_first(entry.get("chassis"))), _id(_first(entry.get("port")))
        if chassis_id and port_id:
            found.add((str(entry.get("name")), (chassis_id, port_id)))
    return found


def _interfaces(text: str) -> Iterable[dict[str, Json]]:
    try:
        document = json.loads(text, strict=False)
        roots = document["lldp"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unavailable(f"lldpcli printed no json0: {error}") from error
    for root in _list(roots):
        for entry in _list(root.get("interface") if isinstance(root, dict) else None):
            if isinstance(entry, dict):
                yield entry


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _first(value: Json) -> dict[str, Json]:
    first = next(iter(_list(value)), None)
    return first if isinstance(first, dict) else {}


def _value(value: Json) -> str:
    return _text(_first(value).get("value", ""))


def _id(element: dict[str, Json]) -> LldpId | None:
    found = _first(element.get("id"))
    subtype, value = found.get("type"), found.get("value")
    return LldpId(_text(subtype), _text(value)) if subtype and value else None


def _text(value: Json) -> str:
    """What can be written in UTF-8: JSON can hold half a surrogate pair."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _seconds(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
