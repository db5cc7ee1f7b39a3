# SPDX-License-Identifier: Apache-2.0
"""Real SR-IOV on any Debian or Ubuntu machine, by emulation: ``python3 tools/lab COMMAND``.

Exit statuses: those of the command that ran in the guest, and

==  =====================================================================================
3   the lab cannot run on this machine; one sentence says what is missing and what to do
4   the guest did not boot, its topology did not come up, or it ran out of time
==  =====================================================================================
"""

import argparse
import os
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import boot
import needs
import packages
import qemu

UNAVAILABLE = 3
GUEST_FAILED = 4


def environment_variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def directory(text: str) -> Path:
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a directory")
    return path


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="lab", description="Real SR-IOV by emulation.")
    commands = result.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")

    commands.add_parser("check", help="say whether the lab can run here, install nothing")

    setup = commands.add_parser("setup", help="install what the lab needs and is missing")
    setup.add_argument(
        "--also", nargs="+", default=[], metavar="PKG", help="install these packages too"
    )
    setup.add_argument(
        "--packages", action="store_true", help="only the packages, the one step that needs root"
    )

    guest = argparse.ArgumentParser(add_help=False)
    guest.add_argument(
        "--env",
        action="append",
        default=[],
        type=environment_variable,
        metavar="NAME=VALUE",
        help="set a variable in the guest",
    )
    guest.add_argument(
        "--rwdir",
        action="append",
        default=[],
        type=directory,
        metavar="DIR",
        help="a directory that the guest may write to, besides build/",
    )
    guest.add_argument(
        "--pfs",
        type=int,
        choices=range(1, qemu.MAX_PFS + 1),
        default=2,
        help="how many PFs there are, each cabled to a leaf of its own (default: %(default)s)",
    )
    guest.add_argument("--no-topology", action="store_true", help="boot only, no VFs and no leaves")
    guest.add_argument(
        "--user-net", action="store_true", help="make the machine's loopback reachable at 10.0.2.2"
    )

    run = commands.add_parser("run", parents=[guest], help="run a command in the guest")
    run.add_argument(
        "--timeout",
        type=float,
        default=1800.0,
        metavar="S",
        help="seconds, boot included, after which the guest is killed (default: %(default)g)",
    )
    run.add_argument("command", nargs="+", metavar="CMD", help="the command, after --")

    commands.add_parser("shell", parents=[guest], help="a shell in the guest")
    return result


def raise_exit(signum: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


def outcome(arguments: argparse.Namespace) -> int:
    """Does what the command line asks for and returns the exit status."""
    if arguments.subcommand == "setup":
        packages.install(arguments.also, packages_only=arguments.packages)
        return 0
    found = needs.found()
    if arguments.subcommand == "check":
        print(f"the lab can run here, with {found.kernel.name} under {found.accelerator}")
        return 0
    options = qemu.Options(
        environment=dict(arguments.env),
        rwdirs=arguments.rwdir,
        pfs=arguments.pfs,
        topology=not arguments.no_topology,
        user_net=arguments.user_net,
    )
    if arguments.subcommand == "shell":
        return boot.shell(found, options)
    return boot.run(found, options, arguments.command, arguments.timeout)


def main() -> int:
    arguments = parser().parse_args()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, raise_exit)
    try:
        return outcome(arguments)
    except needs.Unavailable as error:
        print(f"lab: {error}", file=sys.stderr)
        return UNAVAILABLE
    except boot.GuestFailed as error:
        print(f"lab: {error}", file=sys.stderr)
        return GUEST_FAILED
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main())
