# SPDX-License-Identifier: Apache-2.0
"""Three device managers, of which one is killed: processes, the real worker and a real etcd.

How long it takes is printed (``pytest -s``) and not judged.
"""

import contextlib
import itertools
import json
import os
import random
import signal
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from sriov_agent.exceptions import Unavailable
from tests.etcd import member
from tests.fabric import link, want
from tests.fakes.file_switch import FileSwitch
from tools.openstack.processes import Server

pytestmark = pytest.mark.etcd

PATIENCE = 120
SWITCHES = [f"leaf{number}" for number in range(1, 7)]
PORTS = [f"swp{number}" for number in range(1, 11)]
HOSTS = [f"compute{number}" for number in range(1, 21)]
FOREIGN = 999
LOCK_TTL = 3
CHANGES = 8


class Managers:
    """Managers on the same switches, and hosts that want things of them."""

    def __init__(self, etcd, directory, slow=0.2, locks=True):
        self.directory = directory
        self.etcd = etcd
        self.prefix = f"/{uuid.uuid4()}/"
        self.slow, self.locks = slow, locks
        self.switches = {name: FileSwitch(directory, name) for name in SWITCHES}
        for switch in self.switches.values():
            switch.put({port: [FOREIGN] for port in PORTS})
        self.state = member(etcd.url, "test", prefix=self.prefix)
        self.servers = {}

    def start(self, name):
        options = {
            "url": self.etcd.url,
            "prefix": self.prefix,
            "name": name,
            "directory": str(self.directory),
            "switches": SWITCHES,
            "lock_ttl": LOCK_TTL,
            "slow": self.slow,
            "locks": self.locks,
        }
        command = [sys.executable, "-m", "tests.fakes.fabric_manager", json.dumps(options)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        self.servers[name] = Server(command, self.directory / f"{name}.log", environment)

    def signal(self, name, number):
        os.kill(self.servers[name].pid, number)

    def kill(self, name):
        self.signal(name, signal.SIGKILL)
        self.servers.pop(name).end()
        (self.directory / f"{name}.mine").unlink()

    def stop(self):
        for name, server in self.servers.items():
            with contextlib.suppress(ProcessLookupError):
                self.signal(name, signal.SIGCONT)
            server.end()

    def mine(self):
        """Who believes which switches to be its own, of those that live."""
        found = {}
        for name in self.servers:
            with contextlib.suppress(FileNotFoundError):
                found[name] = json.loads((self.directory / f"{name}.mine").read_text())
        return found

    def every_switch_has_one_owner(self):
        return sorted(s for each in self.mine().values() for s in each) == sorted(SWITCHES)

    def journal(self):
        with contextlib.suppress(FileNotFoundError):
            text = (self.directory / "journal").read_text()
            return [json.loads(line) for line in text.splitlines()]
        return []

    def reached(self, step):
        """A manager that is stopped at this step of a transaction, and the switch."""
        while True:
            entry = self._next(step)
            name, switch = entry["by"], entry["switch"]
            self.signal(name, signal.SIGSTOP)
            time.sleep(0.05)
            [*_, last] = (e for e in self.journal() if (e["by"], e["switch"]) == (name, switch))
            if last == entry:
                return name, switch
            self.signal(name, signal.SIGCONT)

    def _next(self, step):
        seen = len(self.journal())
        found = []

        def came():
            found.extend(e for e in self.journal()[seen:] if e["step"] == step)
            return found

        wait_for(came, step, self.log)
        return found[0]

    def carried(self):
        return {
            (name, port): vlans
            for name, switch in self.switches.items()
            for port, vlans in switch.ports().items()
        }

    def owned(self):
        return {
            (name, port): set(vlans)
            for name in SWITCHES
            for port, vlans in self.state.owned(name).items()
        }

    def log(self):
        return "\n".join(path.read_text()[-3000:] for path in self.directory.glob("*.log"))


@pytest.fixture
def managers(etcd, tmp_path):
    with contextlib.ExitStack() as stack:

        def started(**options):
            managers = Managers(etcd, tmp_path, **options)
            stack.callback(managers.stop)
            for name in ("manager1", "manager2", "manager3"):
                managers.start(name)
            wait_for(lambda: len(managers.mine()) == 3 and managers.every_switch_has_one_owner())
            return managers

        yield started


def wait_for(true, what="it", log=lambda: ""):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come\n{log()}"
        time.sleep(0.02)


class Hosts:
    """Hosts that want other VLANs all the time; two of them share each switch port.

    ``wanted`` is what each wants in the end, by switch and port.
    """

    def __init__(self, state, seed):
        self.state = state
        self.random = random.Random(seed)
        self.last = {}

    def live(self, host):
        """One host's life: many changes, each told until it is kept."""
        rng = random.Random(self.random.random())
        for sequence in range(1, CHANGES + 1):
            for number, switch in enumerate(SWITCHES[:3] if len(host) % 2 else SWITCHES[3:]):
                port = PORTS[HOSTS.index(host) // 2]
                vlans = frozenset(rng.sample(range(100, 130), rng.randint(0, 6)))
                at = link(host, f"0000:3b:00.{number}", port=port)
                each = want(*vlans, at=at, sequence=sequence, system_name=switch)
                while not self._told(each):
                    time.sleep(0.1)
                self.last[host, switch, port] = vlans
            time.sleep(rng.uniform(0, 0.8))

    def _told(self, each):
        try:
            return self.state.put_wants([each])
        except Unavailable:
            return False

    def wanted(self):
        found = {}
        for (_, switch, port), vlans in self.last.items():
            found[switch, port] = found.get((switch, port), frozenset()) | vlans
        return found


def settled(managers, hosts):
    """Every VLAN that is wanted is there once, none that is not, and what is foreign stays."""
    wanted = hosts.wanted()
    expected = {at: sorted({FOREIGN} | wanted.get(at, set())) for at in managers.carried()}
    return {at: sorted(vlans) for at, vlans in managers.carried().items()} == expected and (
        managers.owned() == {at: set(vlans) for at, vlans in wanted.items() if vlans}
    )


@pytest.mark.parametrize("moment", ["decided", "committed"])
def test_a_manager_is_killed_in_mid_transaction(managers, moment):
    managers = managers()
    hosts = Hosts(managers.state, seed=moment)
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        lives = [pool.submit(hosts.live, host) for host in HOSTS]
        victim, switch = managers.reached(moment)
        managers.kill(victim)
        killed = time.monotonic()
        before = len(managers.journal())
        wait_for(
            lambda: any(e["switch"] == switch for e in managers.journal()[before:]),
            "the takeover",
            managers.log,
        )
        takeover = time.monotonic() - killed
        for life in lives:
            life.result(PATIENCE)
    wait_for(lambda: settled(managers, hosts), "what is wanted", managers.log)
    wait_for(managers.every_switch_has_one_owner, "one owner", managers.log)
    print(f"\nkilled when {moment}: taken over in {takeover:.1f} s, lock_ttl {LOCK_TTL} s")
    assert all(entry["by"] != victim for entry in managers.journal()[before:])


def test_a_manager_that_slept_while_its_switch_was_given_away_does_not_write(managers):
    managers = managers(slow=0.5, locks=False)
    vlans = itertools.count(100)

    def tell():
        vlan = next(vlans)
        managers.state.put_wants([want(vlan, sequence=vlan, system_name="leaf1")])
        return sorted({FOREIGN, vlan})

    def carried():
        return sorted(managers.switches["leaf1"].ports()["swp1"])

    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(managers.reached, "read")
        while not stopped.done():
            wanted = tell()
            wait([stopped], timeout=10)
    sleeper, _ = stopped.result()
    wait_for(lambda: carried() == wanted, "the takeover", managers.log)
    wanted = tell()
    wait_for(lambda: carried() == wanted, "the change", managers.log)
    managers.signal(sleeper, signal.SIGCONT)
    # It goes on with what it read, and what was wanted then.
    log = managers.directory / f"{sleeper}.log"
    wait_for(lambda: "the one writer no longer" in log.read_text(), "the fence", managers.log)
    wait_for(managers.every_switch_has_one_owner, "one owner", managers.log)
    wanted = tell()
    wait_for(lambda: carried() == wanted, "the change", managers.log)
    ours = {("leaf1", "swp1"): set(wanted) - {FOREIGN}}
    wait_for(lambda: managers.owned() == ours, "what is ours", managers.log)


def test_no_manager_writes_while_etcd_is_away(managers, etcd):
    managers = managers(slow=0.05)
    hosts = Hosts(managers.state, seed="away")
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        lives = [pool.submit(hosts.live, host) for host in HOSTS]
        managers.reached("decided")
        etcd.stop()
        for name in managers.servers:
            managers.signal(name, signal.SIGCONT)
        # What was decided before may still be committed.
        time.sleep(2 * managers.slow + 1)
        before = managers.journal()
        time.sleep(LOCK_TTL + 2)
        assert [e for e in managers.journal()[len(before) :] if e["step"] != "read"] == []
        etcd.start()
        for life in lives:
            life.result(PATIENCE)
    wait_for(lambda: settled(managers, hosts), "what is wanted", managers.log)
    wait_for(managers.every_switch_has_one_owner, "one owner", managers.log)
