# SPDX-License-Identifier: Apache-2.0
"""Every option of the agent, with unit and range in its help."""

import itertools
import logging
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from oslo_config import cfg, types

from sriov_agent.conf.hooks import (
    HOOK_CONTRAIL_OPTS,
    HOOK_EXEC_OPTS,
    HOOK_RPC_OPTS,
    HOOK_WEBHOOK_OPTS,
)
from sriov_agent.conf.metrics import METRICS_OPTS, STATUS_PAGE_OPT
from sriov_agent.conf.neutron import NEUTRON_OPTS
from sriov_agent.conf.nic import (
    SRIOV_NIC_OPTS,
    excluded_vfs,
    mappings,
    resource_provider_bandwidths,
    resource_provider_hypervisors,
    resource_provider_inventory_defaults,
)

__all__ = [
    "GROUPS",
    "excluded_vfs",
    "extensions",
    "interfaces_path",
    "list_opts",
    "mappings",
    "parse",
    "ports_path",
    "register",
    "resource_provider_bandwidths",
    "resource_provider_hypervisors",
    "resource_provider_inventory_defaults",
    "socket_path",
    "store_path",
]

LOG = logging.getLogger(__name__)

#: Extensions of neutron-sriov-nic-agent whose work is done here, whether they are named or not.
EXTENSIONS = ("qos",)

DEFAULT_OPTS = [
    cfg.StrOpt(
        "host",
        default=socket.gethostname(),
        sample_default="<the host name>",
        help="This host's name as Neutron and nova know it (binding:host_id).",
    ),
]

SOURCES = [
    ("local", "ports come from sriovctl; no OpenStack"),
    ("notifications", "ports come from Neutron's notifications"),
    ("ml2", "ports come from Neutron's ML2 plugin, in the place of neutron-sriov-nic-agent"),
]

AGENT_OPTS = [
    cfg.StrOpt(
        "source",
        default="local",
        choices=SOURCES,
        help="Where the desired ports come from; --agent-source on the command line counts more.",
    ),
    cfg.StrOpt(
        "state_path",
        default="/var/lib/sriov-agent",
        help="Directory of the agent's own files: agent.db, ports.db and interfaces/.",
    ),
    cfg.FloatOpt(
        "resync_interval",
        default=60.0,
        min=1.0,
        help="Seconds between two passes over everything, when nothing happens.",
    ),
    cfg.FloatOpt(
        "retry_min",
        default=1.0,
        min=0.1,
        help="Seconds until what is unmet is tried again; doubles up to retry_max.",
    ),
    cfg.FloatOpt(
        "retry_max", default=60.0, min=0.1, help="Longest time between two tries, in seconds."
    ),
    cfg.FloatOpt(
        "report_interval",
        default=30.0,
        min=0.1,
        help=(
            "Seconds between two reports to Neutron that the agent is alive; at most half of "
            "agent_down_time there. Only with the source ml2."
        ),
    ),
    cfg.ListOpt(
        "extensions",
        default=[],
        help=(
            "As neutron-sriov-nic-agent has it. qos is built in, named or not; another one is "
            "left out, with a warning."
        ),
    ),
    cfg.FloatOpt(
        "polling_interval",
        default=2.0,
        min=0.0,
        help="Seconds; read for neutron-sriov-nic-agent's sake and ignored: events come at once.",
    ),
]

#: Not ``[agent] source`` itself: oslo.config ends the process over a bad value of an option that
#: the command line has too, and does not say which file it stands in.
AGENT_SOURCE = cfg.StrOpt("agent-source", choices=SOURCES, help="Instead of [agent] source.")

LOCAL_OPTS = [
    cfg.StrOpt(
        "bridge",
        default="",
        help=(
            "Bridge that sriovctl tap create puts host taps in: one of the kernel's that filters "
            "VLANs, or one of Open vSwitch. Empty: each is to name its own."
        ),
    ),
    cfg.StrOpt(
        "ovsdb_socket",
        default="/run/openvswitch/db.sock",
        help="Socket of this host's Open vSwitch database; of use to host taps alone.",
    ),
    cfg.FloatOpt(
        "poll_interval",
        default=0.5,
        min=0.05,
        max=60.0,
        help="Seconds between two looks at whether sriovctl changed ports.db.",
    ),
]

NOTIFICATIONS_OPTS = [
    cfg.StrOpt("exchange", default="neutron", help="Exchange that Neutron notifies on."),
    cfg.StrOpt("topic", default="notifications", help="Topic that Neutron notifies on."),
    cfg.StrOpt(
        "pool",
        help=(
            "Listener pool, which is a queue of this name on the broker. Each host needs its "
            "own; default: sriov-agent-HOST. The queue stays, and fills, while the agent is off."
        ),
    ),
    cfg.FloatOpt(
        "list_interval",
        default=600.0,
        min=1.0,
        help=(
            "Seconds between two lists of this host's ports from Neutron's API, which make good "
            "what was not notified; needs [neutron]."
        ),
    ),
]

ML2_AGENT_OPTS = [
    cfg.StrOpt(
        "port_version",
        default="1.7",
        help=(
            "Version in which Neutron is to push ports. Every neutron-server since Yoga knows the "
            "default. One that the server does not know stops the pushes for the whole cloud."
        ),
    ),
    cfg.FloatOpt(
        "list_interval",
        default=300.0,
        min=1.0,
        help="Seconds between two lists of this host's ports, when nothing is missed.",
    ),
    cfg.BoolOpt(
        "write_back",
        default=False,
        help=(
            "Write VF and switch port of ports without nova into binding:profile. It takes a user "
            "with the role service in [neutron], and Neutron binds the port anew for it."
        ),
    ),
]

LLDP_OPTS = [
    cfg.ListOpt(
        "sources",
        item_type=types.String(choices=["lldpd", "raw", "snmp"]),
        default=["lldpd", "raw"],
        help=(
            "Where LLDP neighbors come from, comma-separated: lldpd, the local daemon; raw, frames "
            "read from the PFs, which takes CAP_NET_RAW; snmp, see [lldp_snmp]. Each is asked for "
            "the PFs on which those before it heard nothing. With raw, wherever it stands, what a "
            "guest on a VF forges is told from a switch."
        ),
    ),
    cfg.ListOpt(
        "command",
        default=["lldpcli"],
        help="lldpcli with its options, comma-separated, such as lldpcli,-u,/run/lldpd.socket.",
    ),
    cfg.FloatOpt("timeout", default=5.0, min=0.1, help="Seconds that lldpd may take to answer."),
    cfg.ListOpt(
        "allowed_switches",
        default=[],
        help=(
            "Chassis ids and system names of the fabric's switches, comma-separated. A neighbor "
            "that is none of them is refused. Default: any switch."
        ),
    ),
    cfg.StrOpt(
        "on_change",
        default="hold",
        choices=[
            ("hold", "keep what is open, and wait for: sriovctl lldp accept PF"),
            ("follow", "believe it"),
        ],
        help="What to do when LLDP moves a PF to another switch port while its link stayed up.",
    ),
]

LLDP_SNMP_OPTS = [
    cfg.StrOpt(
        "host_agent",
        default="127.0.0.1",
        help=(
            "This host's SNMP agent, with lldpd (-x) as its AgentX subagent, as ADDRESS or "
            "ADDRESS:PORT; empty: not asked."
        ),
    ),
    cfg.ListOpt(
        "switches",
        default=[],
        help=(
            "SNMP agents of switches, as ADDRESS or ADDRESS:PORT, comma-separated: asked on which "
            "of their ports they hear this host."
        ),
    ),
    cfg.StrOpt("version", default="2c", choices=["2c", "3"], help="SNMP version."),
    cfg.StrOpt("community", default="public", secret=True, help="Community, for version 2c."),
    cfg.StrOpt("user", default="", help="User, for version 3."),
    cfg.StrOpt(
        "auth_protocol",
        default="SHA",
        choices=["MD5", "SHA", "SHA-224", "SHA-256", "SHA-384", "SHA-512"],
        help="Authentication, for version 3 with an auth_key.",
    ),
    cfg.StrOpt("auth_key", default="", secret=True, help="Authentication passphrase."),
    cfg.StrOpt(
        "priv_protocol",
        default="AES",
        choices=["AES", "AES-192", "AES-256"],
        help="Privacy, for version 3 with a priv_key.",
    ),
    cfg.StrOpt("priv_key", default="", secret=True, help="Privacy passphrase."),
    cfg.FloatOpt("timeout", default=2.0, min=0.1, help="Seconds until a request is sent again."),
    cfg.IntOpt("retries", default=1, min=0, max=10, help="How often a request is sent again."),
    cfg.FloatOpt(
        "interval", default=30.0, min=1.0, help="Seconds between two looks at all of them."
    ),
]

LIBVIRT_OPTS = [
    cfg.StrOpt(
        "uri",
        default="",
        help=(
            "The libvirt of this host's guests, such as qemu:///system; empty: none is asked. What "
            "a running domain has is neither given away nor reset. Needs libvirt-python."
        ),
    ),
]

FABRIC_OPTS = [
    cfg.StrOpt(
        "hook",
        default="noop",
        help=(
            "Device-manager hook: noop, rpc (sriov-device-manager), contrail, exec, webhook, or "
            "another sriov_agent.hook entry point."
        ),
    ),
]

GROUPS: dict[str, Sequence[cfg.Opt]] = {
    "DEFAULT": DEFAULT_OPTS,
    "sriov_nic": SRIOV_NIC_OPTS,
    "agent": AGENT_OPTS,
    "local": LOCAL_OPTS,
    "notifications": NOTIFICATIONS_OPTS,
    "neutron": NEUTRON_OPTS,
    "ml2_agent": ML2_AGENT_OPTS,
    "lldp": LLDP_OPTS,
    "lldp_snmp": LLDP_SNMP_OPTS,
    "metrics": [*METRICS_OPTS, STATUS_PAGE_OPT],
    "libvirt": LIBVIRT_OPTS,
    "fabric": FABRIC_OPTS,
    "hook_exec": HOOK_EXEC_OPTS,
    "hook_webhook": HOOK_WEBHOOK_OPTS,
    "hook_rpc": HOOK_RPC_OPTS,
    "hook_contrail": HOOK_CONTRAIL_OPTS,
}


def register(conf: cfg.ConfigOpts) -> cfg.ConfigOpts:
    """Register every option on ``conf`` and return it."""
    for group, options in GROUPS.items():
        conf.register_opts(options, None if group == "DEFAULT" else group)
    return conf


def parse(conf: cfg.ConfigOpts, arguments: Sequence[str] | None, version: str) -> None:
    """Read the daemon's command line and the files that it names, or those of this project.

    :param arguments: default: those of the process
    :raises cfg.Error: for a file that is not there or cannot be read
    """
    conf.register_cli_opt(AGENT_SOURCE)
    conf(arguments, project="sriov-agent", version=version)
    if conf.agent_source:
        conf.set_override("source", conf.agent_source, group="agent")


def list_opts() -> list[tuple[str, Iterable[cfg.Opt]]]:
    """(group, options) pairs for ``oslo-config-generator``."""
    return [(group, itertools.chain(options)) for group, options in GROUPS.items()]


def extensions(conf: cfg.ConfigOpts) -> tuple[str, ...]:
    """The extensions whose work is done, by neutron-sriov-nic-agent's names; warns of others."""
    for name in conf.agent.extensions:
        if name and name not in EXTENSIONS:
            LOG.warning("[agent] extensions: %r is left out: this agent does not have it", name)
    return EXTENSIONS


def socket_path(conf: cfg.ConfigOpts) -> Path:
    """The socket by which ``sriovctl`` asks the running agent."""
    return Path(conf.agent.state_path) / "agent.sock"


def store_path(conf: cfg.ConfigOpts) -> Path:
    """The agent's own record."""
    return Path(conf.agent.state_path) / "agent.db"


def ports_path(conf: cfg.ConfigOpts) -> Path:
    """The table of ports."""
    return Path(conf.agent.state_path) / "ports.db"


def interfaces_path(conf: cfg.ConfigOpts) -> Path:
    """The directory of interface XML."""
    return Path(conf.agent.state_path) / "interfaces"
