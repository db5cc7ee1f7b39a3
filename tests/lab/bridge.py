# SPDX-License-Identifier: Apache-2.0
"""Tests under tests/lab run inside the lab guest; outside it, their reports are replayed.

Outside, the guest is booted once for all that are selected, before any other test runs: it takes
one CPU and most of the time, so the others run beside it. In the guest each test report is appended
to a file in build/, where it is read while the guest runs.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOPOLOGY = Path("/run/sriov-lab/topology.json")
REPORTS_VARIABLE = "SRIOV_LAB_REPORTS"
NEUTRON_VARIABLE = "SRIOV_LAB_NEUTRON"

NOT_AVAILABLE = 3
TIMEOUT_SECONDS = 4800
POLL_SECONDS = 0.1
SHOWN_LINES = 30


def in_guest():
    return TOPOLOGY.exists() or REPORTS_VARIABLE in os.environ


def is_lab(item):
    return HERE in item.path.parents


class ReportWriter:
    """In the guest: writes each report where the machine outside reads it."""

    def __init__(self, config, path):
        self.config = config
        self.path = Path(path)

    def pytest_runtest_logreport(self, report):
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        with self.path.open("a") as file:
            file.write(json.dumps(data) + "\n")


class Bridge:
    """Outside the guest: gives every lab test the reports that it had in there."""

    def __init__(self):
        self.guest = None

    def pytest_collection_modifyitems(self, items):
        items.sort(key=is_lab)

    def pytest_collection_finish(self, session):
        chosen = [item for item in session.items if is_lab(item)]
        if chosen and not session.config.option.collectonly:
            self.guest = Guest(session.config, chosen)

    def pytest_runtest_protocol(self, item):
        if not is_lab(item):
            return None
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self.guest.reports_of(item):
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_sessionfinish(self):
        if self.guest:
            self.guest.stop()


class Guest:
    """One boot of the lab guest, running the selected tests."""

    def __init__(self, config, items):
        self.config = config
        self.reports = defaultdict(list)
        self.process = None
        self.outside = contextlib.ExitStack()
        self.shown = False

        build = config.rootpath / "build" / "lab-tests"
        build.mkdir(parents=True, exist_ok=True)
        self.log = build / "guest.log"
        reports = build / "reports.jsonl"
        reports.write_text("")
        self.lines = reports.open()

        check = self._lab("check", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        sentence = check.communicate()[0].strip()
        self.unavailable = sentence if check.returncode == NOT_AVAILABLE else None
        if self.unavailable is not None:
            return

        selected = build / "selected.txt"
        selected.write_text("".join(f"{config.rootpath / item.nodeid}\n" for item in items))
        environment = {name: os.environ[name] for name in ("CI",) if name in os.environ}
        environment[REPORTS_VARIABLE] = str(reports)
        if any(item.get_closest_marker("openstack") for item in items):
            environment |= self._neutron()
        with self.log.open("w") as log:
            self.process = self._lab(
                "run",
                f"--timeout={TIMEOUT_SECONDS}",
                *(["--user-net"] if NEUTRON_VARIABLE in environment else []),
                *(f"--env={name}={value}" for name, value in environment.items()),
                "--",
                *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
                *("-c", config.inipath, "--rootdir", config.rootpath),
                *(f"--tb={config.option.tbstyle}", *["-v"] * config.option.verbose),
                *(["--showlocals"] if config.option.showlocals else []),
                f"@{selected}",
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _neutron(self):
        """Start a Neutron for the guest; the variable that tells where its switches are.

        Only tests that need one load what it takes.
        """
        from tools.openstack import needs  # noqa: PLC0415
        from tools.openstack.remote import Remote  # noqa: PLC0415
        from tools.openstack.stack import Stack  # noqa: PLC0415

        if needs.missing():
            return {}
        directory = self.outside.enter_context(tempfile.TemporaryDirectory(prefix="neutron-"))
        stack = self.outside.enter_context(Stack(Path(directory), versions_ttl=5))
        remote = self.outside.enter_context(contextlib.closing(Remote(stack)))
        return {NEUTRON_VARIABLE: remote.guest_url}

    def _lab(self, *arguments, **options):
        command = [sys.executable, "tools/lab", *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=self.config.rootpath, stdin=subprocess.DEVNULL, **options
        )

    def reports_of(self, item):
        """The reports of one test as they arrive; one that never came is an error."""
        if self.unavailable is not None:
            yield from _made_here(item, pytest.skip, self.unavailable)
            return
        replayed = 0
        while True:
            ended = self.process.poll() is not None
            self._read()
            for report in self.reports[item.nodeid][replayed:]:
                replayed += 1
                yield report
                if report.when == "teardown":
                    return
            if ended:
                break
            time.sleep(POLL_SECONDS)
        yield from _made_here(item, pytest.fail, self._why_it_ended(), pytrace=False)

    def _read(self):
        while True:
            start = self.lines.tell()
            line = self.lines.readline()
            if not line.endswith("\n"):
                self.lines.seek(start)
                return
            report = self.config.hook.pytest_report_from_serializable(
                config=self.config, data=json.loads(line)
            )
            if isinstance(report.longrepr, list):  # where a skip was, a tuple before JSON
                report.longrepr = tuple(report.longrepr)
            self.reports[report.nodeid].append(report)

    def _why_it_ended(self):
        sentence = f"the lab ended with status {self.process.returncode} before this test did"
        if self.shown:
            return sentence
        self.shown = True
        tail = self.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
        return "\n".join([f"{sentence}; the end of {self.log}:", *tail])

    def stop(self):
        self.lines.close()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self.outside.close()


def _made_here(item, outcome, *arguments, **options):
    """The reports of a test that had none: ``outcome`` in its setup, then its teardown."""
    phases = {"setup": lambda: outcome(*arguments, **options), "teardown": lambda: None}
    for when, function in phases.items():
        call = pytest.CallInfo.from_call(function, when=when)
        yield item.ihook.pytest_runtest_makereport(item=item, call=call)
