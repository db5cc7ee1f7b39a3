# SPDX-License-Identifier: Apache-2.0
"""The bridge from pytest here to pytest in the lab guest, with a program in the lab's place."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

LAB = """
import os, subprocess, sys
verb, *rest = sys.argv[1:]
if verb == "check":
    print("QEMU lacks igb" if os.environ["CHECK"] == "3" else "ready")
    sys.exit(int(os.environ["CHECK"]))
print("booting")
if os.environ["BOOT"] != "0":
    print("no prompt after 60 s")
    sys.exit(int(os.environ["BOOT"]))
split = rest.index("--")
settings = [option.split("=", 2)[1:] for option in rest[:split] if option.startswith("--env=")]
environment = {**os.environ, **dict(settings)}
sys.exit(subprocess.run(rest[split + 1:], cwd="/", env=environment).returncode)
"""

LAB_TESTS = """
import os, pathlib, pytest

@pytest.fixture
def broken():
    raise RuntimeError("no cable")

def test_passes():
    assert "SRIOV_LAB_REPORTS" in os.environ
    with pathlib.Path(os.environ["SRIOV_LAB_REPORTS"]).with_name("runs").open("a") as runs:
        runs.write("x")

@pytest.mark.parametrize("vlan", [15, 16])
def test_fails(vlan):
    assert vlan == 15

def test_has_no_cable(broken):
    pass

def test_is_skipped():
    pytest.skip("no second leaf")

@pytest.mark.xfail
def test_is_expected_to_fail():
    assert False

def test_ends_the_guest():
    os._exit(9)

def test_is_never_reached():
    pass
"""

MORE_LAB_TESTS = """
import os, pathlib, time

def test_is_in_the_other_guest():
    reports = pathlib.Path(os.environ["SRIOV_LAB_REPORTS"])
    reports.with_name("there").touch()
    while not reports.with_name("here").exists():
        time.sleep(0.01)
    print(reports.stem)
"""

OUTSIDE_TEST = """
import os

def test_outside():
    assert "SRIOV_LAB_REPORTS" not in os.environ
"""


@pytest.fixture
def project(tmp_path):
    for name in ("__init__.py", "conftest.py", "lab/__init__.py", "lab/conftest.py"):
        _write(tmp_path / "tests" / name, (TESTS / name).read_text())
    shutil.copy(TESTS / "lab" / "bridge.py", tmp_path / "tests" / "lab")
    _write(tmp_path / "tests/unit/test_outside.py", OUTSIDE_TEST)
    _write(tmp_path / "tests/lab/test_inside.py", LAB_TESTS)
    _write(tmp_path / "tools/lab/__main__.py", LAB)
    _write(
        tmp_path / "pytest.ini",
        "[pytest]\naddopts = -ra\nmarkers =\n  lab: inside\n  rabbitmq: -\n",
    )
    return tmp_path


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(project, *arguments, check=0, boot=0, ci=""):
    environment = {"PATH": os.environ["PATH"], "CHECK": str(check), "BOOT": str(boot), "CI": ci}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_result_comes_out_as_it_was_in_the_guest(project):
    ran = run(project, "-v", "--deselect=tests/lab/test_inside.py::test_ends_the_guest")

    for line in (
        "tests/unit/test_outside.py::test_outside PASSED",
        "tests/lab/test_inside.py::test_passes PASSED",
        "tests/lab/test_inside.py::test_fails[15] PASSED",
        "tests/lab/test_inside.py::test_fails[16] FAILED",
        "tests/lab/test_inside.py::test_has_no_cable ERROR",
        "tests/lab/test_inside.py::test_is_skipped SKIPPED (no second leaf)",
        "tests/lab/test_inside.py::test_is_expected_to_fail XFAIL",
        "E       assert 16 == 15",
        'raise RuntimeError("no cable")',
        "1 failed, 4 passed, 1 skipped, 1 deselected, 1 xfailed, 1 error",
    ):
        assert line in ran.stdout
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED
    assert (project / "build/lab-tests/runs").read_text() == "x"


def test_only_what_is_selected_runs(project):
    ran = run(project, "-k", "passes or outside")

    assert "2 passed, 7 deselected" in ran.stdout
    assert ran.returncode == pytest.ExitCode.OK


def test_a_guest_that_dies_fails_what_had_not_ended(project):
    ran = run(project, "-k", "passes or guest or reached")

    assert "1 passed, 6 deselected, 2 errors" in ran.stdout
    assert "the lab ended before this test did" in ran.stdout
    assert ran.stdout.count("status 9; the end of ") == 1
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED


def test_a_guest_that_does_not_boot_fails_every_lab_test(project):
    ran = run(project, "-k", "passes or outside or reached", boot=4)

    assert "1 passed, 6 deselected, 2 errors" in ran.stdout
    assert ran.stdout.count("no prompt after 60 s") == 1
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED


def test_without_the_lab_its_tests_are_skipped(project):
    ran = run(project, "-k", "passes or outside", check=3)

    assert "1 passed, 1 skipped, 7 deselected" in ran.stdout
    assert "QEMU lacks igb" in ran.stdout
    assert ran.returncode == pytest.ExitCode.OK


def test_in_ci_a_skipped_lab_test_is_a_failure(project):
    ran = run(project, "-k", "passes or outside", check=3, ci="true")

    assert "with CI=true this may not be skipped: QEMU lacks igb" in ran.stdout
    assert "1 passed, 7 deselected, 1 error" in ran.stdout
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED


def test_in_ci_a_skip_inside_the_guest_is_a_failure(project):
    ran = run(project, "-k", "is_skipped", ci="true")

    assert "with CI=true this may not be skipped: no second leaf" in ran.stdout
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED


def test_two_guests_share_the_modules_and_run_at_once(project):
    _write(project / "tests/lab/test_first.py", MORE_LAB_TESTS)
    second = MORE_LAB_TESTS.replace('"here"', '"where"').replace('"there"', '"here"')
    _write(project / "tests/lab/test_second.py", second.replace('"where"', '"there"'))
    ran = run(project, "-rP", "tests/lab/test_first.py", "tests/lab/test_second.py")

    assert "2 passed" in ran.stdout, ran.stdout
    assert {line for line in ran.stdout.splitlines() if line in ("guest1", "guest2")} == {
        "guest1",
        "guest2",
    }
