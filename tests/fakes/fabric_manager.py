# SPDX-License-Identifier: Apache-2.0
"""A device manager without a broker: the worker and what it keeps, on switches that are files.

``python -m tests.fakes.fabric_manager '{"url": ..., "prefix": ..., "name": ..., ...}'``, see
:func:`main`. It ends on SIGTERM.
"""

import json
import logging
import signal
import sys
import threading
from pathlib import Path

from sriov_agent.exceptions import Unavailable
from sriov_agent.fabric.inventory import Rules
from sriov_agent.fabric.wants import wanted
from sriov_agent.fabric.worker import Policy, Worker
from tests.etcd import member
from tests.fakes.file_switch import FileSwitch


def rules(switches):
    return {name: Rules(name=name, names=frozenset({name})) for name in switches}


def main(url, prefix, name, directory, switches, lock_ttl, slow, locks=True):
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name} %(message)s")
    directory = Path(directory)
    state = member(url, name, prefix=prefix, lock_ttl=lock_ttl, timeout=1.0)
    policy = Policy(remove_grace=0.3, retry_min=0.1, retry_max=1.0)
    known = rules(switches)

    def everything():
        return wanted(state.wants(), known, None)

    workers = {
        switch: Worker(
            FileSwitch(directory, switch, name, slow, locks),
            known[switch],
            state,
            policy,
            everything,
        )
        for switch in switches
    }

    def wake():
        for worker in workers.values():
            worker.wake()

    def mine():
        try:
            return [switch for switch in switches if state.mine(switch)]
        except Unavailable:
            return []

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    state.start(wake)
    for worker in workers.values():
        worker.start()
    while not ended.wait(0.1):
        part = directory / f"{name}.part"
        part.write_text(json.dumps(mine()))
        part.replace(directory / f"{name}.mine")
    for worker in workers.values():
        worker.stop()
    state.stop()


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
