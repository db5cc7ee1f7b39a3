# SPDX-License-Identifier: Apache-2.0
"""That a tutorial which does not say what happens is told from one that does."""

import ast
from pathlib import Path

import pytest

from tests import tutorials
from tests.tutorials import Command, Differs, File, Shell

PAGE = """\
Page
====

See :doc:`other`, and ``this``.

.. code-block:: ini
   :caption: {directory}/file

   [one]
   two = 3

.. code-block:: console

   # cat {directory}/file | \\
   >     grep two
   two = 3
   controller$ name=world
   controller$ echo hello $name; echo again
   hello ...
   again

.. code-block:: console
   :class: fails

   # true
   # echo no >&2; false
   no

.. code-block:: text

   not run here
"""


@pytest.fixture
def shells(tmp_path):
    shells = {name: Shell(tmp_path / f"shell{name}") for name in ("", "controller")}
    yield shells
    for shell in shells.values():
        shell.close()


@pytest.fixture
def followed(tmp_path, shells):
    def follow(text):
        page = tmp_path / "page.rst"
        page.write_text(text.format(directory=tmp_path))
        tutorials.follow(page, shells)

    return follow


def test_it_is_read_as_its_reader_reads_it():
    file, *typed, fails = tutorials.steps(PAGE.format(directory="/d"))
    assert file == File(9, Path("/d/file"), "[one]\ntwo = 3\n")
    assert typed[:2] == [
        Command(14, "", "cat /d/file | \\\n    grep two", "two = 3\n"),
        Command(17, "controller", "name=world", ""),
    ]
    assert fails == Command(26, "", "echo no >&2; false", "no\n", fails=True)
    assert not any(command.fails for command in typed)


def test_one_that_is_true_is_followed_to_its_end(followed):
    followed(PAGE)


@pytest.mark.parametrize(
    ("said", "instead", "why"),
    [
        ("hello ...", "hello you", "hello world"),
        ("again\n", "\n", "again"),
        ("   two = 3\n   con", "   con", r"\+ two = 3"),
        ("# true", "# true; echo more", "more"),
        ("# true", "# false", "ended with 1"),
        ("no >&2; false", "no >&2", "ended with 0"),
        ("# true", "# exit 3", "the shell has ended"),
        ("two = 3\n   con", "two = 4\n   con", "page.rst:14: cat"),
    ],
)
def test_one_that_is_not_ends_where_it_differs(followed, said, instead, why):
    text = PAGE.replace(said, instead, 1) if said in PAGE else pytest.fail("the page changed")
    with pytest.raises(Differs, match=why):
        followed(text)


@pytest.mark.parametrize(
    "block",
    ["::\n\n   cat file", ".. code-block:: bash\n\n   cat file", ".. code-block:: ini\n\n   a"],
)
def test_a_block_that_is_neither_run_nor_named_as_not_run_is_refused(block):
    with pytest.raises(ValueError, match="neither console nor text"):
        tutorials.steps(f"Text\n\n{block}\n")


def test_a_command_without_a_prompt_is_refused():
    with pytest.raises(ValueError, match="line 3 has no prompt: cat file"):
        tutorials.steps(".. code-block:: console\n\n   cat file\n")


def test_every_tutorial_is_followed_by_a_test():
    source = Path(tutorials.ROOT / "tests/lab/test_tutorials.py").read_text()
    followed = {
        call.args[0].value
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "follow"
    }
    pages = {page.stem for page in tutorials.PAGES.glob("*.rst")} - {"index"}
    assert followed == pages


@pytest.mark.parametrize("page", sorted(tutorials.PAGES.glob("*.rst")), ids=lambda page: page.stem)
def test_each_of_the_pages_can_be_followed(page):
    steps = tutorials.steps(page.read_text())
    assert (page.stem == "index") == (len(steps) <= 1)
