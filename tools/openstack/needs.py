# SPDX-License-Identifier: Apache-2.0
"""What a Neutron of our own needs of the machine, and where it is."""

import hashlib
import os
import sys
from pathlib import Path

from tools.openstack import broker, database

REQUIREMENTS = Path(__file__).resolve().parent / "requirements.txt"
PACKAGES = ("mariadb-server", "rabbitmq-server")
SETUP = f"run '{sys.executable} tools/openstack setup'"


class Unavailable(Exception):
    """Neutron cannot run on this machine; the message is a sentence that says what to do."""


def cache() -> Path:
    """The directory for virtual environments, shared by all clones of the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sriov-agent-openstack"


def environment() -> Path:
    """The virtual environment for this Python and this list of requirements."""
    key = hashlib.sha256(f"{sys.version}\n".encode() + REQUIREMENTS.read_bytes())
    return cache() / f"venv-{key.hexdigest()[:12]}"


def stamp() -> Path:
    """The file that a complete virtual environment has."""
    return environment() / "complete"


def missing() -> str:
    """Why no Neutron can be started here; "" if one can."""
    reasons = [broker.missing(), database.missing()]
    if not stamp().exists():
        reasons.append("no virtual environment with Neutron")
    reasons = [reason for reason in reasons if reason]
    return f"{'; '.join(reasons)}: {SETUP}" if reasons else ""
