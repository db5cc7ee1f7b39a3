# SPDX-License-Identifier: Apache-2.0
"""``sriov-agent``: the compute-node daemon."""

import gc
import logging
import signal
import sys
from importlib.metadata import version

from oslo_config import cfg
from oslo_log import log

from sriov_agent import conf as options
from sriov_agent.exceptions import ConfigError, SriovAgentError
from sriov_agent.service import Agent

LOG = logging.getLogger(__name__)

#: Exit status for a configuration that cannot work.
EXIT_CONFIG = 78

#: How long a thread that was woken waits for the one that woke it: by default, five times that.
SWITCH_SECONDS = 0.001

#: How many new objects there are before those are looked for that refer to each other alone: a
#: pass makes some thousands, of which hardly one does.
GARBAGE_OBJECTS = 20_000


def main(argv: list[str] | None = None) -> int:
    """Run the agent until SIGTERM or SIGINT.

    :return: 0 after a signal, 78 (``EX_CONFIG`` of sysexits) for a configuration that cannot
        work
    """
    conf = options.register(cfg.ConfigOpts())
    log.register_options(conf)
    try:
        options.parse(conf, argv, version("sriov-agent"))
        log.setup(conf, "sriov-agent")
        agent = Agent(conf)
    except (SriovAgentError, cfg.Error, ValueError) as error:
        print(f"sriov-agent: {error}", file=sys.stderr)
        return EXIT_CONFIG

    def stop(number: int, frame: object) -> None:
        agent.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()  # modules and options are not looked through each time
    gc.set_threshold(GARBAGE_OBJECTS)
    LOG.info("sriov-agent for host %s, source %s", conf.host, conf.agent.source)
    try:
        agent.run()
    except ConfigError as error:
        print(f"sriov-agent: {error}", file=sys.stderr)
        return EXIT_CONFIG
    return 0
