# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from tests.lab.bridge import REPORTS_VARIABLE, TAKEN_VARIABLE, Bridge, Inside, in_guest


def pytest_configure(config):
    if not in_guest():
        config.pluginmanager.register(Bridge())
    elif REPORTS_VARIABLE in os.environ:
        reports, taken = os.environ[REPORTS_VARIABLE], os.environ[TAKEN_VARIABLE]
        config.pluginmanager.register(Inside(config, reports, taken))


def pytest_itemcollected(item):
    item.add_marker(pytest.mark.lab)
