# SPDX-License-Identifier: Apache-2.0
"""``sriov-lldp-discover``: from a port's MAC to PF and VF, and to the switch port behind them.

One command, without agent and configuration. Exit status: 0 exactly one switch port, 1 none,
2 usage, 3 ambiguous, 4 the MAC is on no VF or on several, 5 no source could be asked.
"""

import argparse
import json
import string
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from sriov_agent.core import fields
from sriov_agent.core.lldp import describe, port_name
from sriov_agent.core.model import Cabling, Neighbor, Pf, Vf
from sriov_agent.exceptions import InvalidField, SriovAgentError, Unavailable, printable
from sriov_agent.host.inventory import Inventory
from sriov_agent.host.links import links
from sriov_agent.host.lldp.lldpd import Lldpd
from sriov_agent.host.rtnl import Link
from sriov_agent.host.sysfs import Sysfs

ONE, NONE, USAGE, AMBIGUOUS, NOT_ONE_VF, NO_SOURCE = range(6)

_PCAP_LENGTH = {b"\xd4\xc3\xb2\xa1": struct.Struct("<I"), b"\xa1\xb2\xc3\xd4": struct.Struct(">I")}
_PCAP_HEADER, _PCAP_RECORD = 24, 16


def main(argv: list[str] | None = None) -> int:
    """Run the script; see the module for the exit status."""
    given = _arguments(argv)
    try:
        if given.decode:
            return _decode(given.decode)
        return _discover(given)
    except InvalidField as error:
        print(f"sriov-lldp-discover: {error}", file=sys.stderr)
        return USAGE
    except SriovAgentError as error:
        print(f"sriov-lldp-discover: {error}", file=sys.stderr)
        return NO_SOURCE


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sriov-lldp-discover",
        description="Find the switch port behind a port's MAC address, a PF, or every PF.",
        epilog="Exit status: 0 one switch port, 1 none, 2 usage, 3 ambiguous, "
        "4 the MAC is on no VF or several, 5 no source. "
        "Example: sriov-lldp-discover 02:5a:0d:c4:39:77",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("mac", nargs="?", help="MAC address of the port, as it is set on a VF")
    what.add_argument("--pf", help="a PF, by interface name or PCI address")
    what.add_argument("--all", action="store_true", help="every PF of this host")
    what.add_argument("--decode", type=Path, metavar="FILE", help="explain a frame: hex or pcap")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--source",
        choices=("lldpd", "raw"),
        help="default: lldpd, and raw frames where lldpd does not answer",
    )
    parser.add_argument(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="how long to wait for a frame; a switch sends one every 30 s "
        "(default: with lldpd not at all, with raw 35)",
    )
    return parser.parse_args(argv)


class _ReadOnly:
    """rtnetlink as far as a look needs it; what sets VFs takes longer to import than to run."""

    def links(self) -> dict[str, Link]:
        return links()

    def set_vfs(self, link: Link, changes: object) -> dict[tuple[int, str], SriovAgentError]:
        raise Unavailable(f"{link.name} is only looked at")


def _pfs() -> dict[str, Pf]:
    names = Sysfs().pf_netdevs()
    found, errors = Inventory([("", name) for name in names], _ReadOnly()).pfs()
    for error in errors.values():
        print(f"sriov-lldp-discover: {error}", file=sys.stderr)
    return found


def _discover(given: argparse.Namespace) -> int:
    pfs = _pfs()
    vf: Vf | None = None
    if given.mac is not None:
        found = _vfs_with(fields.mac(given.mac, "mac"), pfs)
        if len(found) != 1:
            _print_not_one(given.mac, found, pfs)
            return NOT_ONE_VF
        (vf,) = found
        pfs = {vf.pf: pfs[vf.pf]}
    elif given.pf is not None:
        pfs = {a: pf for a, pf in pfs.items() if given.pf.lower() in (a, pf.netdev.lower())}
        if not pfs:
            raise InvalidField("pf", given.pf, "no PF of this host; --all lists them")
    elif not pfs:
        raise Unavailable("this host has no SR-IOV physical function with VFs")
    source, cabling = _ask(given, pfs)
    entries = [_entry(pf, vf, cabling[a], source) for a, pf in sorted(pfs.items())]
    if given.json:
        print(json.dumps(entries, indent=2))
    else:
        print("\n\n".join(map(_as_text, entries)))
    return max(_status(cabling[address]) for address in pfs)


def _ask(given: argparse.Namespace, pfs: Mapping[str, Pf]) -> tuple[str, dict[str, Cabling]]:
    if given.source != "raw":
        try:
            return "lldpd", _ask_lldpd(pfs, given.wait or 0.0)
        except Unavailable as error:
            if given.source == "lldpd":
                raise
            print(f"{error}; listening on the PF instead", file=sys.stderr)
    # Takes longer to import than lldpd takes to answer.
    from sriov_agent.host.lldp.raw import LISTEN_SECONDS, Raw  # noqa: PLC0415

    seconds = LISTEN_SECONDS if given.wait is None else given.wait
    return "raw", Raw(seconds, _progress).cabling(pfs)


def _ask_lldpd(pfs: Mapping[str, Pf], wait: float) -> dict[str, Cabling]:
    lldpd = Lldpd()
    found = lldpd.cabling(pfs)
    for second in range(int(wait)):
        if all(cabling.switch_port for cabling in found.values()):
            break
        _progress(wait - second, interval=1.0)
        found = lldpd.cabling(pfs)
    return found


def _progress(left: float, interval: float = 0.0) -> None:
    if sys.stderr.isatty():
        print(f"\rwaiting for LLDP frames, {left:3.0f} s left ", end="", file=sys.stderr)
    if interval:
        time.sleep(interval)


def _vfs_with(mac: str, pfs: Mapping[str, Pf]) -> list[Vf]:
    return [vf for pf in pfs.values() for vf in pf.vfs if vf.settings.mac == mac]


def _print_not_one(mac: str, found: list[Vf], pfs: Mapping[str, Pf]) -> None:
    where = ", ".join(f"{vf.address} (VF {vf.index} of {pfs[vf.pf].netdev})" for vf in found)
    said = f"on several VFs: {where}" if found else "on no VF of this host"
    print(f"sriov-lldp-discover: {printable(mac)} is {said}", file=sys.stderr)


def _entry(pf: Pf, vf: Vf | None, cabling: Cabling, source: str) -> dict[str, object]:
    port = cabling.switch_port
    entry: dict[str, object] = {"pf": pf.netdev, "pf_pci": pf.address, "source": source}
    if vf:
        entry |= {"vf": vf.index, "vf_pci": vf.address, "vlan": vf.settings.vlan}
    entry["local_link_information"] = []
    if port:
        entry["local_link_information"] = [
            {
                "switch_id": port.chassis_id.value,
                "port_id": port_name(port.port_id, port.port_description),
                "switch_info": port.system_name,
            }
        ]
        entry["chassis_id"] = asdict(port.chassis_id)
        entry["port_id"] = asdict(port.port_id)
        entry["port_description"] = port.port_description
    entry["reason"] = cabling.reason
    entry["neighbors"] = [describe(neighbor) for neighbor in cabling.neighbors]
    return entry


def _as_text(entry: Mapping[str, object]) -> str:
    lines = [("PF", f"{entry['pf']} ({entry['pf_pci']})")]
    if "vf" in entry:
        lines.append(("VF", f"{entry['vf']} ({entry['vf_pci']})"))
        lines.append(("VLAN", str(entry["vlan"] or "none")))
    links = entry["local_link_information"]
    if isinstance(links, list) and links:
        (link,) = links
        lines.append(("Switch", f"{_shown(link['switch_info'])} ({_shown(link['switch_id'])})"))
        lines.append(("Port", _shown(link["port_id"])))
    else:
        lines.append(("Switch", f"unknown: {entry['reason']}"))
    return "\n".join(f"{name:8}{value}" for name, value in lines)


def _shown(text: str) -> str:
    return printable(text)[1:-1]


def _status(cabling: Cabling) -> int:
    if cabling.switch_port:
        return ONE
    return AMBIGUOUS if cabling.reason.startswith("ambiguous") else NONE


def _decode(path: Path) -> int:
    try:
        frames = _frames(path.read_bytes())
    except OSError as error:
        raise InvalidField("decode", str(path), error.strerror or "unreadable") from error
    if not frames:
        raise InvalidField("decode", str(path), "no frame in it")
    from sriov_agent.host.lldp.frame import read_frame  # noqa: PLC0415

    print("\n\n".join(_explain(read_frame(frame)) for frame in frames))
    return ONE


def _frames(data: bytes) -> list[bytes]:
    """The frames of a pcap file, or the one that is written as hex digits."""
    stored_length = _PCAP_LENGTH.get(data[:4])
    if stored_length is None:
        text = data.decode("ascii", "replace").translate({ord(c): None for c in string.whitespace})
        try:
            return [bytes.fromhex(text.replace(":", ""))] if text else []
        except ValueError as error:
            raise InvalidField("decode", printable(text, 40), "neither hex nor pcap") from error
    found, position = [], _PCAP_HEADER
    while position + _PCAP_RECORD <= len(data):
        (length,) = stored_length.unpack_from(data, position + 8)
        found.append(data[position + _PCAP_RECORD : position + _PCAP_RECORD + length])
        position += _PCAP_RECORD + length
    return found


def _explain(neighbor: Neighbor) -> str:
    rows = (
        ("Source", neighbor.source_mac + (", tagged" if neighbor.tagged else "")),
        ("Chassis", f"{neighbor.chassis_id.subtype} {_shown(neighbor.chassis_id.value)}"),
        ("Port", f"{neighbor.port_id.subtype} {_shown(neighbor.port_id.value)}"),
        ("Descr", _shown(neighbor.port_description)),
        ("Name", _shown(neighbor.system_name)),
        ("TTL", f"{neighbor.ttl} s" + ("" if neighbor.ttl else ", going away")),
        ("Mgmt", ", ".join(map(_shown, neighbor.management_addresses))),
        ("Enabled", ", ".join(sorted(neighbor.capabilities))),
    )
    return "\n".join(f"{name:8}{value}" for name, value in rows if value)
