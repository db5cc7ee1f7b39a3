# SPDX-License-Identifier: Apache-2.0
"""The systemd units: systemd takes them, and the daemon takes their command line."""

import configparser
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from oslo_config import cfg
from oslo_log import log

from sriov_agent import conf as options

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "etc/systemd/system").glob("*.service"))
FILES = {
    "/etc/neutron/neutron.conf": ROOT / "tests/samples/config/neutron.conf",
    "/etc/neutron/plugins/ml2/sriov_agent.ini": ROOT / "tests/samples/config/sriov_agent.ini",
    "/etc/sriov-agent/sriov-agent.conf": ROOT / "etc/sriov-agent/sriov-agent.conf.sample",
}


def run(*command):
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def needs_systemd(program):
    """Skips the test where the program is not there."""
    return pytest.mark.skipif(not shutil.which(program), reason=f"there is no {program}")


VERSION = 0
if shutil.which("systemd-analyze"):
    VERSION = int(re.search(r"systemd (\d+)", run("systemd-analyze", "--version").stdout)[1])


def command(unit):
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(unit)
    return shlex.split(parser["Service"]["ExecStart"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_the_unit(unit, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze")
    installed = f"ExecStart={Path(sys.executable).parent}/sriov-"
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("ExecStart=sriov-", installed))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in verified.stderr.splitlines() if unit.name in line]
    assert (verified.returncode, said) == (0, []), verified.stderr


@pytest.mark.parametrize(
    ("name", "source", "host"),
    [("sriov-agent", "local", None), ("sriov-agent-ml2", "ml2", "compute1.example.net")],
)
def test_the_daemon_takes_the_units_command_line(name, source, host):
    program, *arguments = command(ROOT / f"etc/systemd/system/{name}.service")
    assert program == "sriov-agent"
    arguments = [str(FILES.get(argument, argument)) for argument in arguments]
    conf = options.register(cfg.ConfigOpts())
    log.register_options(conf)
    options.parse(conf, [word for word in arguments if not word.startswith("$")], version="0")
    assert conf.agent.source == source
    assert host in (None, conf.host)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_hears_of_the_daemon_and_watches_it(unit):
    lines = unit.read_text().splitlines()
    assert {"Type=notify", "WatchdogSec=120"} <= set(lines)


def test_the_two_agents_never_run_together():
    unit = (ROOT / "etc/systemd/system/sriov-agent-ml2.service").read_text()
    [conflicts] = [line for line in unit.splitlines() if line.startswith("Conflicts=")]
    assert {"neutron-sriov-agent.service", "neutron-sriov-nic-agent.service"} <= set(
        conflicts.removeprefix("Conflicts=").split()
    )


INSTALLED = ("systemd", "sysusers.d", "tmpfiles.d")


def test_every_file_is_installed():
    setup = (ROOT / "setup.cfg").read_text().split()
    for directory in INSTALLED:
        for file in (ROOT / "etc" / directory).rglob("*.*"):
            if file.is_file():
                assert str(file.relative_to(ROOT)) in setup


def settings(unit):
    """Every line of a unit's [Service] that is none of a comment."""
    _, _, service = unit.read_text().partition("[Service]\n")
    return {line for line in service.partition("\n[")[0].splitlines() if "=" in line}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_no_unit_is_root_or_becomes_it(unit):
    user = "sriov-device-manager" if "manager" in unit.name else "sriov-agent"
    has = {"NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes", f"User={user}"}
    assert has <= settings(unit)
    capabilities = {line for line in settings(unit) if "Capabilit" in line}
    if user == "sriov-agent":
        names = ("AmbientCapabilities", "CapabilityBoundingSet")
        assert capabilities == {f"{name}=CAP_NET_ADMIN" for name in names}
    else:
        assert capabilities == {"CapabilityBoundingSet="}
    assert not any("AF_PACKET" in line for line in settings(unit))


def test_both_units_of_the_agent_have_the_same_sandbox():
    local, ml2 = (settings(UNITS[0].parent / f"{name}.service") for name in AGENTS)
    assert {line.partition("=")[0] for line in local ^ ml2} == {
        "ExecStart",
        "Environment",
        "EnvironmentFile",
    }


AGENTS = ("sriov-agent", "sriov-agent-ml2")


def exposures():
    """(unit, its drop-in or "", what the documentation says of its exposure)"""
    page = (ROOT / "doc/source/install.rst").read_text()
    said = re.findall(
        r"\* - ``([\w-]+\.service)``(?: with ``([\w-]+\.conf)``)?\n +- ([\d.]+)\n", page
    )
    assert {unit for unit, _, _ in said} == {unit.name for unit in UNITS}
    return said


@needs_systemd("systemd-analyze")
@pytest.mark.parametrize(("name", "drop_in", "exposure"), exposures())
def test_the_exposure_is_as_the_documentation_has_it(name, drop_in, exposure, tmp_path):
    unit = tmp_path / name
    shutil.copy(UNITS[0].parent / name, unit)
    if drop_in:
        (tmp_path / f"{name}.d").mkdir()
        shutil.copy(ROOT / "etc/systemd" / drop_in, tmp_path / f"{name}.d")

    def analyzed(threshold):
        command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={threshold}"]
        return run(*command, "--no-pager", unit)

    tenths = round(float(exposure) * 10)
    within = analyzed(tenths)
    assert within.returncode == 0, within.stdout[-200:] + within.stderr
    if VERSION == 252:
        assert analyzed(tenths - 1).returncode == 1
        assert f"exposure level for {name}: {exposure} " in within.stdout


@needs_systemd("systemd-sysusers")
def test_users_are_made_and_put_into_groups(tmp_path):
    (tmp_path / "etc").mkdir()
    files = sorted((ROOT / "etc/sysusers.d").glob("*.conf"))
    made = run("systemd-sysusers", f"--root={tmp_path}", *files)
    assert made.returncode == 0, made.stderr
    users = dict(line.split(":", 1) for line in (tmp_path / "etc/passwd").read_text().splitlines())
    for name in ("sriov-agent", "sriov-device-manager"):
        _, uid, _, _, home, shell = users[name].split(":")
        assert (0 < int(uid) < 1000, home) == (True, f"/var/lib/{name}")
        assert shell.endswith("nologin")
    lines = (tmp_path / "etc/group").read_text().splitlines()
    members = {line.split(":")[0]: line.split(":")[3] for line in lines}
    assert {name for name, who in members.items() if who == "sriov-agent"} == {
        "adm",
        "_lldpd",
        "neutron",
    }
    assert run("systemd-sysusers", f"--root={tmp_path}", *files).returncode == 0


@needs_systemd("systemd-tmpfiles")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_directories_are_made_and_what_is_in_them_given_to_their_user(tmp_path):
    users = {"sriov-agent": (4001, 0o2770, 0o660), "sriov-device-manager": (4002, 0o700, 0o600)}
    (tmp_path / "etc").mkdir()
    outside = tmp_path / "outside"
    outside.touch()
    for file, line in (("passwd", "{0}:x:{1}:{1}::/:/bin/false"), ("group", "{0}:x:{1}:")):
        text = "".join(line.format(name, uid) + "\n" for name, (uid, _, _) in users.items())
        (tmp_path / "etc" / file).write_text(text)
    files = sorted((ROOT / "etc/tmpfiles.d").glob("*.conf"))

    def create():
        made = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", *files)
        assert made.returncode == 0, made.stderr

    def seen(path):
        found = (tmp_path / path).lstat()
        return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)

    create()
    for name, (uid, mode, file_mode) in users.items():
        assert seen(f"var/lib/{name}") == (uid, uid, mode)
        directory = tmp_path / "var/lib" / name / "of-root"
        directory.mkdir()
        (directory / "file").touch(0o644)
        (directory / "link").symlink_to(outside)
        create()
        assert seen(directory) == (uid, uid, mode)
        assert seen(directory / "file") == (uid, uid, file_mode)
    assert seen(outside)[0] == 0
