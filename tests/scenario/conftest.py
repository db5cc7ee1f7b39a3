# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.fakes.kernel import IGB
from tests.scenario.compute import Compute


@pytest.fixture
def compute(tmp_path):
    """A compute node whose PFs can do everything."""
    return Compute(tmp_path)


@pytest.fixture
def igb(tmp_path):
    """A compute node whose PFs can do what the igb driver can."""
    return Compute(tmp_path, lacking=IGB)
