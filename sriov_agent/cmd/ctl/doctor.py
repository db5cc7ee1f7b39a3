# SPDX-License-Identifier: Apache-2.0
"""``sriovctl doctor``: reads the machine and has every check of :mod:`sriov_agent.core.doctor`."""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent import parts
from sriov_agent.cmd.ctl.base import clean, coloured, doing, sriovctl
from sriov_agent.cmd.ctl.command import Lister
from sriov_agent.cmd.ctl.terminal import escaped
from sriov_agent.control import ask
from sriov_agent.core import doctor
from sriov_agent.core.doctor import Finding, Findings, State
from sriov_agent.core.model import Cabling, Pf, SwitchPort
from sriov_agent.exceptions import SriovAgentError
from sriov_agent.hook.base import Hook
from sriov_agent.hook.loader import loaded
from sriov_agent.host.inventory import Inventory
from sriov_agent.host.lldp.discovery import Discovery
from sriov_agent.host.lldp.raw import Raw
from sriov_agent.host.machine import Machine, listener, skew, synchronized
from sriov_agent.host.netlink import Netlink
from sriov_agent.host.sysfs import Sysfs
from sriov_agent.sources.neutron import Neutron, configured
from sriov_agent.store import Store, cabling_json

#: How long the agent may take to say what it counted, in seconds.
_PATIENCE_SECONDS = 10.0

#: Whose sources hear of ports over a broker.
_OVER_A_BROKER = ("ml2", "notifications")


class Doctor(Lister):
    """Look at everything that the agent needs, and say what is wrong and what mends it.

    Nothing is changed. It is for root, and works without the agent running. Exit status 0: nothing
    is wrong, 1: there are warnings, 2: there are errors. What nothing tells is unknown, and counts
    as neither.

    Example: sriovctl doctor -c check -c state -c mend
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        with doing(self, "looking at this host"):
            found = list(findings(sriovctl(self).conf, Machine(), Sysfs()))
        self._status = doctor.exit_status(found)
        return ("check", "state", "found", "mend"), [
            (clean(f.check), coloured(self, str(f.state)), escaped(f.found), escaped(f.mend))
            for f in found
        ]

    def run(self, parsed_args: argparse.Namespace) -> int:
        return int(super().run(parsed_args) or self._status)

    _status = 0


class Record(Struct, frozen=True):
    """What the agent's record holds: ``status`` and ``lldp`` as it has them, and known links."""

    status: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    lldp: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    links: frozenset[SwitchPort] = frozenset()


def _record(path: Path) -> Record:
    """The record; where there is none, none is made."""
    if not path.exists():
        return Record()
    store = Store(path)
    links = frozenset({*store.fabric(), *store.switch_ports()})
    return Record(store.status(), store.lldp(), links)


def findings(conf: cfg.ConfigOpts, machine: Machine, sysfs: Sysfs) -> Iterator[Finding]:
    """Every check of this host, one after the other; what fails to be read is unknown."""
    pid = listener(options.socket_path(conf))
    process = machine.process(pid) if pid is not None else None
    yield from doctor.agent(process, "raw" in conf.lldp.sources)
    record = Record()
    try:
        record = _record(options.store_path(conf))
    except SriovAgentError as error:
        mend = f"systemctl stop sriov-agent; rm {options.store_path(conf)}*"
        yield Finding("agent record", State.ERROR, str(error), mend)
    yield doctor.other_agent(list(machine.processes("neutron-sriov-nic-agent")))
    yield doctor.iommu(machine.iommu_groups(), machine.command_line(), machine.cpu_vendor())
    yield doctor.vfio(machine.vfio())
    yield doctor.libvirt(machine.libvirt())
    yield from _checked("pfs", lambda: _pfs(conf, record, machine, sysfs, running=pid is not None))
    brokers = list(_checked("broker", lambda: _broker(conf)))
    yield from brokers
    if conf.agent.source == "ml2":
        yield from _checked("neutron heartbeat", lambda: _heartbeat(conf, running=pid is not None))
    if conf.agent.source != "local":
        yield from _checked("physical networks", lambda: _physical_networks(conf))
    if any(f.check == _FABRIC and f.state == State.ERROR for f in brokers):
        # oslo.messaging would wait for it for ever.
        yield Finding("device manager", State.UNKNOWN, "not asked, since the broker is in the way")
    else:
        yield from _checked("device manager", lambda: _device_manager(conf, record))
    url = conf.neutron.auth_url or conf.neutron.endpoint_override
    yield doctor.clock(skew(url) if url else None, url or "", synchronized())


def _checked(check: str, read: Callable[[], Findings]) -> Findings:
    try:
        return list(read())
    except SriovAgentError as error:
        return [Finding(check, State.ERROR, str(error))]


def _pfs(
    conf: cfg.ConfigOpts, record: Record, machine: Machine, sysfs: Sysfs, *, running: bool
) -> Iterator[Finding]:
    with Netlink() as netlink:
        inventory = Inventory(
            parts.mappings(conf), netlink, sysfs, excluded=options.excluded_vfs(conf)
        )
        found, errors = inventory.pfs()
    for what, error in errors.items():
        yield Finding(what, State.ERROR, error, "look at [sriov_nic] physical_device_mappings")
    writers, lacking = machine.vf_writers(), _lacking(record)
    cabling, by = _cabling(conf, found, record, running=running)
    with loaded(conf) as hook:
        needed = hook.required
    for pf in found.values():
        yield from doctor.pf(pf)
        yield doctor.vfs(pf)
        yield doctor.persistent(pf, writers)
        yield doctor.driver(pf, sysfs.driver(pf.netdev), lacking.get(pf.address, ()))
        yield from doctor.firmware_lldp(pf)
        yield from doctor.lldp(pf, cabling, needed=needed, by=by)


def _lacking(record: Record) -> dict[str, set[str]]:
    """Settings that were refused, by the PF's address, as the agent's record has them."""
    found: dict[str, set[str]] = {}
    for entry in record.status.values():
        found.setdefault(entry["pf"], set()).update(entry["unsupported"])
    return found


def _cabling(
    conf: cfg.ConfigOpts, pfs: Mapping[str, Pf], record: Record, *, running: bool
) -> tuple[Mapping[str, Mapping[str, Any]], str]:
    """What the running agent makes of LLDP, or what can be heard at once; and who heard it."""
    if running and record.lldp:
        return record.lldp, "the agent"
    whole = parts.discovery(conf)
    asked = [source for source in whole.sources if not isinstance(source, Raw)]
    if not asked:
        return {}, "nobody else"
    try:
        found = Discovery(asked, conf.lldp.allowed_switches).cabling(pfs)
    except SriovAgentError as error:
        uplinks = (uplink for pf in pfs.values() for uplink in pf.uplinks())
        found = {uplink.address: Cabling(reason=str(error)) for uplink in uplinks}
    return {address: cabling_json(answer) for address, answer in found.items()}, "lldpd"


def _broker(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    source, hook = conf.agent.source, conf.fabric.hook
    if source not in _OVER_A_BROKER and hook != "rpc":
        yield Finding("broker", State.OK, f"not needed by source {source} and hook {hook}")
        return
    # Slow to import, and not needed where there is no broker.
    from sriov_agent import messaging  # noqa: PLC0415
    from sriov_agent.hook import rpc  # noqa: PLC0415

    exchange, topics, fanouts = messaging.EXCHANGE, ["q-plugin", "q-reports-plugin"], []
    if source == "ml2":
        fanouts = [f"neutron-vo-Port-{conf.ml2_agent.port_version}", "q-agent-notifier-port-update"]
    if source == "notifications":
        exchange, topics = conf.notifications.exchange, [f"{conf.notifications.topic}.info"]
    asked: list[tuple[str, str | None, str, list[str], list[str]]] = []
    if source in _OVER_A_BROKER:
        asked.append(("broker", None, exchange, topics, fanouts))
    if hook == "rpc":
        url = conf.hook_rpc.transport_url
        asked.append((_FABRIC, url, messaging.FABRIC_EXCHANGE, [messaging.MANAGER_TOPIC], []))
    for check, url, exchange, topics, fanouts in asked:
        peer = rpc.PEER if check == _FABRIC else "neutron-server"
        transport = messaging.transport(conf, url)
        where = messaging.broker(transport)
        try:
            wrong = messaging.misfits(transport, exchange, topics, fanouts)
        except Exception as error:  # of the libraries below oslo.messaging
            said = messaging.explained(error, peer)
            yield Finding(check, State.ERROR, f"{where}: {said}", _TRY_BROKER)
            continue
        finally:
            transport.cleanup()
        for misfit in wrong:
            yield Finding(check, State.ERROR, f"{where}: {messaging.explained(misfit, peer)}")
        if not wrong:
            yield Finding(check, State.OK, f"{where} answers, and its queues are as configured")


_FABRIC = "fabric broker"
_TRY_BROKER = "look at [DEFAULT] transport_url; on the broker: rabbitmqctl status"


def _heartbeat(conf: cfg.ConfigOpts, *, running: bool) -> Iterator[Finding]:
    counters: dict[str, int] = {}
    if running:
        said = ask(options.socket_path(conf), "counters", _PATIENCE_SECONDS)
        counters.update((name, n) for name, n in said.items() if isinstance(n, int))
    yield doctor.heartbeat(running, counters, conf.agent.report_interval, time.time())


def _physical_networks(conf: cfg.ConfigOpts) -> Iterator[Finding]:
    known, why = None, "[neutron] is not set, so Neutron's API is not asked"
    if configured(conf.neutron):
        try:
            known = Neutron(conf.neutron).physical_networks()
        except SriovAgentError as error:
            why = str(error)
    mapped: Iterable[str] = (network for network, _ in parts.mappings(conf))
    yield doctor.physical_networks(mapped, known, why)


def _device_manager(conf: cfg.ConfigOpts, record: Record) -> Iterator[Finding]:
    with loaded(conf) as hook:
        yield _asked(hook, conf, record)


def _asked(hook: Hook, conf: cfg.ConfigOpts, record: Record) -> Finding:
    check = "device manager"
    name = f"hook {conf.fabric.hook}"
    if not hook.required:
        return Finding(check, State.OK, f"{name} asks nobody: switches are configured by others")
    links = sorted(record.links, key=str)
    if links:
        read = hook.read(links)
        closed = [link for link in links if link not in read]
        if closed:
            why = hook.why(closed[0]) or "it does not tell what is open"
            return Finding(check, State.WARNING, f"{name}: {why}", "sriovctl fabric diff")
    elif type(hook).owned is Hook.owned:
        return Finding(
            check, State.UNKNOWN, f"{name} was not asked: there is no link to ask of yet"
        )
    else:
        hook.owned()
    return Finding(check, State.OK, f"{name} answers for {len(links)} links")
