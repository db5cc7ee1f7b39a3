# SPDX-License-Identifier: Apache-2.0
"""Follows a tutorial as its reader does: writes its files, types its commands, compares.

A tutorial is a page whose code blocks are, in order,

``console``
    commands behind the prompt ``#`` or ``$``, with ``>`` before further lines of one, each with
    what it prints beneath; ``...`` stands for what is another each time. What is typed on another
    machine has its name before the prompt, as ``controller#``. A command ends with status 0, but
    for the last of a block with ``:class: fails``.
any with a caption
    a file of that name
``text``
    what is neither

and nothing else, so that nothing on the page goes untried.
"""

import contextlib
import doctest
import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import Directive, directives, roles

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "doc/source/tutorials"
#: far above what any command takes, by emulation
PATIENCE_SECONDS = 600
PROMPT = re.compile(r"([a-z][a-z0-9-]*)?[#$] (.*)")
CONTINUED = re.compile(r"> (.*)")


@dataclass(frozen=True)
class File:
    line: int
    path: Path
    text: str


@dataclass(frozen=True)
class Command:
    """``machine`` is "" for the one that the tutorial is about."""

    line: int
    machine: str
    text: str
    output: str
    fails: bool = False


Step = File | Command


class _Block(Directive):
    has_content = True
    optional_arguments = 1
    option_spec: ClassVar = {
        "caption": directives.unchanged,
        "class": directives.class_option,
        "emphasize-lines": directives.unchanged,
        "name": directives.unchanged,
    }

    def run(self):
        block = nodes.literal_block("\n".join(self.content), "\n".join(self.content))
        block["language"] = self.arguments[0] if self.arguments else ""
        block["caption"] = self.options.get("caption", "")
        block["fails"] = "fails" in self.options.get("class", ())
        block["begins"] = self.content_offset + 1
        return [block]


class _Nothing(Directive):
    """What is for Sphinx alone."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True

    def run(self):
        return []


def document(text):
    """A page, with its blocks."""
    directives.register_directive("code-block", _Block)
    for name in ("toctree", "seealso"):
        directives.register_directive(name, _Nothing)
    for name in ("doc", "ref"):
        roles.register_generic_role(name, nodes.inline)
    return publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 2})


def files(text):
    """The files of a page that has no commands, by name."""
    blocks = document(text).findall(nodes.literal_block)
    return {block["caption"]: block.astext() + "\n" for block in blocks if block.get("caption")}


def steps(text):
    """What the reader of a page does, in order.

    :raises ValueError: if there is a block of which it is not clear what is to be done with it
    """
    found = []
    for block in document(text).findall(nodes.literal_block):
        language, begins = block.get("language"), block.get("begins")
        if block.get("caption"):
            found.append(File(begins, Path(block["caption"]), block.astext() + "\n"))
        elif language == "console":
            found += commands(block.astext(), begins, block["fails"])
        elif language != "text":
            raise ValueError(f"neither console nor text, nor a file:\n{block.astext()}")
    return found


def commands(text, begins, fails):
    """The commands of a block.

    :raises ValueError: if it begins with something else
    """
    found = []
    for number, line in enumerate(text.splitlines(), begins):
        if prompt := PROMPT.fullmatch(line):
            found.append([number, prompt[1] or "", [prompt[2]], []])
        elif not found:
            raise ValueError(f"line {number} has no prompt: {line}")
        elif (continued := CONTINUED.fullmatch(line)) and not found[-1][3]:
            found[-1][2].append(continued[1])
        else:
            found[-1][3].append(line)
    return [
        Command(
            number,
            machine,
            "\n".join(typed),
            "".join(f"{each}\n" for each in output),
            fails and at == len(found),
        )
        for at, (number, machine, typed, output) in enumerate(found, 1)
    ]


class Shell:
    """A bash in which one command is run after the other.

    :param directory: an empty one for what it needs itself
    :param path: directories before others on its PATH
    """

    def __init__(self, directory, path=()):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        variables = {**os.environ, "PATH": os.pathsep.join([*map(str, path), os.environ["PATH"]])}
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._count = 0

    def run(self, command):
        """(what it printed, its exit status)

        :raises TimeoutError: with what it had printed when patience ended
        """
        self._count += 1
        file = self.directory / "command"
        file.write_text(f"{command}\n")
        mark = f"~{os.getpid()}.{self._count}~"
        self._process.stdin.write(f". {file} </dev/null\necho {mark} $?\n".encode())
        self._process.stdin.flush()
        deadline = time.monotonic() + PATIENCE_SECONDS
        read = b""
        while not (end := re.search(rf"{mark} (\d+)\n".encode(), read)):
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(read.decode(errors="replace"))
            more = os.read(self._process.stdout.fileno(), 65536)
            if not more:
                raise TimeoutError(f"{read.decode(errors='replace')}\n(the shell has ended)")
            read += more
        return read[: end.start()].decode(errors="replace"), int(end[1])

    def close(self):
        """End it, and what was started in it and still runs."""
        self._selector.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


class Differs(AssertionError):
    """Not all ends as the page says."""


def follow(page, shells):
    """Do what a page says.

    :param shells: by machine; "" is the one that the page is about
    :raises Differs: with every step that does not end as the page says; one that does not end at
        all is the last that is tried
    """
    differ = []
    for step in steps(page.read_text()):
        if isinstance(step, File):
            step.path.parent.mkdir(parents=True, exist_ok=True)
            step.path.write_text(step.text)
            continue
        at = f"{page.name}:{step.line}: {step.text}"
        try:
            output, status = shells[step.machine].run(step.text)
        except TimeoutError as error:
            differ.append(f"{at}\ndoes not end; it printed:\n{error}")
            break
        if (status != 0) != step.fails:
            differ.append(f"{at}\nended with {status}; it printed:\n{output}")
        elif why := difference(step.output, output):
            differ.append(f"{at}\n{why}")
    if differ:
        raise Differs("\n".join(differ))


def difference(wanted, got):
    """How what was printed differs from what is on the page; "" if it does not."""
    wanted, got = (
        "".join(f"{line.rstrip()}\n" for line in text.splitlines()) for text in (wanted, got)
    )
    checker = doctest.OutputChecker()
    if checker.check_output(wanted, got, doctest.ELLIPSIS):
        return ""
    example = doctest.Example("", wanted)
    return checker.output_difference(example, got, doctest.ELLIPSIS | doctest.REPORT_NDIFF)
