# SPDX-License-Identifier: Apache-2.0
"""cliff's commands, without what it looks for before each of them and never finds."""

import argparse

from cliff import command, lister, show
from cliff.app import App


class Command(command.Command):
    """A command without hooks of other packages, and without a word on whose it is.

    For either, cliff reads the metadata of all packages, which took most of a command's time.
    """

    def __init__(
        self, app: App, app_args: argparse.Namespace | None, cmd_name: str | None = None
    ) -> None:
        super().__init__(app, app_args)
        self.cmd_name = cmd_name

    def get_epilog(self) -> str:
        return ""


class Lister(Command, lister.Lister):
    """Such a command that prints a table."""


class ShowOne(Command, show.ShowOne):
    """Such a command that prints what one thing is."""
