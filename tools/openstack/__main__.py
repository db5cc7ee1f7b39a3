# SPDX-License-Identifier: Apache-2.0
"""A real Neutron of our own, without Keystone and nova: ``python tools/openstack COMMAND``.

Exit status 3 says that it cannot run on this machine, and one sentence why and what to do.
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)

from tools.openstack import needs, packages  # noqa: E402
from tools.openstack.stack import Stack  # noqa: E402

UNAVAILABLE = 3


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="openstack", description="A real Neutron of our own.")
    commands = result.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    commands.add_parser("check", help="say whether Neutron can run here, install nothing")
    commands.add_parser("setup", help="install what Neutron needs and is missing")
    run = commands.add_parser("run", help="run Neutron until interrupted")
    run.add_argument("--keystone", action="store_true", help="with a Keystone")
    run.add_argument(
        "--agent-down-time",
        type=int,
        default=75,
        metavar="S",
        help="seconds after which a silent agent is down (default: %(default)d)",
    )
    return result


def raise_exit(signum: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


def run(keystone: bool, agent_down_time: int) -> None:
    """Runs it until a signal comes."""
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="neutron-") as directory,
        Stack(Path(directory), keystone=keystone, agent_down_time=agent_down_time) as stack,
    ):
        variables = " ".join(f"{n}={value}" for n, value in stack.environment().items())
        print(
            f"Neutron runs, started in {time.monotonic() - started:.0f} s. In another shell:\n"
            f"  export {variables}\n"
            f"  PATH={needs.environment() / 'bin'}:$PATH\n"
            "  openstack network agent list\n"
            f"An agent reads {stack.conf_file}\n"
            f"and in the lab guest {stack.guest_conf_file}",
            flush=True,
        )
        signal.pause()


def main() -> int:
    arguments = parser().parse_args()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, raise_exit)
    try:
        if arguments.subcommand == "setup":
            packages.install()
        elif reason := needs.missing():
            raise needs.Unavailable(reason)
        elif arguments.subcommand == "check":
            print("Neutron can run here")
        else:
            run(arguments.keystone, arguments.agent_down_time)
    except needs.Unavailable as error:
        print(f"openstack: {error}", file=sys.stderr)
        return UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
