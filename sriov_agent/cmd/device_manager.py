# SPDX-License-Identifier: Apache-2.0
"""``sriov-device-manager``: the controller daemon that owns the switches."""

import logging
import signal
import sys
from importlib.metadata import version

from oslo_config import cfg
from oslo_log import log

from sriov_agent.conf import device_manager as options
from sriov_agent.exceptions import SriovAgentError
from sriov_agent.fabric.service import DeviceManager

LOG = logging.getLogger(__name__)

#: Libraries that log every message to and from a switch.
QUIET = ["ncclient=WARN", "paramiko=WARN", "ovsdbapp=WARN"]

#: Exit status for a configuration that cannot work.
EXIT_CONFIG = 78


def main(argv: list[str] | None = None) -> int:
    """Run the device manager until SIGTERM or SIGINT.

    :return: 0 after a signal, 78 (``EX_CONFIG`` of sysexits) for a configuration that cannot
        work
    """
    conf = options.register(cfg.ConfigOpts())
    log.register_options(conf)
    log.set_defaults(default_log_levels=[*log.get_default_log_levels(), *QUIET])
    try:
        conf(
            argv, project="sriov-agent", prog="sriov-device-manager", version=version("sriov-agent")
        )
        log.setup(conf, "sriov-device-manager")
        manager = DeviceManager(conf)

        def stop(number: int, frame: object) -> None:
            manager.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        LOG.info("sriov-device-manager for %s", ", ".join(manager.workers))
        manager.run()
    except (SriovAgentError, cfg.Error, ValueError) as error:
        print(f"sriov-device-manager: {error}", file=sys.stderr)
        return EXIT_CONFIG
    return 0
