# SPDX-License-Identifier: Apache-2.0
"""Tests under tests/lab run inside the lab guest; outside it, their reports are replayed.

Outside, guests are booted before any other test runs: one takes a CPU and most of the time, so the
others run beside it. If the tests are of several modules there is a second guest, which takes what
the others leave of another CPU. Each guest is given all that are selected, and takes the modules
that the other one did not; its test reports are appended to a file in build/, where they are read
meanwhile.
"""

import compileall
import contextlib
import json
import os
import shutil
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
TAKEN_VARIABLE = "SRIOV_LAB_TAKEN"
NEUTRON_VARIABLE = "SRIOV_LAB_NEUTRON"

NOT_AVAILABLE = 3
TIMEOUT_SECONDS = 5400
POLL_SECONDS = 0.1
#: of each guest; where all want a CPU, the second has a third of what the other tests have
NICENESS = (0, 5)
SHOWN_LINES = 30
#: what takes a guest longest is begun first, so that none of it is left when all else is done
LONGEST = ("openstack", "test_agent", "test_guests", "test_tutorials", "test_lldp", "test_unit")


def in_guest():
    return TOPOLOGY.exists() or REPORTS_VARIABLE in os.environ


def is_lab(item):
    return HERE in item.path.parents


def turn_of(item):
    """When an item is run: tests of this machine first, and of the lab's what takes longest."""
    if not is_lab(item):
        return 0
    module = module_of(item)
    return 1 + (LONGEST.index(module) if module in LONGEST else len(LONGEST))


def module_of(item):
    """What one guest runs as a whole; all that needs Neutron is one, since that has one host."""
    return "openstack" if item.get_closest_marker("openstack") else item.path.stem


class Inside:
    """In the guest: takes modules, and writes each report where the machine outside reads it.

    :param taken: a directory that all guests share
    """

    def __init__(self, config, reports, taken):
        self.config = config
        self.reports = Path(reports)
        self.taken = Path(taken)
        self.ours = {}

    def pytest_runtest_protocol(self, item):
        module = module_of(item)
        if module not in self.ours:
            try:
                (self.taken / module).mkdir()
            except FileExistsError:
                self.ours[module] = False
            else:
                self.ours[module] = True
        return None if self.ours[module] else True

    def pytest_runtest_logreport(self, report):
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        with self.reports.open("a") as file:
            file.write(json.dumps(data) + "\n")


class Bridge:
    """Outside the guests: gives every lab test the reports that it had in one of them."""

    def __init__(self):
        self.lab = None

    def pytest_collection_modifyitems(self, items):
        items.sort(key=turn_of)

    def pytest_collection_finish(self, session):
        chosen = [item for item in session.items if is_lab(item)]
        if chosen and not session.config.option.collectonly:
            self.lab = Lab(session.config, chosen)

    def pytest_runtest_protocol(self, item):
        if not is_lab(item):
            return None
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self.lab.reports_of(item):
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_sessionfinish(self):
        if self.lab:
            self.lab.stop()


class Guest:
    """One boot of the lab guest, running selected tests.

    :param niceness: see nice(1)
    :param command: what is run in it
    :param environment: of that, beside where the reports go
    """

    def __init__(self, build, name, niceness, command, environment):
        self.log = build / f"{name}.log"
        reports = build / f"{name}.jsonl"
        reports.write_text("")
        self.lines = reports.open()
        with self.log.open("w") as log:
            self.process = lab_command(
                "run",
                f"--timeout={TIMEOUT_SECONDS}",
                *(["--user-net"] if NEUTRON_VARIABLE in environment else []),
                *(f"--env={name}={value}" for name, value in environment.items()),
                f"--env={REPORTS_VARIABLE}={reports}",
                "--",
                *command,
                niceness=niceness,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def ended(self):
        return self.process.poll() is not None

    def read(self):
        """The reports that were written since, as JSON has them."""
        while True:
            start = self.lines.tell()
            line = self.lines.readline()
            if not line.endswith("\n"):
                self.lines.seek(start)
                return
            yield json.loads(line)

    def end(self):
        """How it ended, and what it said last."""
        tail = self.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
        return [f"status {self.process.returncode}; the end of {self.log}:", *tail]

    def stop(self):
        self.lines.close()
        if not self.ended:
            self.process.terminate()
            self.process.wait()


class Lab:
    """The guests, running the selected tests."""

    def __init__(self, config, items):
        self.config = config
        self.reports = defaultdict(list)
        self.guests = []
        self.outside = contextlib.ExitStack()
        self.shown = False

        self.build = config.rootpath / "build" / "lab-tests"
        taken = self.build / "taken"
        shutil.rmtree(taken, ignore_errors=True)
        taken.mkdir(parents=True)
        check = lab_command("check", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        sentence = check.communicate()[0].strip()
        self.unavailable = sentence if check.returncode == NOT_AVAILABLE else None
        if self.unavailable is not None:
            return

        # The machine's files are read-only in a guest, which would compile them at each start.
        for name in ("sriov_agent", "tests", "tools"):
            compileall.compile_dir(config.rootpath / name, quiet=1)
        selected = self.build / "selected.txt"
        selected.write_text("".join(f"{config.rootpath / item.nodeid}\n" for item in items))
        command = [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
            *("-c", config.inipath, "--rootdir", config.rootpath),
            *(f"--tb={config.option.tbstyle}", *["-v"] * config.option.verbose),
            *(["--showlocals"] if config.option.showlocals else []),
            f"@{selected}",
        ]
        environment = {name: os.environ[name] for name in ("CI",) if name in os.environ}
        environment[TAKEN_VARIABLE] = str(taken)
        if any(item.get_closest_marker("openstack") for item in items):
            environment |= self._neutron()
        modules = {module_of(item) for item in items}
        for number, niceness in enumerate(NICENESS[: len(modules)], 1):
            self.guests.append(Guest(self.build, f"guest{number}", niceness, command, environment))

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

    def reports_of(self, item):
        """The reports of one test as they arrive; one that never came is an error."""
        if self.unavailable is not None:
            yield from _made_here(item, pytest.skip, self.unavailable)
            return
        replayed = 0
        while True:
            ended = all(guest.ended for guest in self.guests)
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
        for guest in self.guests:
            for data in guest.read():
                report = self.config.hook.pytest_report_from_serializable(
                    config=self.config, data=data
                )
                if isinstance(report.longrepr, list):  # where a skip was, a tuple before JSON
                    report.longrepr = tuple(report.longrepr)
                self.reports[report.nodeid].append(report)

    def _why_it_ended(self):
        sentence = "the lab ended before this test did"
        if self.shown:
            return sentence
        self.shown = True
        return "\n".join([sentence, *(line for guest in self.guests for line in guest.end())])

    def stop(self):
        for guest in self.guests:
            guest.stop()
        self.outside.close()


def lab_command(*arguments, niceness=0, **options):
    """``tools/lab`` begun with these arguments."""
    command = ["nice", f"-n{niceness}", sys.executable, "tools/lab", *map(str, arguments)]
    return subprocess.Popen(command, cwd=HERE.parents[1], stdin=subprocess.DEVNULL, **options)


def _made_here(item, outcome, *arguments, **options):
    """The reports of a test that had none: ``outcome`` in its setup, then its teardown."""
    phases = {"setup": lambda: outcome(*arguments, **options), "teardown": lambda: None}
    for when, function in phases.items():
        call = pytest.CallInfo.from_call(function, when=when)
        yield item.ihook.pytest_runtest_makereport(item=item, call=call)
