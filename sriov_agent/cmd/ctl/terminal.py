# SPDX-License-Identifier: Apache-2.0
"""Colours and progress on a terminal, plain text anywhere else, and never a control character.

rich does both where it is installed (the extra ``cli``); without it there is plain text. It also
decides what a terminal is: ``NO_COLOR`` and ``TERM=dumb`` are heeded by it.
"""

import contextlib
import functools
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from cliff.columns import FormattableColumn

from sriov_agent.exceptions import SriovAgentError

if TYPE_CHECKING:
    from rich.console import Console

#: A word, and the colour in which a terminal shows it.
COLOURS = {
    **dict.fromkeys(("ok", "met", "open"), "green"),
    **dict.fromkeys(("warning", "new", "releasing", "unplugged", "unknown", "ask"), "yellow"),
    **dict.fromkeys(("error", "unmet", "down", "close"), "red"),
}


def escaped(text: str) -> str:
    """Text for a terminal: control characters and the like as escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


@functools.lru_cache(maxsize=4)
def console(stream: TextIO) -> "Console | None":
    """What draws on a stream; ``None`` if it is no terminal, a dumb one, or rich is not there."""
    if not stream.isatty():
        return None
    try:
        # An extra, and slow to import where nobody looks.
        from rich.console import Console  # noqa: PLC0415
    except ImportError:
        return None
    drawn = Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=True)
    return drawn if drawn.is_terminal and not drawn.is_dumb_terminal else None


class Coloured(FormattableColumn[Any]):
    """A value that a terminal shows in the colour of its meaning; it is itself in any other form.

    :param colour: instead of the one that :data:`COLOURS` has for the word
    """

    def __init__(self, value: object, stream: TextIO, colour: str = "") -> None:
        super().__init__(value)
        self._stream = stream
        self._colour = colour

    def __lt__(self, other: object) -> bool:
        """By text: what is yes or no may be unknown as well."""
        return str(self._value) < str(getattr(other, "_value", other))

    def human_readable(self) -> str:
        text = str(self._value)
        return painted(text, self._stream, self._colour or COLOURS.get(text, ""))


def painted(text: str, stream: TextIO, colour: str) -> str:
    """Text as this stream shows it in a colour."""
    drawn = console(stream) if colour else None
    if drawn is None or drawn.no_color:
        return text
    with drawn.capture() as capture:
        drawn.print(text, style=colour, end="")
    return capture.get()


@contextlib.contextmanager
def progress(stream: TextIO, doing: str) -> Iterator[None]:
    """Show on a terminal that something is going on and since when, and take it away again."""
    drawn = console(stream)
    if drawn is None:
        yield
        return
    from rich.progress import (  # noqa: PLC0415
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn("line"),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=drawn, transient=True) as shown:
        shown.add_task(escaped(doing), total=None)
        yield


class Sentences(logging.Formatter):
    """What goes wrong, in one line that says what to do; a traceback only where one was asked for.

    :param stream: where it goes
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__("%(message)s")
        self._stream = stream

    def format(self, record: logging.LogRecord) -> str:
        error = record.msg
        text = sentence(error) if isinstance(error, Exception) else record.getMessage()
        colour = {logging.ERROR: "red", logging.WARNING: "yellow"}.get(record.levelno, "")
        said = painted(escaped(" ".join(text.split("\n"))), self._stream, colour)
        if not record.exc_info:
            return said
        return "\n".join([said, *map(escaped, self.formatException(record.exc_info).split("\n"))])


def sentence(error: Exception) -> str:
    """What an error says to an operator: its own words, if somebody chose them for that."""
    if isinstance(error, (SriovAgentError, OSError)) or type(error) is ValueError:
        return str(error)
    return (
        f"sriovctl itself failed ({type(error).__name__}: {error}): "
        "run it again with --debug before the command, and report what it says"
    )
