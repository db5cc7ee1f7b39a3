# SPDX-License-Identifier: Apache-2.0
"""``sriov-lldp-discover``: from a port's MAC to PF and VF, and to the switch port behind them.

One command, without agent and configuration. Exit status: 0 exactly one switch port, 1 none,
2 usage, 3 ambiguous, 4 the MAC is on no VF or on several, 5 no source could be asked.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from msgspec import to_builtins

from sriov_agent.core import fields
from sriov_agent.core.lldp import LISTEN_SECONDS, as_json, links, port_name
from sriov_agent.core.model import Cabling, Pf, Uplink, Vf
from sriov_agent.exceptions import (
    ConfigError,
    InvalidField,
    SriovAgentError,
    Unavailable,
    printable,
)
from sriov_agent.host import links as rtnetlink
from sriov_agent.host.inventory import Inventory
from sriov_agent.host.lldp.discovery import Discovery, Source
from sriov_agent.host.lldp.lldpd import Lldpd
from sriov_agent.host.rtnl import Link
from sriov_agent.host.sysfs import Sysfs

MAX_WAIT_SECONDS = 3600.0

ONE, NONE, USAGE, AMBIGUOUS, NOT_ONE_VF, NO_SOURCE = range(6)


def main(argv: list[str] | None = None) -> int:
    """Run the script; see the module for the exit status."""
    given = _arguments(argv)
    try:
        if given.decode:
            from sriov_agent.cmd.lldp_decode import decoded  # noqa: PLC0415

            print(decoded(given.decode))
            return ONE
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
    what.add_argument("--decode", metavar="FILE", help="explain a frame: hex or pcap")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--source",
        choices=("lldpd", "raw", "snmp"),
        help="default: lldpd, and raw frames where lldpd does not answer",
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="how long to wait for a frame; a switch sends one every 30 s "
        "(default: with raw 35, otherwise not at all)",
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="the agent's configuration, whose [lldp_snmp] --source snmp reads (default: this "
        "host's own SNMP agent, version 2c, community public)",
    )
    return parser.parse_args(argv)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise ValueError(text)
    return seconds


class _ReadOnly:
    """rtnetlink as far as a look needs it; what sets VFs takes longer to import than to run."""

    def links(self) -> dict[str, Link]:
        return rtnetlink.links()

    def link(self, name: str) -> Link | None:
        return self.links().get(name)

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
    cabling = _ask(given, pfs)
    entries = [_entry(pf, vf, cabling) for _, pf in sorted(pfs.items())]
    if given.json:
        print(json.dumps(entries, indent=2))
    else:
        print("\n\n".join(map(_as_text, entries)))
    return max(_status(pf, cabling) for pf in pfs.values())


def _ask(given: argparse.Namespace, pfs: Mapping[str, Pf]) -> dict[str, Cabling]:
    sources: list[Source] = []
    found: dict[str, Cabling] = {}
    if given.source == "snmp":
        sources.append(_snmp(given.config_file))
    elif given.source != "raw":
        sources.append(Lldpd())
    listen = not sources
    if sources:
        try:
            found = Discovery(sources).cabling(pfs)
        except Unavailable as error:
            if given.source or given.wait == 0:
                raise
            print(f"{error}; listening on the PF instead", file=sys.stderr)
            listen = True
    wait = LISTEN_SECONDS if given.wait is None and listen else given.wait or 0.0
    if found and (_whole(pfs, found) or not wait):
        return found
    return _wait(sources, pfs, wait, frames=given.source in (None, "raw"))


def _wait(
    sources: list[Source], pfs: Mapping[str, Pf], seconds: float, *, frames: bool
) -> dict[str, Cabling]:
    """The answer as soon as it is whole, or what there is when the time is over."""
    discovery = Discovery(sources)
    if frames:
        # Takes longer to import than lldpd takes to answer.
        from sriov_agent.host.lldp.raw import Raw  # noqa: PLC0415

        raw = Raw(window=seconds)
        discovery = Discovery([*sources, raw], witness=raw)
        raw.start(lambda: None)
    try:
        found = discovery.cabling(pfs)
        deadline = time.monotonic() + seconds
        while not _whole(pfs, found) and (left := deadline - time.monotonic()) > 0:
            if sys.stderr.isatty():
                print(f"\rwaiting for LLDP frames, {left:3.0f} s left ", end="", file=sys.stderr)
            time.sleep(min(left, 1.0))
            found = discovery.cabling(pfs)
        return found
    finally:
        if frames:
            raw.stop()


def _whole(pfs: Mapping[str, Pf], found: Mapping[str, Cabling]) -> bool:
    return all(links(pf, found).whole for pf in pfs.values())


def _snmp(config_file: str | None) -> Source:
    from oslo_config import cfg  # noqa: PLC0415

    from sriov_agent import conf as options  # noqa: PLC0415
    from sriov_agent.parts import snmp  # noqa: PLC0415

    conf = options.register(cfg.ConfigOpts())
    try:
        conf([], default_config_files=[config_file] if config_file else [])
    except cfg.Error as error:
        raise ConfigError(f"{config_file}: {error}") from error
    return snmp(conf)


def _vfs_with(mac: str, pfs: Mapping[str, Pf]) -> list[Vf]:
    return [vf for pf in pfs.values() for vf in pf.vfs if vf.settings.mac == mac]


def _print_not_one(mac: str, found: list[Vf], pfs: Mapping[str, Pf]) -> None:
    where = ", ".join(f"{vf.address} (VF {vf.index} of {pfs[vf.pf].netdev})" for vf in found)
    said = f"on several VFs: {where}" if found else "on no VF of this host"
    print(f"sriov-lldp-discover: {printable(mac)} is {said}", file=sys.stderr)


def _entry(pf: Pf, vf: Vf | None, cabling: Mapping[str, Cabling]) -> dict[str, object]:
    entry: dict[str, object] = {"pf": pf.netdev, "pf_pci": pf.address}
    if vf:
        entry |= {"vf": vf.index, "vf_pci": vf.address, "vlan": vf.settings.vlan}
    entry["local_link_information"] = [
        {
            "switch_id": port.chassis_id.value,
            "port_id": port_name(port.port_id, port.port_description),
            "switch_info": port.system_name,
        }
        for port in links(pf, cabling).switch_ports
    ]
    entry["links"] = [_link(uplink, cabling[uplink.address]) for uplink in pf.uplinks()]
    return entry


def _link(uplink: Uplink, answer: Cabling) -> dict[str, object]:
    port = answer.switch_port
    return {
        "netdev": uplink.netdev,
        "pci": uplink.address,
        "chassis_id": to_builtins(port.chassis_id) if port else None,
        "port_id": to_builtins(port.port_id) if port else None,
        "port_description": port.port_description if port else None,
        "switch": port.name if port else None,
        "port": port_name(port.port_id, port.port_description) if port else None,
        "reason": answer.reason,
        "neighbors": [as_json(neighbor) for neighbor in answer.neighbors],
    }


def _as_text(entry: Mapping[str, Any]) -> str:
    lines = [("PF", f"{entry['pf']} ({entry['pf_pci']})")]
    if "vf" in entry:
        lines.append(("VF", f"{entry['vf']} ({entry['vf_pci']})"))
        lines.append(("VLAN", str(entry["vlan"] or "none")))
    for link in entry["links"]:
        if len(entry["links"]) > 1:
            lines.append(("Link", f"{link['netdev']} ({link['pci']})"))
        if link["switch"]:
            chassis_id = _shown(link["chassis_id"]["value"])
            lines.append(("Switch", f"{_shown(link['switch'])} ({chassis_id})"))
            lines.append(("Port", _shown(link["port"])))
        else:
            lines.append(("Switch", f"unknown: {link['reason']}"))
    return "\n".join(f"{name:8}{value}" for name, value in lines)


def _shown(text: str) -> str:
    return printable(text)[1:-1]


def _status(pf: Pf, cabling: Mapping[str, Cabling]) -> int:
    found = links(pf, cabling)
    if found.switch_ports and not found.unknown:
        return ONE
    reasons = (cabling[uplink.address].reason for uplink in pf.uplinks())
    return AMBIGUOUS if any(why.startswith("ambiguous") for why in reasons) else NONE
