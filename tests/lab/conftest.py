# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from tests.lab.bridge import REPORTS_VARIABLE, Bridge, ReportWriter, in_guest


def pytest_configure(config):
    if not in_guest():
        config.pluginmanager.register(Bridge())
    elif REPORTS_VARIABLE in os.environ:
        config.pluginmanager.register(ReportWriter(config, os.environ[REPORTS_VARIABLE]))


def pytest_itemcollected(item):
    item.add_marker(pytest.mark.lab)
