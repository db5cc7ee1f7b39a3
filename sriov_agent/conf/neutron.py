# SPDX-License-Identifier: Apache-2.0
"""Options of ``[neutron]``: where Neutron's API is, and as whom it is asked."""

from oslo_config import cfg

from sriov_agent.conf.keystone import KEYSTONE_USER_OPTS

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
    *KEYSTONE_USER_OPTS,
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
