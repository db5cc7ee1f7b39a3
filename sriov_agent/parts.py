# SPDX-License-Identifier: Apache-2.0
"""The agent's parts, made of the configuration."""

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.core.report import Report
from sriov_agent.counters import Counters
from sriov_agent.exceptions import ConfigError
from sriov_agent.host.lldp.discovery import Discovery
from sriov_agent.host.lldp.discovery import Source as LldpSource
from sriov_agent.host.lldp.lldpd import Lldpd
from sriov_agent.host.lldp.raw import Raw
from sriov_agent.host.lldp.snmp import Credentials, Snmp
from sriov_agent.host.openvswitch import OpenVswitch
from sriov_agent.sources.base import Source
from sriov_agent.sources.local import Local
from sriov_agent.sources.ports import Ports
from sriov_agent.sources.taps import TapRegistry
from sriov_agent.store import Store
from sriov_agent.taps import TapReconciler

if TYPE_CHECKING:
    from sriov_agent.sources.neutron import Neutron


def mappings(conf: cfg.ConfigOpts) -> tuple[tuple[str, str], ...]:
    """``physical_device_mappings``, at least one.

    :raises ConfigError: if there is none, or one that cannot work
    """
    found = options.mappings(conf)
    if not found:
        raise ConfigError("[sriov_nic] physical_device_mappings is empty: the agent has no PF")
    return found


def discovery(conf: cfg.ConfigOpts) -> Discovery:
    """The sources of LLDP, in their order."""
    raw = Raw() if "raw" in conf.lldp.sources else None
    sources: list[LldpSource] = []
    for name in conf.lldp.sources:
        if name == "lldpd":
            sources.append(Lldpd(conf.lldp.command, conf.lldp.timeout))
        elif name == "snmp":
            sources.append(snmp(conf))
        elif raw:
            sources.append(raw)
    return Discovery(sources, conf.lldp.allowed_switches, witness=raw)


def snmp(conf: cfg.ConfigOpts) -> Snmp:
    """The SNMP agents of the configuration, as a source of LLDP neighbors."""
    given = conf.lldp_snmp
    credentials = Credentials(
        **{field.name: getattr(given, field.name) for field in dataclasses.fields(Credentials)}
    )
    return Snmp(
        given.host_agent,
        given.switches,
        credentials,
        timeout=given.timeout,
        retries=given.retries,
        interval=given.interval,
    )


def taps(conf: cfg.ConfigOpts, store: Store) -> TapReconciler | None:
    """What looks after host taps, where ports are the operator's own."""
    if conf.agent.source != "local":
        return None
    try:
        from sriov_agent.host.bridge import KernelTaps  # noqa: PLC0415

        kernel = KernelTaps()
    except ModuleNotFoundError:
        kernel = None
    return TapReconciler(
        source=TapRegistry(Ports(options.ports_path(conf))),
        kernel=kernel,
        openvswitch=OpenVswitch(Path(conf.local.ovsdb_socket)),
        record=store,
    )


def source(conf: cfg.ConfigOpts, counters: Counters) -> Source:
    """Where ports come from; only what that takes is loaded.

    :raises ConfigError: if an option of it cannot work
    """
    ports = Ports(options.ports_path(conf))
    if conf.agent.source == "local":
        return Local(ports, conf.local.poll_interval)
    if conf.agent.source == "ml2":
        return _ml2(conf, ports, counters)
    from sriov_agent.sources.notifications import Notifications  # noqa: PLC0415

    return Notifications(conf, ports, counters)


def _ml2(conf: cfg.ConfigOpts, ports: Ports, counters: Counters) -> Source:
    from sriov_agent.sources import agent_state  # noqa: PLC0415
    from sriov_agent.sources.ml2 import Ml2  # noqa: PLC0415

    pins = {**agent_state.PINS, "Port": conf.ml2_agent.port_version}
    configurations = functools.partial(
        agent_state.configurations,
        mappings=options.mappings(conf),
        extensions=options.extensions(conf),
        bandwidths=options.resource_provider_bandwidths(conf),
        inventory_defaults=options.resource_provider_inventory_defaults(conf),
        hypervisors=options.resource_provider_hypervisors(conf),
    )

    def state(report: Report) -> dict[str, object]:
        claimed = {entry.claim.vf for entry in report.ports.values() if entry.claim}
        known = bool(report.pfs)
        return configurations(
            devices=len(claimed) if known else None,
            facts=agent_state.facts(report.pfs.values(), report.cabling, claimed),
        )

    return Ml2(
        conf,
        ports,
        counters,
        state=state,
        pins=agent_state.resource_versions(pins, "[ml2_agent] port_version"),
        neutron=_neutron(conf) if conf.ml2_agent.write_back else None,
    )


def _neutron(conf: cfg.ConfigOpts) -> "Neutron":
    from sriov_agent.sources.neutron import Neutron, configured  # noqa: PLC0415

    if not configured(conf.neutron):
        raise ConfigError("[ml2_agent] write_back takes a user with the role service in [neutron]")
    return Neutron(conf.neutron)
