# SPDX-License-Identifier: Apache-2.0
"""The options of each device-manager hook."""

from oslo_config import cfg, types

from sriov_agent.conf.keystone import KEYSTONE_USER_OPTS

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

HOOK_RPC_OPTS = [
    cfg.StrOpt(
        "transport_url",
        secret=True,
        help=(
            "Broker on which sriov-device-manager listens, with a user that may use the queues of "
            "agents alone; default: [DEFAULT] transport_url."
        ),
    ),
    cfg.FloatOpt(
        "timeout", default=10.0, min=0.1, help="Seconds to wait for an answer; VFs do not wait."
    ),
    cfg.StrOpt(
        "key_file",
        help=(
            "File with this host's key, as sriovctl fabric host-key prints it on a controller; "
            "readable by nobody else. Needed where the device manager has host_key_secret_file."
        ),
    ),
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
    *KEYSTONE_USER_OPTS,
    cfg.StrOpt("ca_file", help="CA certificates of API and Keystone; default: the system's."),
    cfg.FloatOpt(
        "timeout",
        default=10.0,
        min=0.1,
        help="Seconds to connect, and to wait for an answer; VFs do not wait for it.",
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
