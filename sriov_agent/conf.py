# SPDX-License-Identifier: Apache-2.0
"""Every option of the agent, with unit and range in its help."""

import itertools
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from oslo_config import cfg, types

from sriov_agent.core import fields
from sriov_agent.exceptions import ConfigError, InvalidField

DEFAULT_OPTS = [
    cfg.StrOpt(
        "host",
        default=socket.gethostname(),
        sample_default="<the host name>",
        help="This host's name as Neutron and nova know it (binding:host_id).",
    ),
    cfg.StrOpt(
        "state_path",
        default="/var/lib/sriov-agent",
        help="Directory of the agent's own files: agent.db, ports.db and interfaces/.",
    ),
]

SRIOV_NIC_OPTS = [
    cfg.ListOpt(
        "physical_device_mappings",
        default=[],
        help=(
            "PFs that the agent may use, as PHYSICAL_NETWORK:DEVICE, comma-separated. DEVICE is "
            "the PF's interface name or PCI address. A physical network may have several PFs."
        ),
    ),
]

AGENT_OPTS = [
    cfg.StrOpt(
        "source",
        default="local",
        choices=[
            ("local", "ports come from sriovctl; no OpenStack"),
            ("notifications", "ports come from Neutron's notifications"),
        ],
        help="Where the desired ports come from.",
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
]

LOCAL_OPTS = [
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

NEUTRON_OPTS = [
    cfg.StrOpt(
        "auth_type",
        default="password",
        choices=[
            ("password", "user, password and project"),
            ("v3applicationcredential", "an application credential"),
            ("none", "Neutron asks for nothing: it is at endpoint_override"),
        ],
        help="How Keystone knows the agent.",
    ),
    cfg.StrOpt(
        "auth_url",
        help=(
            "Keystone, such as https://192.0.2.5:5000/v3. Without it, and without an "
            "endpoint_override, Neutron's API is not asked."
        ),
    ),
    cfg.StrOpt("username", help="User whom Keystone knows."),
    cfg.StrOpt("password", secret=True, help="The user's password."),
    cfg.StrOpt("project_name", help="Project that the token is for."),
    cfg.StrOpt("user_domain_name", default="Default", help="The user's domain."),
    cfg.StrOpt("project_domain_name", default="Default", help="The project's domain."),
    cfg.StrOpt("application_credential_id", help="Instead of user, password and project."),
    cfg.StrOpt("application_credential_secret", secret=True, help="The credential's secret."),
    cfg.StrOpt("region_name", help="Region whose Neutron is asked; default: the only one."),
    cfg.StrOpt(
        "interface",
        default="public",
        choices=["public", "internal", "admin"],
        help="Which of Neutron's endpoints in Keystone's catalog is asked.",
    ),
    cfg.StrOpt(
        "endpoint_override",
        help="Neutron, such as http://192.0.2.5:9696, wherever the catalog says it is.",
    ),
    cfg.StrOpt("cafile", help="CA certificates of Keystone and Neutron; default: the system's."),
    cfg.FloatOpt("timeout", default=10.0, min=0.1, help="Seconds to connect, and between bytes."),
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

FABRIC_OPTS = [
    cfg.StrOpt(
        "hook",
        default="noop",
        help="Device-manager hook: noop, exec, webhook, or another sriov_agent.hook entry point.",
    ),
]

HOOK_EXEC_OPTS = [
    cfg.ListOpt(
        "command",
        default=[],
        help="The program and its arguments, comma-separated; the program by absolute path.",
    ),
    cfg.FloatOpt("timeout", default=30.0, min=0.1, help="Seconds until the program is killed."),
]

HOOK_WEBHOOK_OPTS = [
    cfg.StrOpt("url", help="Where requests are posted; https outside of a lab."),
    cfg.Opt(
        "ca_file",
        type=types.String(),
        help="CA certificates that the service's certificate must descend from; "
        "default: the system's.",
    ),
    cfg.StrOpt(
        "token_file",
        help="File with a bearer token; read for each request, so it can be rotated.",
    ),
    cfg.FloatOpt("timeout", default=30.0, min=0.1, help="Seconds to connect, and between bytes."),
]

HOOK_CONTRAIL_OPTS = [
    cfg.ListOpt(
        "api_servers",
        default=[],
        help=(
            "URLs of Contrail's config API, such as https://192.0.2.10:8082, comma-separated: one "
            "that does not answer has the next in its place."
        ),
    ),
    cfg.StrOpt(
        "auth_url",
        help="Keystone, such as https://192.0.2.5:5000/v3; none where aaa-mode is no-auth.",
    ),
    cfg.StrOpt("username", help="User whom Keystone knows."),
    cfg.StrOpt("password", secret=True, help="The user's password."),
    cfg.StrOpt("project_name", help="Project that the token is for."),
    cfg.StrOpt("user_domain_name", default="Default", help="The user's domain."),
    cfg.StrOpt("project_domain_name", default="Default", help="The project's domain."),
    cfg.StrOpt("application_credential_id", help="Instead of user, password and project."),
    cfg.StrOpt("application_credential_secret", secret=True, help="The credential's secret."),
    cfg.StrOpt("ca_file", help="CA certificates of API and Keystone; default: the system's."),
    cfg.FloatOpt(
        "timeout",
        default=10.0,
        min=0.1,
        help="Seconds to connect, and to wait for an answer. A pass takes a few times as long.",
    ),
    cfg.StrOpt(
        "project",
        default="default-domain:admin",
        help="DOMAIN:PROJECT, by Contrail's names, in which virtual-machine-interfaces are made.",
    ),
    cfg.StrOpt(
        "vpg_prefix",
        default="sriov",
        help="What the names of virtual-port-groups and interfaces of the agent begin with.",
    ),
    cfg.ListOpt(
        "bonds",
        default=[],
        help=(
            "PFs that are an LACP bond, as PCI addresses joined by +, such as "
            "0000:3b:00.0+0000:3b:00.1, comma-separated. Their switch ports share one "
            "virtual-port-group, which Contrail makes an LACP aggregate. No others ever do."
        ),
    ),
    cfg.ListOpt(
        "switch_map",
        default=[],
        help=(
            "LLDP system name or chassis id of a switch and its physical-router's name, as "
            "LLDPNAME=PHYSICALROUTER, comma-separated, where they cannot be told to be the same."
        ),
    ),
    cfg.ListOpt(
        "port_map",
        default=[],
        help=(
            "LLDP port id and physical-interface, as PHYSICALROUTER/PORT=INTERFACE, "
            "comma-separated, where they cannot be told to be the same."
        ),
    ),
    cfg.FloatOpt(
        "cache_seconds",
        default=300.0,
        min=0.0,
        help="Seconds for which switches, their ports and networks are not looked up again.",
    ),
]

GROUPS: dict[str, Sequence[cfg.Opt]] = {
    "DEFAULT": DEFAULT_OPTS,
    "sriov_nic": SRIOV_NIC_OPTS,
    "agent": AGENT_OPTS,
    "local": LOCAL_OPTS,
    "notifications": NOTIFICATIONS_OPTS,
    "neutron": NEUTRON_OPTS,
    "lldp": LLDP_OPTS,
    "lldp_snmp": LLDP_SNMP_OPTS,
    "fabric": FABRIC_OPTS,
    "hook_exec": HOOK_EXEC_OPTS,
    "hook_webhook": HOOK_WEBHOOK_OPTS,
    "hook_contrail": HOOK_CONTRAIL_OPTS,
}


def register(conf: cfg.ConfigOpts) -> cfg.ConfigOpts:
    """Register every option on ``conf`` and return it."""
    for group, options in GROUPS.items():
        conf.register_opts(options, None if group == "DEFAULT" else group)
    return conf


def list_opts() -> list[tuple[str, Iterable[cfg.Opt]]]:
    """(group, options) pairs for ``oslo-config-generator``."""
    return [(group, itertools.chain(options)) for group, options in GROUPS.items()]


def mappings(conf: cfg.ConfigOpts) -> tuple[tuple[str, str], ...]:
    """``physical_device_mappings`` as (physical network, device) pairs.

    :raises ConfigError: for the first entry that is none, or that names a device again
    """
    option = "[sriov_nic] physical_device_mappings"
    found: list[tuple[str, str]] = []
    for entry in conf.sriov_nic.physical_device_mappings:
        network, _, device = (part.strip() for part in entry.partition(":"))
        try:
            fields.physical_network(network)
        except InvalidField as error:
            raise ConfigError(f"{option}: {entry!r}: {error}") from error
        if not device:
            raise ConfigError(f"{option}: {entry!r}: expected PHYSICAL_NETWORK:DEVICE")
        if device in (other for _, other in found):
            raise ConfigError(f"{option}: {device} appears twice")
        found.append((network, device))
    return tuple(found)


def store_path(conf: cfg.ConfigOpts) -> Path:
    """The agent's own record."""
    return Path(conf.state_path) / "agent.db"


def ports_path(conf: cfg.ConfigOpts) -> Path:
    """The table of ports."""
    return Path(conf.state_path) / "ports.db"


def interfaces_path(conf: cfg.ConfigOpts) -> Path:
    """The directory of interface XML."""
    return Path(conf.state_path) / "interfaces"
