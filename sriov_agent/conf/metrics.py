# SPDX-License-Identifier: Apache-2.0
"""Options of the HTTP listener for metrics, health and the status page; both daemons have them."""

from oslo_config import cfg

STATUS_PAGE_OPT = cfg.BoolOpt(
    "status_page",
    default=False,
    help=(
        "Serve / there as well: a page with a picture of this host, its ports and what of them is "
        "unmet. It names ports, VLANs and switches."
    ),
)

METRICS_OPTS = [
    cfg.HostAddressOpt(
        "listen",
        default="127.0.0.1",
        help=(
            "Address of the HTTP listener. Whoever reaches it may read everything there: keep it "
            "on loopback, or behind something that asks who it is."
        ),
    ),
    cfg.PortOpt(
        "port",
        min=1,
        help=(
            "Port on which /metrics (Prometheus) and /health are served, such as 9470. Default: "
            "nothing listens. It takes the extra metrics: pip install 'sriov-agent[metrics]'."
        ),
    ),
]
