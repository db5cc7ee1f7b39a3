# SPDX-License-Identifier: Apache-2.0
"""Neutron's API on a port of loopback: ``python -P neutron_wsgi.py PORT TTL --config-file FILE``.

Runs in the virtual environment that has Neutron, which believes what the request's headers say of
its user and roles. A request that says nothing is an administrator's. After TTL seconds Neutron
looks again which versions of objects its agents want.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

import waitress
from neutron.api.rpc.callbacks import version_manager

ADMINISTRATOR = {
    "HTTP_X_USER_ID": "administrator",
    "HTTP_X_PROJECT_ID": "administration",
    "HTTP_X_ROLES": "admin,member,reader",
}

# Neutron reads the command line when it is imported.
port, version_manager.VERSIONS_TTL = int(sys.argv.pop(1)), int(sys.argv.pop(1))

from neutron.wsgi.api import application  # noqa: E402


def trusting(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if "HTTP_X_ROLES" not in environ:
        environ |= ADMINISTRATOR
    answer: Iterable[bytes] = application(environ, start_response)
    return answer


waitress.serve(trusting, host="127.0.0.1", port=port, threads=8)
