# SPDX-License-Identifier: Apache-2.0
"""``sriovctl port``."""

import argparse
import functools
import itertools
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from cliff.formatters.base import ListFormatter
from msgspec.structs import replace

from sriov_agent import conf as options
from sriov_agent.cmd.ctl.base import (
    POLL_SECONDS,
    add_wait,
    clean,
    coloured,
    doing,
    require_local,
    sriovctl,
    vlan_or_alias,
    wait_until_met,
)
from sriov_agent.cmd.ctl.command import Command, Lister, ShowOne
from sriov_agent.core.model import LinkState, Segment
from sriov_agent.core.netspec import DRIVERS, FORM, NetSpec, netspecs
from sriov_agent.core.report import left_open
from sriov_agent.core.state import VNIC_TYPES, Claim
from sriov_agent.core.vlans import Vlans
from sriov_agent.exceptions import InvalidField, Unavailable
from sriov_agent.hook.loader import loaded
from sriov_agent.libvirt.files import InterfaceFiles
from sriov_agent.sources.port import Port

if TYPE_CHECKING:
    from sriov_agent.cmd.ctl.app import Sriovctl

_PORT = ("id", "name", "mac", "vlan", "alias", "physical_network")
_LIST = (*_PORT, "vf", "switch", "switch_port", "state")
_SHOW = (
    *_PORT,
    "trunk",
    "vnic_type",
    "pci_slot",
    "qos",
    "spoofchk",
    "trust",
    "link_state",
    "min_tx_rate",
    "max_tx_rate",
    "pf",
    "vf",
    "vf_index",
    "switch",
    "switch_port",
    "domain",
    "state",
    "unmet",
    "unsupported",
)

Json = object


class PortCreate(ShowOne):
    """Create a port on this host; the agent gives it a VF.

    VLAN is a number, or an alias that takes a VLAN when it is first used; see sriovctl vlan list.
    With several networks in --net, a port is created for each, or none if one is wrong.

    Example: sriovctl port create --physical-network physnet2 --vlan 15 --wait 30 web1
    Example: sriovctl port create --net DMZ --net physnet2,100,02:00:00:00:00:01,macvtap router
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add = parser.add_argument
        add("name", nargs="?", default="", help="free text")
        either = parser.add_mutually_exclusive_group(required=True)
        either.add_argument("--physical-network", help="as in physical_device_mappings")
        either.add_argument(
            "--net",
            action="append",
            default=[],
            metavar=FORM,
            help="the network of a port, or of several between spaces; the physical network may be "
            f"left out where there is one; DRIVER is one of: {', '.join(DRIVERS)}",
        )
        add(
            "--vlan",
            default="",
            metavar="VLAN",
            help="VLAN id 1..4094, or an alias; 0, the default: untagged",
        )
        add("--network", default="", help="Neutron network id, where the fabric asks for it")
        add(
            "--trunk",
            type=_segments,
            default=[],
            metavar="VLAN[=NETWORK],...",
            help="VLANs that the guest tags itself; then the VF has none",
        )
        add(
            "--native",
            type=_segments,
            default=[],
            metavar="VLAN[=NETWORK]",
            help="the VLAN of what the guest of a trunk sends untagged",
        )
        add("--id", default=None, help="port id, a UUID; default: a new one")
        add("--mac", default=None, help="MAC address; default: a new locally administered one")
        add("--vnic-type", default="direct", help=f"one of: {', '.join(VNIC_TYPES)}")
        add("--pci-slot", help="PCI address of the VF to use; default: the agent chooses")
        add("--qos", type=int, default=0, help="VLAN priority 0..7")
        add("--spoofchk", action=argparse.BooleanOptionalAction, default=True)
        add("--trust", action=argparse.BooleanOptionalAction, default=False)
        add("--link-state", default="auto", help=f"one of: {', '.join(LinkState)}")
        add("--min-tx-rate", type=int, default=0, metavar="MBIT/S", help="0: no guarantee")
        add("--max-tx-rate", type=int, default=0, metavar="MBIT/S", help="0: no limit")
        add_wait(parser, "the port is met")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Sequence[object]]:
        app, given = sriovctl(self), parsed_args
        require_local(app)
        specs, problems = _netspecs(app, given)
        count = len(specs) + len(problems)
        if count > 1 and not isinstance(self.formatter, ListFormatter):
            raise InvalidField("format", given.formatter, "it shows one port, not several")
        wanted = list(zip(specs, _others(given, count), strict=False))
        ids = [port.port_id for port in app.registry().create(wanted, problems)]
        deadline = time.monotonic() + given.wait
        for port_id in ids if given.wait else []:
            with doing(self, f"waiting until port {given.name or port_id} is met"):
                seen = functools.partial(_seen, app, port_id)
                wait_until_met(f"port {port_id}", seen, given.wait, deadline)
        if count == 1:
            return _SHOW, _row(self, ids[0], _SHOW)
        return _LIST, [_row(self, port_id, _LIST) for port_id in ids]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        """One port as ``show`` does, several as ``list`` does."""
        if not isinstance(data, list):
            return int(super().produce_output(parsed_args, column_names, data))
        columns, chosen = self._generate_columns_and_selector(parsed_args, column_names)
        rows = [tuple(itertools.compress(row, chosen)) for row in data] if chosen else data
        cast(ListFormatter, self.formatter).emit_list(
            columns, rows, sriovctl(self).stdout, parsed_args
        )
        return 0


def _netspecs(
    app: "Sriovctl", given: argparse.Namespace
) -> tuple[list[NetSpec], list[InvalidField]]:
    """The network of each port to create, and what is wrong with others.

    :raises InvalidField: if options do not go with each other
    """
    if not given.net:
        spec = NetSpec(
            vlan=vlan_or_alias(given.vlan or "0", low=0),
            physical_network=given.physical_network,
            mac=given.mac,
            vnic_type=given.vnic_type,
        )
        return [spec], []
    for name in ("vlan", "mac", "trunk", "native"):
        if value := getattr(given, name):
            raise InvalidField(name, value, f"not with --net, which is {FORM}")
    texts = " ".join(given.net).split()
    if not texts:
        raise InvalidField("net", "", f"expected {FORM}")
    for name in ("id", "pci_slot"):
        if len(texts) > 1 and (value := getattr(given, name)):
            raise InvalidField(name, value, "for one port only, and --net names several")
    return netspecs(texts, {name for name, _ in options.mappings(app.conf)}, given.vnic_type)


def _others(given: argparse.Namespace, count: int) -> Iterator[dict[str, Any]]:
    """What else the arguments say of each of so many ports; several get a number to their name."""
    for number in range(1, count + 1):
        yield {
            "port_id": given.id or str(uuid.uuid4()),
            "revision_number": 1,
            "name": f"{given.name}-{number}" if given.name and count > 1 else given.name,
            "network_id": given.network,
            "trunk": (*given.trunk, *(replace(each, tagged=False) for each in given.native)),
            "pci_slot": given.pci_slot,
            "qos": given.qos,
            "spoofchk": given.spoofchk,
            "trust": given.trust,
            "link_state": given.link_state,
            "min_tx_rate": given.min_tx_rate,
            "max_tx_rate": given.max_tx_rate,
        }


def _seen(app: "Sriovctl", port_id: str) -> tuple[str, Sequence[str]]:
    """The port's state as the last pass left it, and what is not met."""
    status = app.store().status().get(port_id, {})
    return status.get("state", ""), status.get("unmet") or ()


class PortDelete(Command):
    """Delete ports of this host; the agent takes back what they had.

    Example: sriovctl port delete --wait 30 web1
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("port", nargs="+", help="id or name")
        add_wait(parser, "their VFs are released and their VLANs seen closed on the switches")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        require_local(sriovctl(self))
        ports = [find(sriovctl(self), port) for port in parsed_args.port]
        fabric, pfs = False, set()
        if parsed_args.wait:
            with loaded(sriovctl(self).conf) as hook:
                fabric = hook.required
            # Before the agent hears of it: it may have released them before the first look.
            pfs = _pfs(ports, sriovctl(self).store().claims())
        for port in ports:
            sriovctl(self).ports().delete(port.port_id)
        if parsed_args.wait:
            with doing(self, f"waiting until {', '.join(parsed_args.port)} is released"):
                self._wait(ports, parsed_args.wait, fabric, pfs)

    def _wait(self, ports: Sequence[Port], seconds: float, fabric: bool, pfs: set[str]) -> None:
        app = sriovctl(self)
        deadline = time.monotonic() + seconds
        ids = {port.port_id for port in ports}
        vlans = {vlan for port in ports for vlan in _vlans(port)}
        while True:
            store = app.store()
            claims, status = store.claims(), store.status()
            pfs |= _pfs(ports, claims)
            held = sorted(ids & (claims.keys() | status.keys()))
            left = [f"not released: {', '.join(held)}"] if held else []
            if fabric and not held:
                links = {"wanted": store.fabric(), "opened": store.opened()}
                left += left_open(vlans, pfs, ours=store.switch_ports(), **links)
            if not left:
                return
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"after {seconds:g} s {'; '.join(left)}; the agent goes on with it if it runs: "
                    "see sriovctl port list and fabric diff"
                )
            time.sleep(POLL_SECONDS)


class PortList(Lister):
    """List the ports of this host, with the VF and switch port of each.

    Example: sriovctl port list -f json
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        status = sriovctl(self).store().status()
        ports = {port.port_id: port for port in sriovctl(self).ports().all()}
        vlans = sriovctl(self).registry().vlans()
        rows = [_facts(port, status.get(port_id, {}), vlans) for port_id, port in ports.items()]
        rows += [
            {"id": port_id, **entry} for port_id, entry in status.items() if port_id not in ports
        ]
        return _LIST, [_cells(self, row, _LIST) for row in rows]


class PortShow(ShowOne):
    """Show a port of this host and what of it is not met.

    Example: sriovctl port show web1
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("port", help="id or name")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[object, ...]]:
        return _SHOW, _row(self, find(sriovctl(self), parsed_args.port).port_id, _SHOW)


class PortXml(Command):
    """Print a port's libvirt interface XML.

    Example: sriovctl port xml web1 | virsh attach-device DOMAIN /dev/stdin
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("port", help="id or name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        port = find(sriovctl(self), parsed_args.port)
        path = InterfaceFiles(options.interfaces_path(sriovctl(self).conf)).path(port.port_id)
        try:
            sriovctl(self).stdout.write(path.read_text("utf-8"))
        except OSError as error:
            raise Unavailable(
                f"port {port.port_id} has no interface XML yet ({error.strerror}); "
                f"see: sriovctl port show {port.port_id}"
            ) from error


def _pfs(ports: Sequence[Port], claims: Mapping[str, Claim]) -> set[str]:
    """Addresses of the PFs that they have a VF of."""
    return {claims[port.port_id].pf for port in ports if port.port_id in claims}


def _vlans(port: Port) -> set[int]:
    """What its frames have on the wire."""
    trunk = port.document.get("trunk")
    entries = [port.document, *(trunk if isinstance(trunk, list) else [])]
    vlans = {entry.get("vlan") for entry in entries if isinstance(entry, dict)}
    return {vlan for vlan in vlans if isinstance(vlan, int) and vlan}


def _cells(
    command: Command, facts: Mapping[str, Json], columns: tuple[str, ...]
) -> tuple[object, ...]:
    """What is printed; what is wrong in its colour."""
    cells = {name: clean(facts.get(name)) for name in columns}
    cells["state"] = coloured(command, cells["state"])
    if "unmet" in cells:
        cells["unmet"] = coloured(command, cells["unmet"], "red")
    return tuple(cells[name] for name in columns)


def _row(command: Command, port_id: str, columns: tuple[str, ...]) -> tuple[object, ...]:
    app = sriovctl(command)
    port = app.ports().get(port_id)
    if port is None:
        raise InvalidField("port", port_id, "no such port")
    facts = _facts(port, app.store().status().get(port_id, {}), app.registry().vlans())
    return _cells(command, facts, columns)


def _facts(port: Port, status: Mapping[str, Json], vlans: Vlans) -> dict[str, Json]:
    unmet = status.get("unmet") or ([port.error] if port.error else [])
    facts = {"id": port.port_id, **port.document, **status}
    facts["alias"] = vlans.alias_of(port.document.get("vlan"))
    trunk = port.document.get("trunk")
    facts["trunk"] = ", ".join(map(_segment, trunk if isinstance(trunk, list) else []))
    facts["state"] = status.get("state", "unmet" if port.error else "new")
    facts["unmet"] = "; ".join(map(str, unmet if isinstance(unmet, list) else []))
    lacking = status.get("unsupported")
    facts["unsupported"] = ", ".join(map(str, lacking if isinstance(lacking, list) else []))
    return facts


def _segment(entry: Mapping[str, Json]) -> str:
    return f"{entry.get('vlan')}{'' if entry.get('tagged') else ' untagged'}"


def find(app: "Sriovctl", wanted: str) -> Port:
    """The port of this id, or of this name.

    :raises InvalidField: if there is none, or several
    """
    ports: list[Port] = app.ports().all()
    found = [port for port in ports if wanted == port.port_id]
    found = found or [port for port in ports if wanted == port.document.get("name")]
    if len(found) != 1:
        ids = ", ".join(port.port_id for port in found)
        raise InvalidField(
            "port", wanted, f"several ports have this name: {ids}" if found else "no such port"
        )
    return found[0]


def _segments(text: str) -> list[Segment]:
    """``15,16=NETWORK`` as segments.

    :raises ValueError: if it is none, as argparse wants it
    """
    pairs = (entry.partition("=") for entry in text.split(","))
    return [Segment(int(vlan), network) for vlan, _, network in pairs]
