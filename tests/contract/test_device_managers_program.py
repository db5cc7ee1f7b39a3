# SPDX-License-Identifier: Apache-2.0
"""Three ``sriov-device-manager`` as installed, on an etcd, a RabbitMQ and a NETCONF switch."""

import contextlib
import time

import pytest

from sriov_agent.fabric.state import ring
from tests.contract.test_device_manager_program import Program, link, made, rig, want
from tests.etcd import member
from tests.waiting import until

__all__ = ["made", "rig"]

pytestmark = [pytest.mark.etcd, pytest.mark.rabbitmq, pytest.mark.switch]

PREFIX = "/programs/"
NAMES = ("manager1", "manager2", "manager3")
LOCK_TTL = 4


@pytest.fixture
def managers(broker, rig, etcd, tmp_path):
    with contextlib.ExitStack() as stack:
        found = {}
        for name in NAMES:
            (tmp_path / name).mkdir()
            found[name] = program = Program(broker, rig, tmp_path / name)
            given = (
                f"[device_manager]\nmember = {name}\nstate = etcd\netcd_urls = {etcd.url}\n"
                f"etcd_prefix = {PREFIX}\netcd_timeout = 1\nlock_ttl = {LOCK_TTL}\n"
            )
            text = program.config.read_text().replace("[device_manager]\n", given)
            program.config.write_text(text)
            program.start()
            stack.callback(program.process.wait)
            stack.callback(program.process.kill)
        yield found


def test_two_of_three_are_killed_as_they_write(managers, etcd, rig):
    ports = rig.trunks[:2]
    for port in ports:
        rig.put(port, [(999, 999)])
    hooks = {port: managers["manager1"].hook(f"host-of-{port.split('/')[-1]}") for port in ports}
    wanted = set()

    def carried(vlans):
        return lambda: all(rig.get(port) == {*vlans, 999} for port in ports)

    alive = dict(managers)
    for number in range(2):
        wanted |= set(range(100 + 50 * number, 120 + 50 * number))
        for port, hook in hooks.items():
            want(hook, link(port), *wanted)
        owner = ring.owner("leaf1", alive)
        program = alive.pop(owner)
        program.process.kill()
        program.process.wait()
        began = time.monotonic()
        until(carried(wanted))
        print(f"\n{owner} was killed: {time.monotonic() - began:.1f} s, lock_ttl {LOCK_TTL} s")
    [last] = alive.values()
    state = member(etcd.url, prefix=PREFIX)
    until(lambda: state.owned("leaf1") == dict.fromkeys(ports, wanted))
    for port, hook in hooks.items():
        want(hook, link(port))
    until(carried(()))
    until(lambda: state.owned("leaf1") == {})
    assert last.stop() == 0
