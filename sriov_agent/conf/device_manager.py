# SPDX-License-Identifier: Apache-2.0
"""Every option of sriov-device-manager, with unit and range in its help."""

import itertools
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from oslo_config import cfg

from sriov_agent.conf.fabric_state import STATE_OPTS
from sriov_agent.conf.metrics import METRICS_OPTS

DEVICE_MANAGER_OPTS = [
    cfg.StrOpt(
        "member",
        default=socket.gethostname(),
        sample_default="<the host name>",
        help="This manager's name among the others.",
    ),
    cfg.StrOpt(
        "state_path",
        default="/var/lib/sriov-device-manager",
        help="Directory of the manager's own files: state.db, and the socket for sriovctl.",
    ),
    cfg.ListOpt(
        "switches",
        default=[],
        help="Names of the switches, comma-separated; each has a group [switch:NAME].",
    ),
    cfg.StrOpt(
        "inventory_file",
        help=(
            "Which PF hangs on which switch port, in lines HOST PF SWITCH PORT [LAG], with * for "
            "any PF. LLDP must agree with it. Default: LLDP alone decides."
        ),
    ),
    cfg.FloatOpt(
        "remove_grace",
        default=60.0,
        min=0.0,
        help="Seconds that a VLAN stays open which nobody wants any more.",
    ),
    cfg.FloatOpt(
        "check_interval",
        default=600.0,
        min=1.0,
        help="Seconds between two looks at what a switch carries, when nothing happens.",
    ),
    cfg.StrOpt(
        "drift",
        default="report",
        choices=[
            ("report", "say so, and wait for: sriovctl fabric drift --repair"),
            ("repair", "open it again"),
        ],
        help="What to do about a VLAN that somebody else closed.",
    ),
    cfg.BoolOpt(
        "dry_run", default=False, help="Change no switch; say in the log what would be changed."
    ),
    cfg.FloatOpt(
        "retry_min",
        default=1.0,
        min=0.1,
        help="Seconds until a switch that failed is tried again; doubles up to retry_max.",
    ),
    cfg.FloatOpt(
        "retry_max", default=120.0, min=0.1, help="Longest time between two tries, in seconds."
    ),
    cfg.FloatOpt(
        "silent_after",
        default=300.0,
        min=1.0,
        help="Seconds without a word after which a host is said to be silent. It keeps its VLANs.",
    ),
    cfg.StrOpt(
        "host_key_secret_file",
        help=(
            "File with the secret that the keys of hosts are made of; readable by nobody else. "
            "Where it is set, what an agent asks must be signed with its host's key."
        ),
    ),
]

SWITCH_OPTS = [
    cfg.StrOpt(
        "driver",
        help="openconfig, junos, ovsdb, linux-bridge, generic-switch, or another "
        "sriov_agent.switch entry point.",
    ),
    cfg.StrOpt("address", help="Name or address by which the manager reaches it."),
    cfg.PortOpt("port", min=1, help="Its port; default: the driver's."),
    cfg.StrOpt("username", default="", help="Account that may edit VLAN membership of ports."),
    cfg.StrOpt("password", default="", secret=True, help="Its password; better a file, or a key."),
    cfg.StrOpt("password_file", help="File with the password, readable by nobody else."),
    cfg.StrOpt(
        "key_file", help="File with the account's SSH private key, readable by nobody else."
    ),
    cfg.StrOpt(
        "host_key",
        default="",
        help="The switch's SSH public key, as ssh-keyscan prints it: ssh-ed25519 AAAA...",
    ),
    cfg.FloatOpt(
        "timeout", default=30.0, min=0.1, help="Seconds to connect, and to wait for each answer."
    ),
    cfg.ListOpt(
        "names",
        default=[],
        help="LLDP system names, comma-separated; default: the name of this group.",
    ),
    cfg.ListOpt(
        "chassis_ids",
        default=[],
        help="LLDP chassis ids, comma-separated. Where there are any, names do not count.",
    ),
    cfg.ListOpt(
        "ports",
        default=["*"],
        help="Ports that hosts hang on, comma-separated, with * and ? as in the shell.",
    ),
    cfg.ListOpt(
        "uplinks",
        default=[],
        help="Ports that are never touched, comma-separated, with * and ?.",
    ),
    cfg.DictOpt(
        "port_map",
        default={},
        help="LLDPPORT:PORT, comma-separated, where LLDP has another name for a port.",
    ),
    cfg.StrOpt(
        "allowed_vlans",
        default="2-4094",
        help="VLANs that may be opened and closed, such as 100-199,300.",
    ),
    cfg.StrOpt(
        "protected_vlans",
        default="",
        help="VLANs that are neither opened nor closed, whatever else is said.",
    ),
    cfg.IntOpt(
        "floor_vlan",
        default=0,
        min=0,
        max=4094,
        help=(
            "VLAN, used for nothing, that stays on a trunk of which the last is closed, since many "
            "switches take an empty list for all VLANs. 0: that last one stays open."
        ),
    ),
    cfg.IntOpt("max_vlans", default=4094, min=1, max=4094, help="How many VLANs a port may carry."),
    cfg.DictOpt(
        "options",
        default={},
        secret=True,
        help="What the driver alone knows, as NAME:VALUE, comma-separated.",
    ),
]

GROUPS = {"device_manager": [*DEVICE_MANAGER_OPTS, *STATE_OPTS], "metrics": METRICS_OPTS}


def register(conf: cfg.ConfigOpts) -> cfg.ConfigOpts:
    """Register every option but those of switches on ``conf`` and return it."""
    for group, options in GROUPS.items():
        conf.register_opts(options, group)
    return conf


def switch_group(conf: cfg.ConfigOpts, name: str) -> Any:
    """The options of one switch."""
    group = f"switch:{name}"
    conf.register_opts(SWITCH_OPTS, group)
    return conf[group]


def list_opts() -> list[tuple[str, Iterable[cfg.Opt]]]:
    """(group, options) pairs for ``oslo-config-generator``."""
    groups = {**GROUPS, "switch:leaf1": SWITCH_OPTS}
    return [(group, itertools.chain(options)) for group, options in groups.items()]


def state_path(conf: cfg.ConfigOpts) -> Path:
    """The manager's own record."""
    return Path(conf.device_manager.state_path) / "state.db"


def socket_path(conf: cfg.ConfigOpts) -> Path:
    """The socket by which ``sriovctl`` asks the running manager."""
    return Path(conf.device_manager.state_path) / "manager.sock"
