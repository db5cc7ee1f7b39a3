# SPDX-License-Identifier: Apache-2.0
"""The command line of tools/lab: what it says, brings back, and leaves behind."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LAB = REPOSITORY / "tools" / "lab"
UNAVAILABLE = 3
GUEST_FAILED = 4


def lab(*arguments, python=sys.executable, **environment):
    return subprocess.run(
        [python, str(LAB), *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def bootable():
    checked = lab("check")
    if checked.returncode == UNAVAILABLE:
        pytest.skip(checked.stderr.strip())


def processes_with(mark):
    """The ids of processes that have ``mark`` in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def assert_nothing_left(mark, before):
    assert processes_with(mark) == []
    left = {path.name for path in (REPOSITORY / "build" / "lab").glob("run-*")} - before
    assert not left


ODD_ARGUMENTS = [
    "two words",
    "it's",
    '"quoted"',
    "$HOME `id` \\",
    "Grüße ☃",
    "",
    "line\nbreak",
    "*",
]
SCRIPT = """
printf '%s\\n' "$@"
echo "$MOOD"
pwd
echo this is stderr >&2
echo reopened >/dev/stderr
exit 42
"""


@pytest.mark.lab
def test_a_command_is_run_as_it_would_be_here(bootable):
    ran = lab(
        *("run", "--no-topology", "--env", "MOOD=in the lab's guest", "--"),
        *("bash", "-c", SCRIPT, "bash", *ODD_ARGUMENTS),
    )
    assert ran.returncode == 42
    expected = [*ODD_ARGUMENTS, "in the lab's guest", os.getcwd()]  # noqa: PTH109
    assert ran.stdout == "".join(f"{line}\n" for line in expected)
    assert ran.stderr == "this is stderr\nreopened\n"


FILES = """
echo guest >build/lab-command-test
echo guest >"$0"
cat "$0"
ip -br address show to 10.0.2.15/24
echo c >/proc/sysrq-trigger
"""


@pytest.mark.lab
def test_a_panic_is_told_from_a_command_that_fails(bootable, tmp_path):
    """And build/ is the machine's own, the rest is not."""
    shared = REPOSITORY / "build" / "lab-command-test"
    hidden = tmp_path / "file"
    hidden.write_text("machine\n")
    try:
        ran = lab("run", "--no-topology", "--user-net", "--", "sh", "-c", FILES, str(hidden))
        assert ran.returncode == GUEST_FAILED
        assert ran.stdout.splitlines()[0] == "guest"
        assert "10.0.2.15/24" in ran.stdout
        assert hidden.read_text() == "machine\n"
        assert shared.read_text() == "guest\n"
    finally:
        shared.unlink(missing_ok=True)
    sentence, _, log = ran.stderr.strip().partition("; its console is in ")
    assert sentence == "lab: the guest failed while running the command"
    assert "sysrq" in Path(log).read_text(errors="replace")
    Path(log).unlink()


@pytest.mark.lab
def test_a_timeout_leaves_nothing_behind(bootable):
    mark = f"LAB_TEST_{uuid.uuid4().hex}"
    before = {path.name for path in (REPOSITORY / "build" / "lab").glob("run-*")}
    ran = lab("run", "--timeout", "2.5", "--", "true", **{mark: "1"})
    assert ran.returncode == GUEST_FAILED
    assert ran.stderr.startswith("lab: the 2.5 s ran out while booting; its console is in ")
    assert_nothing_left(mark, before)
    Path(ran.stderr.split()[-1]).unlink()


@pytest.mark.lab
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(bootable, signum):
    mark = f"LAB_TEST_{uuid.uuid4().hex}"
    before = {path.name for path in (REPOSITORY / "build" / "lab").glob("run-*")}
    with subprocess.Popen(
        [sys.executable, LAB, "run", "--", "true"], env={**os.environ, mark: "1"}
    ) as process:
        while len(processes_with(mark)) < 3:  # this one, virtme-run, QEMU
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signum)
    assert process.returncode == 128 + signum
    assert_nothing_left(mark, before)


FOUR_PFS = """
cat /run/sriov-lab/topology.json
awk '/MemTotal/ { exit $2 > 2048 * 1024 }' /proc/meminfo || echo more than 2 GiB
for link in /sys/bus/pci/devices/*/physfn; do readlink "$link"; done | sort | uniq -c
ip netns exec tenant4 ip -br address
"""


@pytest.mark.lab
def test_four_pfs_have_a_leaf_and_a_tenant_each(bootable):
    ran = lab("run", "--pfs", "4", "--", "sh", "-c", FOUR_PFS)
    assert ran.returncode == 0, ran.stderr
    topology, end = json.JSONDecoder().raw_decode(ran.stdout)
    assert [pf["leaf"] for pf in topology["pfs"]] == ["leaf1", "leaf2", "leaf3", "leaf4"]
    assert [leaf["name"] for leaf in topology["leaves"]] == ["leaf1", "leaf2", "leaf3", "leaf4"]
    assert len({vf for pf in topology["pfs"] for vf in pf["vfs"]}) == 28
    rest = ran.stdout[end:]
    assert "more than" not in rest
    counted = re.findall(r"^ *7 (?:\.\./)+(?:0000:00:\S+/)?(\S+)$", rest, re.M)
    assert sorted(counted) == sorted(pf["pci"] for pf in topology["pfs"])
    assert "198.51.100.4/24" in rest
    assert "203.0.113.4/24" in rest


def test_check_names_all_that_is_missing_in_one_sentence(tmp_path):
    base_python = Path(sys.base_prefix) / "bin" / "python3"
    checked = lab("check", python=base_python, PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    assert checked.returncode == UNAVAILABLE
    assert checked.stdout == ""
    sentence = checked.stderr
    assert sentence.count("\n") == 1
    assert sentence.startswith("lab: the lab lacks qemu-system-x86, ")
    assert f"a kernel, virtme-ng: run '{base_python} tools/lab setup'" in sentence


@pytest.mark.parametrize(
    "arguments",
    [
        ["--env", "no equals sign"],
        ["--env", "a b=c"],
        ["--rwdir", "/nowhere/at/all"],
        ["--pfs", "0"],
        ["--pfs", "5"],
        ["--pfs", "two"],
    ],
)
def test_a_wrong_option_is_a_usage_error(arguments):
    ran = lab("run", *arguments, "--", "true")
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: ")


@pytest.fixture
def apt_sources(monkeypatch):
    monkeypatch.syspath_prepend(LAB)
    return importlib.import_module("apt_sources")


DEB822 = """\
# what the installer wrote
Types: deb deb-src
URIs: https://archive.example/debian
# a comment between fields
Suites: bookworm bookworm-updates
Components: main non-free-firmware
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJKwYBBAHaRw8BAQdA
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: https://archive.example/debian-security
Suites: bookworm-security
Components: main
"""

DEB822_BACKPORTS = """\
Types: deb
URIs: https://archive.example/debian
Suites: bookworm-backports
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJKwYBBAHaRw8BAQdA
 -----END PGP PUBLIC KEY BLOCK-----
"""

ONE_LINE = """\
# deb cdrom:[Debian 12]/ bookworm main
deb [arch=amd64,i386 signed-by=/keys/a.gpg] http://mirror.example/debian/ bookworm main # mine
deb-src http://mirror.example/debian/ bookworm main
deb http://mirror.example/debian bookworm-updates main contrib
deb http://mirror.example/debian-security bookworm-security main
"""

ONE_LINE_BACKPORTS = """\
Types: deb
URIs: http://mirror.example/debian/
Suites: bookworm-backports
Components: main
Architectures: amd64 i386
Signed-By: /keys/a.gpg
"""

VENDOR = "deb https://packages.example/vendor bookworm main\n"
MIRROR_LIST = "deb mirror+file:/etc/apt/mirrors/debian.list bookworm main\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"debian.sources": DEB822}, DEB822_BACKPORTS),
        ({"sources.list": ONE_LINE}, ONE_LINE_BACKPORTS),
        ({"a-vendor.list": VENDOR, "sources.list": ONE_LINE}, ONE_LINE_BACKPORTS),
        ({"sources.list": "deb http://mirror.example/debian trixie main\n"}, None),
        ({"debian.sources": f"Enabled: no\n{DEB822[DEB822.index('Types') :]}"}, None),
        ({"debian.sources.disabled": DEB822}, None),
        ({}, None),
    ],
    ids=["deb822", "one-line", "vendor-first", "other-release", "disabled", "not-read", "none"],
)
def test_backports_are_derived_from_the_sources(apt_sources, files, expected):
    assert apt_sources.backports(apt_sources.sources(files), "bookworm") == expected


def test_a_mirror_list_is_kept(apt_sources):
    derived = apt_sources.backports(apt_sources.sources({"sources.list": MIRROR_LIST}), "bookworm")
    assert "URIs: mirror+file:/etc/apt/mirrors/debian.list\n" in derived


def test_a_derived_source_is_found_again(apt_sources):
    derived = apt_sources.backports(apt_sources.sources({"debian.sources": DEB822}), "bookworm")
    again = apt_sources.sources({"backports.sources": derived})
    assert apt_sources.suites(again) == {"bookworm-backports"}
