# SPDX-License-Identifier: Apache-2.0
"""The hook ``rpc`` and the device manager, each with its end of a real RabbitMQ."""

import contextlib
import shlex
import threading
from pathlib import Path

import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent import messaging
from sriov_agent.core.link import as_json
from sriov_agent.core.model import LldpId, Segment, SwitchPort
from sriov_agent.core.signature import host_key
from sriov_agent.counters import Counters
from sriov_agent.exceptions import ConfigError, Pending, Refused, Unavailable
from sriov_agent.fabric.inventory import Rules
from sriov_agent.fabric.requests import Requests, switch_port
from sriov_agent.fabric.rpc import Server
from sriov_agent.fabric.state.sqlite import Sqlite
from sriov_agent.fabric.wants import wanted
from sriov_agent.fabric.worker import Policy, Worker
from sriov_agent.hook.background import Background
from sriov_agent.hook.loader import load
from sriov_agent.messaging import MANAGER_TOPIC as TOPIC
from tests.fakes.managed_switch import ManagedSwitch
from tests.topology import carried
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.rabbitmq

ROOT = Path(__file__).parents[2]
HOST = "compute1"
SECRET = b"of the managers alone"
#: Hooks that were made in a test.
MADE = []


def link(port="swp1", pf="0000:3b:00.0", name="leaf1"):
    return SwitchPort(
        pf=pf,
        chassis_id=LldpId("mac", "52:54:00:bb:00:01"),
        port_id=LldpId("ifname", port),
        system_name=name,
        port_description=port,
    )


class Manager:
    """A device manager over a switch in memory."""

    def __init__(self, broker, directory, secret=b"", url="", **policy):
        self.switch = ManagedSwitch({"swp1": [999], "swp2": [999]})
        self.rules = {
            "leaf1": Rules(
                name="leaf1", names=frozenset({"leaf1"}), protected_vlans=frozenset({13})
            )
        }
        self.state = Sqlite(directory / "manager.db")
        self.worker = Worker(
            self.switch,
            self.rules["leaf1"],
            self.state,
            Policy(retry_min=0.1, **policy),
            lambda: wanted(self.state.wants(), self.rules, None),
            self._told,
        )
        self.requests = Requests(
            self.state, self.rules, None, secret, lambda names: self.worker.wake(), Counters()
        )
        path = directory / "manager.conf"
        path.write_text(f"[DEFAULT]\ntransport_url = {url or broker.url}\n")
        conf = cfg.ConfigOpts()
        conf([f"--config-file={path}"])
        self.server = Server(messaging.transport(conf), "controller1", self.requests.answer)

    def _told(self, links):
        wants = {want.link: want for want in self.state.wants()}
        for each in links:
            self.server.tell(each.host, [switch_port(wants[each])])

    def __enter__(self):
        self.worker.start()
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop()
        self.worker.stop()


def hook(broker, directory, host=HOST, more="", url=""):
    directory.mkdir(exist_ok=True)
    path = directory / f"{host}.conf"
    path.write_text(
        f"[DEFAULT]\nhost = {host}\n[fabric]\nhook = rpc\n"
        f"[hook_rpc]\ntransport_url = {url or broker.url}\ntimeout = 20\n{more}"
    )
    conf = options.register(cfg.ConfigOpts())
    conf([f"--config-file={path}"])
    MADE.append(load(conf))
    return MADE[-1]


@pytest.fixture(autouse=True)
def made():
    """Hooks that a test makes let go of the broker at its end."""
    yield
    while MADE:
        MADE.pop().stop()


@pytest.fixture
def manager(broker, tmp_path):
    with Manager(broker, tmp_path, remove_grace=0.2) as manager:
        until(lambda: broker.consumers(TOPIC))
        yield manager


class Agent:
    """The reconciler's side: asks in the background, and is woken."""

    def __init__(self, hook):
        self.woken = threading.Semaphore(0)
        self.fabric = Background(hook, lambda pf: self.woken.release())
        self.fabric.start()

    def open(self, at, *vlans):
        """Pass after pass, each when it is woken, until that is what is open."""
        segments = carried(*vlans)
        while self.fabric.read([at], again=False)[0].get(at) != segments:
            try:
                self.fabric.apply(at, {at: segments})
            except Pending:
                assert self.woken.acquire(timeout=PATIENCE)


@pytest.fixture
def agent(broker, manager, tmp_path):
    agent = Agent(hook(broker, tmp_path))
    yield agent
    agent.fabric.stop()


def test_what_an_agent_wants_is_opened_and_it_is_told(manager, agent):
    agent.open(link(), 100, 200)
    assert manager.switch.vlans("swp1") == {100, 200, 999}
    agent.open(link(), 200)
    until(lambda: manager.switch.vlans("swp1") == {200, 999})
    agent.open(link())
    until(lambda: manager.switch.vlans("swp1") == {999})


def test_why_a_vlan_is_not_opened_is_told_and_the_others_are_open(manager, agent):
    with pytest.raises(Refused, match="VLAN 13 is among protected_vlans of switch leaf1"):
        agent.open(link(), 13, 100)
    until(lambda: agent.fabric.read([link()], again=True)[0].get(link()) == carried(100))
    assert manager.switch.vlans("swp1") == {100, 999}


def test_a_switch_that_nobody_knows_is_a_refusal_with_its_name(agent):
    with pytest.raises(Refused, match="no switch is configured that LLDP calls 'leaf9'"):
        agent.open(link(name="leaf9"), 100)


def test_a_switch_that_is_down_is_unknown_with_the_reason_until_it_is_back(manager, agent):
    manager.switch.down = True
    with pytest.raises(Refused, match="no answer"):
        agent.open(link(), 100)
    until(lambda: "no answer" in agent.fabric.read([link()], again=True)[1].get(link(), ""))
    manager.switch.down = False
    until(lambda: agent.fabric.read([link()], again=False)[0].get(link()) == carried(100))


def test_an_agent_that_lost_its_record_is_told_what_it_left(broker, manager, agent, tmp_path):
    agent.open(link(), 100)
    assert hook(broker, tmp_path, host="compute2").owned() == []
    assert hook(broker, tmp_path).owned() == [link()]


def test_what_is_older_is_dropped(broker, manager, tmp_path):
    late, early = hook(broker, tmp_path), hook(broker, tmp_path)
    early._epoch = late._epoch
    with contextlib.suppress(Pending):
        late.apply(link(), {link(): carried(100)})
        late.apply(link(), {link(): carried(100, 200)})
    request = {**early._request("apply", link=as_json(link()), vlans=[]), "sequence": 0}
    answer = manager.requests.answer(request)
    assert "older than" in answer["error"]
    (want,) = manager.state.wants()
    assert want.vlans


def test_a_host_whose_clock_was_set_back_is_heard(broker, manager, tmp_path):
    before = hook(broker, tmp_path)
    with contextlib.suppress(Pending):
        before.apply(link(), {link(): carried(100)})
    after = hook(broker, tmp_path)
    after._epoch = 5
    with contextlib.suppress(Pending):
        after.apply(link(), {link(): carried(200)})
    (want,) = manager.state.wants()
    assert want.vlans == {200}


def test_a_manager_that_lost_its_state_is_told_again(broker, manager, agent, tmp_path):
    agent.open(link(), 100)
    manager.state.drop_wants(manager.state.wants())
    agent.fabric.read([link()], again=True)
    until(lambda: agent.fabric.read([link()], again=False)[0].get(link()) == carried())
    agent.open(link(), 100)


def test_nobody_there_is_unavailable(broker, tmp_path):
    alone = hook(broker, tmp_path)
    alone._client = alone._client.prepare(timeout=0.5)
    with pytest.raises(Unavailable, match="sriov-device-manager did not answer on"):
        alone.read([link()])


@pytest.fixture(scope="module")
def urls(broker):
    """The broker's, by user, once both are made as the documentation has it."""
    for command in commands("rabbitmqctl"):
        broker.control(*command)
    host = broker.url.partition("@")[2].rstrip("/")
    return {
        user: f"rabbit://{user}:SECRET@{host}/sriov"
        for user in ("sriov-agent", "sriov-device-manager")
    }


class TestUsersOfTheirOwn:
    """As the documentation has them: agents cannot take the manager's place."""

    def test_are_enough_for_both(self, broker, urls, tmp_path):
        with Manager(broker, tmp_path, url=urls["sriov-device-manager"]):
            agent = Agent(hook(broker, tmp_path, url=urls["sriov-agent"]))
            until(lambda: opened(agent))
            agent.fabric.stop()

    def test_keep_an_agent_from_being_a_manager(self, broker, urls, tmp_path, caplog):
        with Manager(broker, tmp_path, url=urls["sriov-agent"]) as manager:
            until(lambda: "access to" in caplog.text)
            assert not manager.server.listener.listening.is_set()


def opened(agent):
    with contextlib.suppress(Unavailable):
        agent.open(link(), 100)
        return True


def commands(program):
    """The commands that the page of the device manager gives for a program."""
    page = (ROOT / "doc/source/device-manager.rst").read_text().replace("\\\n", " ")
    lines = [line.split("#")[0] for line in page.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.strip().startswith(f"{program} ")]


class TestSigned:
    @pytest.fixture
    def manager(self, broker, tmp_path):
        with Manager(broker, tmp_path, secret=SECRET) as manager:
            until(lambda: broker.consumers(TOPIC))
            yield manager

    def key(self, directory, host, mode=0o600):
        path = directory / f"{host}.key"
        path.write_text(host_key(SECRET, host) + "\n")
        path.chmod(mode)
        return f"key_file = {path}\n"

    def test_a_host_with_its_key_is_heard(self, broker, manager, tmp_path):
        signed = hook(broker, tmp_path, more=self.key(tmp_path, HOST))
        assert signed.read([link()]) == {link(): carried()}
        agent = Agent(signed)
        agent.open(link(), 100)
        agent.fabric.stop()

    @pytest.mark.parametrize("with_key_of", ["", "compute2"])
    def test_a_host_that_says_it_is_another_is_not(self, broker, manager, tmp_path, with_key_of):
        more = self.key(tmp_path, with_key_of) if with_key_of else ""
        liar = hook(broker, tmp_path, more=more)
        with pytest.raises(Refused, match="not signed with the key of host compute1"):
            liar.apply(link(), {link(): frozenset({Segment(100)})})
        assert manager.state.wants() == []

    def test_a_key_that_others_can_read_is_none(self, broker, manager, tmp_path):
        with pytest.raises(ConfigError, match="chmod 600"):
            hook(broker, tmp_path, more=self.key(tmp_path, HOST, 0o644))
