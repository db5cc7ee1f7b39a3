# SPDX-License-Identifier: Apache-2.0
"""``sriovctl`` on a real terminal and in a pipe: colours, progress, and completion in bash."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sriov_agent.core.report import PortReport, PortState, Report
from tests.unit.test_ctl_commands import COMMANDS, command
from tests.unit.test_sriovctl import ID, Host

MAIN = "import sys; from sriov_agent.cmd.ctl.app import main; sys.exit(main())"
WITHOUT_RICH = f"import sys; sys.modules['rich'] = None; {MAIN}"
ESCAPE = "\x1b"
GREEN, RED = "\x1b[32m", "\x1b[31m"


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    host.create("--id", ID, "web1")
    host.store.save(Report(ports={ID: PortReport(port_id=ID, state=PortState.MET)}), {})
    return host


def on_terminal(host, *arguments, program=MAIN, **environment):
    """(exit status, all that a terminal gets) of a command whose output and errors are on one."""
    told = {"TERM": "xterm-256color", "COLUMNS": "200", "LINES": "50", **environment}
    hidden = ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    env = {name: value for name, value in os.environ.items() if name not in hidden} | told
    master, slave = pty.openpty()
    line = [sys.executable, "-c", program, "--config-file", str(host.config), *arguments]
    process = subprocess.Popen(line, stdin=slave, stdout=slave, stderr=slave, env=env)
    os.close(slave)
    said = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # EIO: nobody has the terminal any more
            break
        if not part:
            break
        said += part
    os.close(master)
    return process.wait(), said.decode()


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def cells(text):
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in plain(text).splitlines()
        if line.startswith("|")
    ]


def test_a_state_has_its_colour_on_a_terminal(host):
    host.create("web2")
    status, said = on_terminal(host, "port", "list")
    assert status == 0
    assert f"{GREEN}met\x1b[0m" in said
    assert "\x1b[33mnew\x1b[0m" in said
    assert cells(said) == cells(host.do("port", "list"))
    lines = plain(said).splitlines()
    assert len({len(line) for line in lines if line}) == 1


@pytest.mark.parametrize("width", ["40", "60", "90"])
def test_a_terminal_that_is_too_narrow_breaks_no_colour(host, width):
    host.store.save(Report(ports={ID: PortReport(port_id=ID, state=PortState.UNPLUGGED)}), {})
    _, said = on_terminal(host, "port", "list", "-c", "state", "-c", "id", COLUMNS=width)
    assert said.count("\x1b[33m") == said.count("\x1b[0m") >= 1
    assert all(line.isprintable() for line in plain(said).splitlines())


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_who_wants_no_colour_gets_none(host, environment):
    for arguments in (("port", "list"), ("port", "show", "nosuch"), ("doctor",)):
        _, said = on_terminal(host, *arguments, **environment)
        assert "\x1b[3" not in said
    assert ESCAPE not in on_terminal(host, "port", "list", **environment)[1]
    assert ESCAPE not in on_terminal(host, "port", "create", "--wait", "0.5", TERM="dumb")[1]


def test_without_rich_there_is_plain_text(host):
    for arguments in (("port", "list"), ("port", "show", "nosuch"), ("doctor",)):
        _, said = on_terminal(host, *arguments, program=WITHOUT_RICH)
        assert ESCAPE not in said
    status, said = on_terminal(host, "port", "list", program=WITHOUT_RICH)
    assert (status, cells(said)) == (0, cells(host.do("port", "list")))


@pytest.mark.parametrize("form", ["json", "yaml", "csv", "value"])
def test_what_a_program_reads_has_no_colour_not_even_on_a_terminal(host, form):
    status, said = on_terminal(host, "port", "list", "-f", form)
    assert (status, said.replace("\r\n", "\n")) == (0, host.do("port", "list", "-f", form))
    assert ESCAPE not in said
    if form != "csv":
        assert ESCAPE not in on_terminal(host, "port", "show", "-f", form, "web1")[1]


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}], ids=str)
def test_a_pipe_gets_plain_text(host, environment):
    for arguments in (("port", "list"), ("port", "show", "nosuch"), ("doctor",)):
        line = [sys.executable, "-c", MAIN, "--config-file", str(host.config), *arguments]
        env = os.environ | {"TERM": "xterm-256color", **environment}
        done = subprocess.run(line, capture_output=True, text=True, env=env, check=False)
        assert ESCAPE not in done.stdout + done.stderr


def test_an_error_is_red_and_one_line(host):
    status, said = on_terminal(host, "port", "show", "a\x1b[2Jb")
    assert status == 1
    assert said.startswith(RED)
    assert len(said.splitlines()) == 1
    assert r"a\x1b[2Jb" in plain(said)


def test_who_waits_sees_for_what(host):
    status, said = on_terminal(host, "port", "create", "--net", "15", "--wait", "1", "a\x07b")
    assert status == 1
    assert r"waiting until port a\x07b is met" in plain(said)
    assert "0:00:0" in plain(said)
    assert "\x07" not in said
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h")
    assert "is not met after 1 s" in plain(said)
    line = [sys.executable, "-c", MAIN, "--config-file", str(host.config), "port", "create"]
    more = ["--net", "16", "--wait", "0.5", "web3"]
    done = subprocess.run([*line, *more], capture_output=True, text=True, check=False)
    assert "waiting" not in done.stdout + done.stderr


COMPLETION = Path("/usr/share/bash-completion/bash_completion")


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """What a real bash proposes after this line, with the functions of bash-completion."""
    if not COMPLETION.exists():
        pytest.skip("bash-completion is not here: see make test")
    script = tmp_path_factory.mktemp("completion") / "sriovctl"
    line = [sys.executable, "-c", MAIN, "complete", "--name", "sriovctl"]
    script.write_text(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    ask = """
        source "$1"; source "$2"; shift 2
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        function=$(complete -p sriovctl | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $function sriovctl "${COMP_WORDS[COMP_CWORD]}"
        printf '%s\\n' "${COMPREPLY[@]}"
    """

    def complete(*words):
        line = ["bash", "--norc", "-c", ask, "bash", COMPLETION, script, *words]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    return complete


def test_bash_completes_nouns_and_verbs(complete):
    nouns = {words.split()[0] for words in COMMANDS} | {"help", "complete"}
    assert complete("sriovctl", "") == nouns
    assert complete("sriovctl", "vl") == {"vlan"}
    assert complete("sriovctl", "port", "de") == {"delete", "detach"}
    assert complete("sriovctl", "libvirt", "network", "") == {"define", "list", "show", "xml"}


@pytest.mark.parametrize("words", COMMANDS)
def test_bash_completes_the_options_of_every_command(complete, words):
    options = {o for action in command(words)[1]._actions for o in action.option_strings}
    assert complete("sriovctl", *words.split(), "--") == {o for o in options if o.startswith("--")}
