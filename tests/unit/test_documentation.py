# SPDX-License-Identifier: Apache-2.0
"""What the documentation names is there: commands and their options, options of files."""

import configparser
import itertools
import re
import shlex
import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from cliff.commandmanager import CommandManager

from sriov_agent import conf as agent_options
from sriov_agent.cmd.ctl.app import Sriovctl
from sriov_agent.conf import device_manager

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.rst"), *ROOT.glob("doc/source/**/*.rst")])
NOTES = sorted(ROOT.glob("releasenotes/notes/*.yaml"))
UNITS = sorted(ROOT.glob("etc/systemd/system/*.service"))

COMMANDS = {tuple(point.name.split("_")) for point in entry_points(group="sriovctl.commands")} | {
    ("help",),
    ("complete",),
}
NOUNS = {words[:length] for words in COMMANDS for length in range(1, len(words))}
PROGRAMS = {
    point.name
    for point in entry_points(group="console_scripts")
    if point.value.startswith("sriov_agent.")
}

#: Groups of others that an operator sets here too: these are not checked.
OTHERS = {
    "oslo_messaging_rabbit",
    "privsep",
    "securitygroup",
    "oslo_concurrency",
    "oslo_messaging_notifications",
    "DEFAULT",
}
#: Options that other daemons have and the page on coming from them tells about.
ELSEWHERE = {("agent", "root_helper"), ("agent", "quitting_rpc_timeout")} | {
    ("agent", "availability_zone")
}


def options():
    """Every option, by the groups it is in."""
    found = set()
    listed = itertools.chain(agent_options.list_opts(), device_manager.list_opts())
    for group, opts in listed:
        found |= {(group.partition(":")[0], opt.dest) for opt in opts}
    return found


OPTIONS = options()
GROUPS = {group for group, _ in OPTIONS}


def said(pages):
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


def literals(text):
    """What a page marks as literal: inline, and blocks."""
    yield from re.findall(r"``([^`]+)``", text)
    for block in blocks(text, r"(?:::|code-block:: \w+)"):
        yield from block.replace("\\\n", " ").splitlines()


def blocks(text, head):
    """The indented blocks that follow a line which ends with ``head``."""
    for match in re.finditer(rf"{head}\n\n(?=([ ]+))", text):
        indent, lines = match[1], []
        for line in text[match.end() :].splitlines():
            if line.strip() and not line.startswith(indent):
                break
            lines.append(line)
        yield textwrap.dedent("\n".join(lines))


@pytest.mark.parametrize("page", said([*PAGES, *NOTES]))
def test_commands_that_are_named_are_there(page):
    for literal in literals(page.read_text()):
        for line in re.findall(r"(?:^|[/ (])sriovctl ([a-z][^|>)]*)", literal):
            words = tuple(re.match(r"[a-z-]+(?: [a-z-]+)*", line)[0].split())
            assert words in NOUNS or command(words), f"sriovctl {line}"


@pytest.mark.parametrize("page", said(PAGES))
def test_options_of_commands_that_are_named_are_there(page):
    for literal in literals(page.read_text()):
        for line in re.findall(r"(?:^|[/ (])sriovctl ([a-z][^|>)]*)", literal):
            words = shlex.split(line.partition("#")[0], posix=False)
            given = [word.partition("=")[0] for word in words if word.startswith("--")]
            if given:
                known = parser_options(command(tuple(words)))
                assert set(given) <= known, f"sriovctl {line}"


def command(words):
    """The command that these words begin with."""
    starts = (words[:length] for length in range(len(words), 0, -1))
    return next((start for start in starts if start in COMMANDS), None)


def parser_options(words):
    app = Sriovctl()
    factory, name, _ = CommandManager("sriovctl.commands").find_command(list(words))
    parser = factory(app, None).get_parser(name)
    return {string for action in parser._actions for string in action.option_strings}


@pytest.mark.parametrize("page", said([*PAGES, *NOTES]))
def test_configuration_options_that_are_named_are_there(page):
    text = page.read_text()
    for group, name in re.findall(r"``\[([a-z_]+)\] ([a-z_]+)", text):
        assert group in OTHERS or (group, name) in OPTIONS | ELSEWHERE, f"[{group}] {name}"
    for group in re.findall(r"``\[([a-z_]+)[\]:]", text):
        assert group in GROUPS | OTHERS or group in extras(), f"[{group}]"


def extras():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return set(parser["extras"])


@pytest.mark.parametrize("page", said(PAGES))
def test_configuration_that_is_shown_can_be_used(page):
    for block in blocks(page.read_text(), "code-block:: ini"):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.read_string(block)
        for group in parser.sections():
            if group in OTHERS or "nova" in group or group.startswith("ml2"):
                continue
            for name in parser[group]:
                if name not in parser.defaults():
                    known = (group.partition(":")[0], name)
                    assert known in OPTIONS | ELSEWHERE, f"[{group}] {name}"


@pytest.mark.parametrize("unit", said(UNITS))
def test_a_unit_starts_a_program_that_is_there(unit):
    (command,) = re.findall(r"^ExecStart=(\S+)", unit.read_text(), re.MULTILINE)
    assert Path(command).name in PROGRAMS


def test_every_command_has_an_example_in_its_help():
    app = Sriovctl()
    for words in sorted(COMMANDS - {("help",), ("complete",)}):
        factory, _, _ = CommandManager("sriovctl.commands").find_command(list(words))
        said = factory(app, None).get_description()
        assert f"Example: sriovctl {' '.join(words)}" in " ".join(said.split()), words
