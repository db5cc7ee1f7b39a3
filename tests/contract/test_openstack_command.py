# SPDX-License-Identifier: Apache-2.0
"""The command line of tools/openstack where Neutron is not installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "openstack"


@pytest.mark.parametrize("command", ["check", "run"])
def test_it_says_what_is_missing_and_what_to_do(tmp_path, command):
    done = subprocess.run(
        [sys.executable, TOOL, command],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    (sentence,) = done.stderr.splitlines()
    assert done.returncode == 3
    assert sentence.startswith("openstack: ")
    assert "no virtual environment with Neutron" in sentence
    assert sentence.endswith(f"run '{sys.executable} tools/openstack setup'")
    assert not list(tmp_path.iterdir())
