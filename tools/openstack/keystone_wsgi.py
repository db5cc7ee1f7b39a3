# SPDX-License-Identifier: Apache-2.0
"""Keystone on a port of loopback: ``python -P keystone_wsgi.py PORT --config-file FILE``.

Runs in the virtual environment that has Keystone.
"""

import sys

import waitress

# Keystone reads the command line when it is imported.
port = int(sys.argv.pop(1))

from keystone.wsgi.api import application  # noqa: E402

waitress.serve(application, host="127.0.0.1", port=port, threads=4)
