# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.fakes.contrail``: a fake Contrail to look at; its URL is the first line."""

import argparse
import json
import signal
import threading
from pathlib import Path

from tests.fakes.contrail.access import AAA_MODES
from tests.fakes.contrail.keystone import ADMIN, Keystone
from tests.fakes.contrail.schema import Flavour
from tests.fakes.contrail.server import ConfigApi
from tests.fakes.contrail.topology import DEMO, Topology


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.contrail", description=__doc__)
    parser.add_argument("--port", type=int, default=8082, help="0 for a free one")
    parser.add_argument("--flavour", choices=[one.value for one in Flavour], default="master")
    parser.add_argument("--aaa-mode", choices=AAA_MODES, default="no-auth")
    parser.add_argument("--keystone-port", type=int, default=0, help="0 for a free one")
    parser.add_argument("--topology", type=Path, help="what is onboarded, in JSON")
    options = parser.parse_args()
    loaded = Topology.of(json.loads(options.topology.read_text())) if options.topology else DEMO

    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    keystone = Keystone(port=options.keystone_port)
    with keystone, ConfigApi(options.flavour, options.aaa_mode, keystone, options.port) as api:
        api.load(loaded)
        print(api.url, flush=True)
        if options.aaa_mode != "no-auth":
            print(
                f"keystone: {keystone.auth_url} user {ADMIN.name} password {ADMIN.password}"
                f" project {next(iter(ADMIN.roles))}",
                flush=True,
            )
        done.wait()


if __name__ == "__main__":
    main()
