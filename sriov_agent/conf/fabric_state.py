# SPDX-License-Identifier: Apache-2.0
"""The options of what the device manager keeps, in one file or for several managers."""

from oslo_config import cfg

STATES = [
    ("sqlite", "one device manager, and a file beside it"),
    ("etcd", "several device managers, and an etcd that they share; needs the extra [etcd]"),
]

STATE_OPTS = [
    cfg.StrOpt(
        "state",
        default="sqlite",
        choices=STATES,
        help="Where it is kept what hosts want and which VLANs were opened.",
    ),
    cfg.ListOpt(
        "etcd_urls",
        default=["https://127.0.0.1:2379"],
        help=(
            "URLs of etcd 3.4 or later, comma-separated: one that does not answer has the next in "
            "its place. https outside of a lab."
        ),
    ),
    cfg.StrOpt(
        "etcd_prefix",
        default="/sriov-device-manager/v1/",
        help="What the keys begin with; the same for all managers of a fabric, and for no others.",
    ),
    cfg.StrOpt(
        "etcd_ca_file",
        help="CA certificates that etcd's certificate must descend from; default: Python's own.",
    ),
    cfg.StrOpt("etcd_cert_file", help="Certificate to show to etcd, where it asks for one."),
    cfg.StrOpt("etcd_key_file", help="The private key of that certificate."),
    cfg.StrOpt(
        "etcd_user",
        default="",
        help="User in etcd whose role reaches the prefix alone; none where etcd has no users.",
    ),
    cfg.StrOpt(
        "etcd_password_file",
        help="File with that user's password, readable by nobody else.",
    ),
    cfg.FloatOpt(
        "etcd_timeout",
        default=5.0,
        min=0.1,
        help="Seconds to connect to etcd, and to wait for an answer.",
    ),
    cfg.IntOpt(
        "lock_ttl",
        default=30,
        min=2,
        max=3600,
        help=(
            "Seconds after which a manager that etcd does not hear from has lost its switches to "
            "the others; at least twice etcd_timeout, and the same for all managers."
        ),
    ),
]
