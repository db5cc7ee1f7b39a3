# SPDX-License-Identifier: Apache-2.0
import os
import threading

import hypothesis
import pytest

#: marks of tests that continuous integration must run: there, skipping one is a failure
MUST_RUN_IN_CI = (
    "browser",
    "etcd",
    "lab",
    "namespaces",
    "openstack",
    "promtool",
    "rabbitmq",
    "switch",
    "systemd",
)

# Where a change is judged, the examples are the same each time; elsewhere they are new ones.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "project")


@pytest.fixture(autouse=True, scope="module")
def threads_of_others():
    """What runs before the first test of a module: a client that still looks for its server."""
    return set(threading.enumerate()) - {threading.current_thread()}


@pytest.fixture
def caplog(caplog, threads_of_others):
    """What is logged meanwhile, but for what threads log that tests of other modules left."""

    def of_this_module(record):
        return threading.current_thread() not in threads_of_others

    caplog.handler.addFilter(of_this_module)
    yield caplog
    caplog.handler.removeFilter(of_this_module)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    marked = any(item.get_closest_marker(mark) for mark in MUST_RUN_IN_CI)
    if skipped and marked and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"with CI=true this may not be skipped: {call.excinfo.value}"
    return report


class Told:
    """Shows at once why a test failed: a run that is ended for taking too long has no summary."""

    def __init__(self, terminal):
        self.terminal = terminal

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.terminal.write_line(f"\n{report.nodeid} ({report.when}):\n{report.longreprtext}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and terminal:
        config.pluginmanager.register(Told(terminal))
