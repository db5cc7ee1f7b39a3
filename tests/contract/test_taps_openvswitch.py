# SPDX-License-Identifier: Apache-2.0
"""Host taps and mirrors on a real Open vSwitch in userspace, in a network namespace of its own."""

import itertools
import json
import os
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, closing, suppress

import pytest
from pyroute2 import netns

from sriov_agent.host.bridge import KernelTaps
from sriov_agent.host.openvswitch import OpenVswitch
from sriov_agent.sources.ports import Ports
from sriov_agent.sources.taps import TapRegistry
from sriov_agent.store import Store
from sriov_agent.taps import TapReconciler
from tests.ctl import run
from tests.frames import PATIENCE, Leg
from tests.switches import openvswitch
from tests.topology import port_id
from tests.unit import test_service

pytestmark = pytest.mark.switch

BRIDGE = "br-host"


class Host:
    """A host whose Open vSwitch has a bridge."""

    def __init__(self, directory, ovs):
        self.directory, self.ovs = directory, ovs
        self.numbers = iter(range(1, 100))
        self.start()

    def start(self):
        ports = Ports(self.directory / "ports.db")
        self.registry, self.store = TapRegistry(ports), Store(self.directory / "agent.db")
        self.agent = TapReconciler(
            source=self.registry,
            kernel=KernelTaps(),
            openvswitch=OpenVswitch(self.ovs.socket, timeout=60.0),
            record=self.store,
        )

    def create(self, vlan, **given):
        return self.registry.create(port_id(next(self.numbers)), BRIDGE, vlan, **given)

    def mirror(self, source, tap):
        mirror_id = port_id(next(self.numbers))
        self.registry.create_mirror(mirror_id, "watch", source=source, tap=tap)

    def delete_all(self):
        wanted = self.registry.taps()
        self.registry.change(lambda _: type(wanted)())
        assert self.agent.reconcile() == []


@pytest.fixture(scope="module")
def ovs(tmp_path_factory):
    if why := openvswitch.missing():
        pytest.skip(why)
    name = f"taps-{os.getpid()}"
    try:
        netns.pushns(name)
    except OSError as error:
        pytest.skip(f"no network namespace can be made here: {error}")
    with ExitStack() as stack:
        stack.callback(netns.remove, name)
        stack.callback(netns.popns)
        found = stack.enter_context(
            closing(openvswitch.OpenVswitch(tmp_path_factory.mktemp("ovs")))
        )
        found.start()
        found.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev")
        yield found


@pytest.fixture
def host(ovs, tmp_path):
    before = ovs.vsctl("list-ports", BRIDGE), ovs.vsctl("list", "mirror"), interfaces()
    made = Host(tmp_path, ovs)
    yield made
    made.delete_all()
    assert made.store.taps() == []
    assert (ovs.vsctl("list-ports", BRIDGE), ovs.vsctl("list", "mirror"), interfaces()) == before


def interfaces():
    netdevs, _ = KernelTaps().look()
    return frozenset(netdevs)


@pytest.fixture
def legs():
    with ExitStack() as stack:
        yield lambda tap: stack.enter_context(closing(Leg(tap.name)))


def test_taps_of_a_vlan_reach_each_other_and_nobody_else(host, legs):
    first, second = host.create("DMZ", addresses=["10.77.0.1/24"]), host.create("DMZ")
    other, another = host.create("CORE"), host.create("CORE")
    assert host.agent.reconcile() == []
    a, b, c, d = map(legs, (first, second, other, another))
    a.send("in DMZ")
    assert b.until("in DMZ") == ["in DMZ"]
    d.send("in CORE")
    assert c.until("in CORE") == ["in CORE"]
    c.send("in CORE too")
    a.send("last")
    assert b.until("last") == ["last"]
    netdevs, _ = KernelTaps().look()
    assert "10.77.0.1/24" in netdevs[first.name].addresses


def test_what_passes_a_port_is_seen_on_the_tap_in_both_directions(host, legs):
    first, second = host.create(101), host.create(101)
    watching, marking = host.create(102), host.create(102)
    assert host.agent.reconcile() == []
    a, b, w = map(legs, (first, second, watching))
    host.mirror(first.name, watching.name)
    assert host.agent.reconcile() == []
    a.send("out", to=b.mac)
    assert b.until("out") == ["out"]
    b.send("in", to=a.mac)
    assert a.until("in") == ["in"]
    assert w.until("in") == ["out", "in"]
    host.registry.change(lambda wanted: wanted.without_mirror("watch"))
    assert host.agent.reconcile() == []
    m = legs(marking)
    wait_until(lambda text: unseen(text, a, b, w, m))


def wait_until(happens):
    """Flows that ovs-vswitchd has in its cache are as before until it has looked at them again."""
    deadline = time.monotonic() + PATIENCE
    for number in itertools.count():
        if happens(f"try {number}"):
            return
        assert time.monotonic() < deadline


def unseen(text, a, b, watching, marking):
    """Whether what ``a`` sends to ``b`` arrives there, and not at the tap, unlike what is sent
    to that after it.
    """
    a.send(text, to=b.mac)
    assert b.until(text)[-1] == text
    marking.send(f"after {text}")
    with suppress(TimeoutError):
        return text not in watching.until(f"after {text}", patience=1.0)
    return False


def test_a_port_of_somebody_else_is_left(host, ovs):
    ovs.vsctl("add-port", BRIDGE, "theirs", "--", "set", "interface", "theirs", "type=internal")
    try:
        host.create(101, name="theirs")
        (why,) = host.agent.reconcile()
        assert "no tap of ours: it is left" in why
        assert ovs.vsctl("get", "port", "theirs", "tag") == "[]"
    finally:
        host.delete_all()
        assert "theirs" in ovs.vsctl("list-ports", BRIDGE)
        ovs.vsctl("del-port", "theirs")


def test_what_others_changed_or_removed_is_made_good(host, ovs):
    tap = host.create(101, addresses=["10.77.0.1/24", "2001:db8::1/64"])
    watching = host.create(102)
    host.mirror(tap.name, watching.name)
    assert host.agent.reconcile() == []
    ovs.vsctl("set", "port", tap.name, "tag=7", "vlan_mode=native-untagged")
    subprocess.run(["ip", "addr", "flush", "dev", tap.name], check=True)
    ovs.vsctl("clear", "bridge", BRIDGE, "mirrors")
    host.start()
    assert host.agent.reconcile() == []
    assert ovs.vsctl("get", "port", tap.name, "tag") == "101"
    ovs.vsctl("del-port", tap.name)
    assert host.agent.reconcile() == []
    assert ovs.vsctl("get", "port", tap.name, "tag") == "101"
    netdevs, _ = KernelTaps().look()
    assert {"10.77.0.1/24", "2001:db8::1/64"} <= netdevs[tap.name].addresses
    assert {each.state for each in host.store.taps()} == {"met"}


def test_what_open_vswitch_takes_its_time_for_is_waited_for(host, ovs):
    apply = host.agent.openvswitch.apply

    def slowly(action):
        ovs.signal("ovs-vswitchd", signal.SIGSTOP)
        threading.Timer(0.5, ovs.signal, ["ovs-vswitchd", signal.SIGCONT]).start()
        apply(action)

    host.agent.openvswitch.apply = slowly
    host.create(101)
    assert host.agent.reconcile() == []
    host.registry.change(lambda wanted: wanted.without_tap("tap101"))
    assert host.agent.reconcile() == []
    assert "tap101" not in interfaces()


def test_a_database_that_does_not_answer_is_unknown_and_not_empty(host, ovs):
    host.create(101)
    assert host.agent.reconcile() == []
    host.registry.change(lambda wanted: wanted.without_tap("tap101"))
    ovs.stop("ovsdb-server")
    try:
        (why,) = host.agent.reconcile()
        assert why.startswith("tap tap101: Open vSwitch does not answer: ")
        assert [each.state for each in host.store.taps()] == ["releasing"]
    finally:
        ovs.socket.unlink(missing_ok=True)
        ovs.start_database()
    assert host.agent.reconcile() == []
    assert "tap101" not in interfaces()


def test_a_bridge_that_is_gone_in_the_meantime_makes_nothing(host, ovs):
    host.registry.create(port_id(90), "br-none", 101)
    (why,) = host.agent.reconcile()
    assert why == ("tap tap101: bridge 'br-none': neither the kernel nor Open vSwitch has it")
    assert "tap101" not in ovs.vsctl("list-ports", BRIDGE)


def test_sriovctl_asks_and_the_agent_makes_it_now_and_after_a_restart(ovs, tmp_path):
    service = test_service.Host(
        tmp_path,
        f"[local]\nbridge = {BRIDGE}\novsdb_socket = {ovs.socket}\n"
        "[sriov_nic]\nphysical_device_mappings = physnet2:no-such-pf\n",
    )

    def sriovctl(*command):
        status, out, error = run("--config-file", str(tmp_path / "sriov-agent.conf"), *command)
        assert status == 0, error
        return out

    before = interfaces()
    with service.agent():
        made = json.loads(
            sriovctl("tap", "create", "DMZ", "--ip", "10.77.0.9/24", "--wait", "60", "-f", "json")
        )
        assert (made["name"], made["state"]) == ("tap101", "met")
        assert ovs.vsctl("get", "port", "tap101", "tag") == "101"
        sriovctl("tap", "create", "CORE", "--wait", "60")
        sriovctl("mirror", "create", "w", "--source", "tap101", "--tap", "tap102", "--wait", "60")
        assert '"sriov-agent-mirror"' in ovs.vsctl("-f", "json", "list", "mirror")
    assert interfaces() - before == {"tap101", "tap102"}, "a stop takes nothing"
    ovs.vsctl("del-port", "tap101")
    with service.agent():
        wait_until(lambda _: "tap101" in interfaces())
        sriovctl("mirror", "delete", "w", "--wait", "60")
        sriovctl("tap", "delete", "tap101", "tap102", "--wait", "60")
        sriovctl("vlan", "delete", "DMZ", "CORE")
    assert interfaces() == before
