# SPDX-License-Identifier: Apache-2.0
"""What single pages name is there: tests on the security page, messages on that for trouble."""

import ast
import functools
import itertools
import re
from pathlib import Path

import pytest
from oslo_config import cfg

from sriov_agent import conf as agent
from sriov_agent.conf import device_manager

ROOT = Path(__file__).parents[2]
SECURITY = (ROOT / "doc/source/security.rst").read_text()
TESTS = sorted(set(re.findall(r"``(tests/[^`]+)``", SECURITY)))


def defined(path):
    """The tests in a file, as pytest names them."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield from (f"{node.name}::{each.name}" for each in node.body if hasattr(each, "name"))


@pytest.mark.parametrize("test", TESTS)
def test_what_is_said_to_have_tried_an_attack_is_a_test(test):
    file, _, name = test.partition("::")
    assert name in set(defined(ROOT / file))


def test_each_attack_was_tried():
    """Every point but those of the last section names who tried it."""
    tried, _, _ = SECURITY.partition("What is not defended")
    points = re.findall(r"^\* .*(?:\n  .*)*", tried, re.MULTILINE)
    assert len(points) > 20
    assert [point for point in points if "``tests/" not in point] == []


@functools.cache
def said():
    """Every text of the source, ``...`` for what is put into it."""
    return tuple(_texts())


def _texts():
    for path in ROOT.glob("sriov_agent/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    each.value if isinstance(each, ast.Constant) else "..." for each in node.values
                ]
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


TROUBLE = (ROOT / "doc/source/troubleshooting.rst").read_text()
MESSAGES = re.findall(r'``"([^`]+)"``', " ".join(TROUBLE.split()))


def test_messages_are_found():
    assert len(MESSAGES) > 30


@pytest.mark.parametrize("message", MESSAGES)
def test_what_an_operator_is_said_to_see_is_said(message):
    assert any(message in text for text in said())


def numbers():
    """Every option that is a number, as (group, option)."""
    for group, found in itertools.chain(agent.list_opts(), device_manager.list_opts()):
        for option in found:
            if isinstance(option, cfg.IntOpt | cfg.FloatOpt | cfg.PortOpt):
                yield pytest.param(option, id=f"{group}.{option.dest}")


@pytest.mark.parametrize("option", list(numbers()))
def test_a_number_has_a_range_and_its_text_a_unit(option):
    assert option.type.min is not None
    units = r"second|how often|port|vlan|mbit|many|links|number"
    assert re.search(units, option.help, re.IGNORECASE), option.help


def test_every_option_is_in_the_reference():
    shown = (ROOT / "doc/source").glob("configuration*.rst")
    named = set(re.findall(r":config-file: (\S+)", "".join(page.read_text() for page in shown)))
    files = (ROOT / "etc/oslo-config-generator").glob("*.conf")
    assert named == {str(file.relative_to(ROOT)) for file in files}
