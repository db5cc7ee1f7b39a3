# SPDX-License-Identifier: Apache-2.0
"""What every driver of the device-manager hook does, over a fake device manager."""

import itertools
import sys

import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.core.link import as_json
from sriov_agent.core.model import LldpId, SwitchPort
from sriov_agent.exceptions import ConfigError, Refused
from sriov_agent.hook.loader import load
from tests.fakes import device_manager
from tests.topology import carried

HOST = "compute1"
PF = "0000:3b:00.0"
OTHER_PF = "0000:3b:00.1"
LEAF1 = ("mac", "52:54:00:bb:00:01")
LEAF2 = ("mac", "52:54:00:bb:00:02")
SWP1 = ("ifname", "swp1")
SWP2 = ("ifname", "swp2")
HOSTILE = {
    "quotes": "leaf\"1' \\",
    "newlines": "leaf1\r\nvlans: 1-4094\n",
    "escape": "\x1b]0;owned\x07\x1b[2J",
    "separator": "leaf1\x1fswp1\x00",
    "markup": "<b>leaf1</b>&amp;<!--",
    "shell": "$(touch owned); `touch owned` | true",
    "non-ASCII": "bl\u00e4tter\u202e\U0001f33f",
    "JSON": '"}, "vlans": [1], "x": {"',
}


def switch_port(pf=PF, chassis_id=LEAF1, port_id=SWP1, name="leaf1", description="swp1"):
    return SwitchPort(
        pf=pf,
        chassis_id=LldpId(*chassis_id),
        port_id=LldpId(*port_id),
        system_name=name,
        port_description=description,
    )


def configured(directory, text):
    """The agent's configuration, from a file as an operator writes it."""
    path = directory / "sriov-agent.conf"
    path.write_text(f"[DEFAULT]\nhost = {HOST}\n{text}")
    conf = options.register(cfg.ConfigOpts())
    conf([f"--config-file={path}"])
    return conf


class Rig:
    """A driver as the agent loads it, and the device manager behind it."""

    def __init__(self, conf, manager):
        self.conf = conf
        self.manager = manager
        self.hook = load(conf)

    def apply(self, link, segments):
        return self.hook.apply(link, {link: segments})

    def requests(self):
        return self.manager.state()["requests"]


@pytest.fixture(params=["exec", "webhook"])
def rig(request, tmp_path):
    kind = request.param
    ports = {SWP1: [], SWP2: [100]}
    hostile = {("local", text): {("local", text): []} for text in HOSTILE.values()}
    switches = {LEAF1: ports, LEAF2: ports, **hostile}
    manager = device_manager.DeviceManager.create(
        tmp_path / "switches.json", switches, vlans={*range(1, 200), 4094}
    )
    if kind == "exec":
        command = f"{sys.executable},{device_manager.__file__},{manager.path}"
        text = f"[fabric]\nhook = exec\n[hook_exec]\ncommand = {command}\n"
        yield Rig(configured(tmp_path, text), manager)
    else:
        with device_manager.Service.of(manager) as service:
            text = f"[fabric]\nhook = webhook\n[hook_webhook]\nurl = {service.url}\n"
            yield Rig(configured(tmp_path, text), manager)


def test_noop_asks_nobody_and_knows_nothing(tmp_path):
    hook = load(configured(tmp_path, "[fabric]\nhook = noop\n"))
    assert hook.read([switch_port()]) == {}
    with pytest.raises(Refused, match="noop opens nothing"):
        hook.apply(switch_port(), {switch_port(): carried(15)})
    assert not hook.required


def test_ports_wait_for_who_is_asked(rig):
    assert rig.hook.required


def test_apply_says_what_is_open_and_read_sees_it(rig):
    port = switch_port()
    assert rig.apply(port, carried(15, 4094)) == carried(15, 4094)
    assert rig.hook.read([port]) == {port: carried(15, 4094)}


def test_nothing_is_open_where_nothing_was_asked(rig):
    port = switch_port()
    assert rig.hook.read([port]) == {port: carried()}


def test_nothing_read_is_nothing_asked(rig):
    assert rig.hook.read([]) == {}
    assert rig.requests() == []


def test_apply_is_the_whole_set(rig):
    port = switch_port()
    rig.apply(port, carried(15, 16))
    assert rig.apply(port, carried(16, 17)) == carried(16, 17)
    assert rig.hook.read([port]) == {port: carried(16, 17)}
    assert rig.apply(port, carried(17)) == carried(17)
    assert rig.hook.read([port]) == {port: carried(17)}


def test_the_empty_set_closes_all(rig):
    port = switch_port()
    rig.apply(port, carried(15, 16))
    assert rig.apply(port, carried()) == carried()
    assert rig.hook.read([port]) == {port: carried()}


def test_apply_twice_is_apply_once(rig):
    port = switch_port()
    assert rig.apply(port, carried(15)) == rig.apply(port, carried(15)) == carried(15)
    assert rig.hook.read([port]) == {port: carried(15)}


def test_switch_ports_are_kept_apart(rig):
    wanted = {
        switch_port(): carried(15),
        switch_port(port_id=SWP2): carried(15, 16),
        switch_port(chassis_id=LEAF2): carried(17),
        switch_port(pf=OTHER_PF): carried(18),
    }
    for port, numbers in wanted.items():
        rig.apply(port, numbers)
    assert rig.hook.read(wanted) == wanted
    rig.apply(switch_port(), carried())
    assert rig.hook.read(wanted) == wanted | {switch_port(): carried()}


def test_a_switch_that_changed_its_name_is_the_same(rig):
    rig.apply(switch_port(name="leaf1"), carried(15))
    renamed = switch_port(name="leaf1.example", description="to compute1")
    assert rig.hook.read([renamed]) == {renamed: carried(15)}


def test_read_takes_any_iterable(rig):
    port = switch_port()
    rig.apply(port, carried(15))
    assert rig.hook.read(iter([port])) == {port: carried(15)}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_lldp_said_arrives_unharmed(rig, text):
    port = switch_port(
        chassis_id=("local", text), port_id=("local", text), name=text, description=text
    )
    assert rig.apply(port, carried(15)) == carried(15)
    assert rig.hook.read([port]) == {port: carried(15)}
    applied, read = rig.requests()
    assert applied["link"] == read["links"][0] == as_json(port)
    assert applied["link"]["switch"]["name"] == text


def test_others_on_the_switch_port_keep_what_they_have(rig):
    before, shared = switch_port(port_id=SWP2), switch_port(pf=OTHER_PF, port_id=SWP2)
    rig.apply(before, carried(15))
    rig.apply(shared, carried(15, 16))
    rig.apply(before, carried())
    assert rig.manager.open_vlans(LEAF1, SWP2) == [15, 16, 100]
    rig.apply(shared, carried())
    assert rig.manager.open_vlans(LEAF1, SWP2) == [100]


def test_a_request_is_as_documented(rig):
    rig.apply(switch_port(), carried(16, 15))
    (request,) = rig.requests()
    assert isinstance(request.pop("epoch"), int)
    assert request == {
        "version": 1,
        "op": "apply",
        "host": HOST,
        "sequence": 1,
        "link": {
            "pf": PF,
            "switch": {
                "chassis_id": {"subtype": "mac", "value": "52:54:00:bb:00:01"},
                "name": "leaf1",
            },
            "port": {"id": {"subtype": "ifname", "value": "swp1"}, "description": "swp1"},
        },
        "vlans": [15, 16],
    }


def test_the_sequence_grows_within_one_epoch(rig):
    rig.apply(switch_port(), carried(15))
    rig.hook.read([switch_port()])
    with pytest.raises(Refused):
        rig.apply(switch_port(), carried(3999))
    rig.apply(switch_port(), carried())
    sequence = [request["sequence"] for request in rig.requests()]
    assert all(one < other for one, other in itertools.pairwise(sequence))
    (epoch,) = {request["epoch"] for request in rig.requests()}
    assert epoch > 0


def test_read_changes_nothing(rig):
    rig.apply(switch_port(), carried(15))
    before = rig.manager.state()
    rig.hook.read([switch_port(), switch_port(port_id=SWP2)])
    after = rig.manager.state()
    assert (after["wants"], after["switches"]) == (before["wants"], before["switches"])


@pytest.mark.parametrize(
    ("port", "numbers", "reason"),
    [
        (switch_port(chassis_id=("mac", "52:54:00:bb:00:99")), carried(15), "no such switch"),
        (switch_port(port_id=("ifname", "swp99")), carried(15), "no such port"),
        (switch_port(), carried(15, 3999), "no VLAN 3999"),
    ],
    ids=["switch", "port", "VLAN"],
)
def test_what_the_device_manager_does_not_know_is_refused_with_its_reason(
    rig, port, numbers, reason
):
    rig.apply(switch_port(), carried(16))
    with pytest.raises(Refused, match=reason):
        rig.apply(port, numbers)
    assert rig.hook.read([switch_port()]) == {switch_port(): carried(16)}


def test_a_link_that_cannot_be_told_is_absent(rig):
    unknown = switch_port(port_id=("ifname", "swp99"))
    assert rig.hook.read([switch_port(), unknown]) == {switch_port(): carried()}
    assert rig.hook.read([unknown]) == {}


@pytest.mark.parametrize("name", ["", "nosuch", "Noop"])
def test_an_unknown_driver_is_the_operators_to_mend(tmp_path, name):
    conf = configured(tmp_path, f"[fabric]\nhook = {name}\n")
    with pytest.raises(ConfigError, match=r"\[fabric\] hook.*'" + name + "'"):
        load(conf)
