# SPDX-License-Identifier: Apache-2.0
"""The device manager beside ncclient alone, on the same NETCONF server in the same run.

The server is the one of the tests (``tests/switches``): netconfd behind an sshd, on loopback.
Both go the same way to it, and both keep their connection.
"""

import contextlib
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from lxml import etree
from ncclient import manager
from oslo_config import cfg

from sriov_agent import conf as agent_options
from sriov_agent.conf import device_manager as options
from sriov_agent.core.model import LldpId, Segment, SwitchPort
from sriov_agent.exceptions import Pending
from sriov_agent.fabric.model import Change, Changes, Ports
from sriov_agent.fabric.service import DeviceManager
from sriov_agent.hook.loader import load
from tests.switches.netconfd import JunosRig, OpenConfigRig
from tools.bench.report import Measured
from tools.openstack.broker import Broker

FLOOR = 999
VLANS = frozenset(range(1000, 1200))
HOSTS = 100
PAIRS = 9
PATIENCE = 120.0


def measure(names: Sequence[str]) -> dict[str, Measured]:
    """What was measured of these metrics."""
    kind = JunosRig if OpenConfigRig.excuse() else OpenConfigRig
    found = {name: Measured(notes=[f"driver {kind.driver}"]) for name in names}
    with tempfile.TemporaryDirectory(prefix="fabric-") as directory:
        rig = kind(_made(directory, "switch"))
        try:
            rig.start()
            if "fabric_200_vlans" in found:
                _vlans(rig, found["fabric_200_vlans"])
            if {"fabric_transactions_per_switch", "fabric_event_to_seen"} & found.keys():
                with _running(rig, Path(directory)) as broker:
                    if "fabric_transactions_per_switch" in found:
                        _bursts(rig, broker, found["fabric_transactions_per_switch"])
                    if "fabric_event_to_seen" in found:
                        _events(rig, broker, found["fabric_event_to_seen"])
        finally:
            rig.close()
    return found


def _vlans(rig: Any, found: Measured) -> None:
    """200 VLANs on one port: the driver's whole transaction, and one bare edit and commit."""
    port = rig.trunks[0]
    rig.put(port, [(FLOOR, FLOOR)])
    switch = rig.load()
    with _ncclient(rig) as bare:
        for _ in range(PAIRS):
            for add, remove in ((VLANS, frozenset[int]()), (frozenset[int](), VLANS)):
                changes = {port: Change(add=add, remove=remove)}
                seconds = _seconds(partial(switch.apply, [port], partial(_decided, changes)))
                found.ours += [seconds] if add else []
            rig.put(port, [(FLOOR, FLOOR)])
            edit = rig.trunk(port, [(FLOOR, FLOOR), *((vlan, vlan) for vlan in sorted(VLANS))])
            found.peer.append(_seconds(partial(_transaction, bare, edit)))
            rig.put(port, [(FLOOR, FLOOR)])
    switch.close()


def _bursts(rig: Any, broker: Broker, found: Measured) -> None:
    """100 hosts that want a VLAN each at the same time, over the broker."""
    rig.put(rig.trunks[0], [(FLOOR, FLOOR)])
    hooks = [_hook(broker, f"compute{number}") for number in range(8)]
    for burst in range(3):
        before = rig.writes()
        vlans = range(2000 + burst * HOSTS, 2000 + (burst + 1) * HOSTS)
        queue = iter(enumerate(vlans))
        lock = threading.Lock()

        def ask(hook: Any, queue: Any = queue, lock: Any = lock, burst: int = burst) -> None:
            while True:
                with lock:
                    each = next(queue, None)
                if each is None:
                    return
                hook.host = f"burst{burst}-{each[0]}"
                _apply(hook, _link(rig), each[1])

        with ThreadPoolExecutor(len(hooks)) as pool:
            list(pool.map(ask, hooks))
        _until(partial(_carries, rig, frozenset(vlans)))
        found.ours.append(rig.writes() - before)
        found.peer.append(1)
    for hook in hooks:
        hook.stop()


def _events(rig: Any, broker: Broker, found: Measured) -> None:
    """From a host that wants a VLAN until it hears that this was seen; one bare transaction."""
    told = threading.Event()
    hook = _hook(broker, "compute-events")
    hook.start(lambda link: told.set())
    port = rig.trunks[1]
    rig.put(port, [(FLOOR, FLOOR)])
    _until(lambda: broker.consumers("sriov-agent-fabric.compute-events"))
    wanted: set[int] = set()
    link = _link(rig, port)
    with _ncclient(rig) as bare:
        for number in itertools.count():
            vlan = 3000 + number
            wanted.add(vlan)
            told.clear()
            seconds = _seconds(lambda: _opened(hook, link, wanted, told))
            edit = rig.trunk(port, [(FLOOR, FLOOR), *((v, v) for v in sorted(wanted))])
            other = _seconds(partial(_transaction, bare, edit))
            if number:
                found.ours.append(seconds)
                found.peer.append(other)
            if len(found.ours) == PAIRS:
                break
    hook.stop()


def _opened(hook: Any, link: SwitchPort, vlans: set[int], told: threading.Event) -> None:
    segments = frozenset(map(Segment, vlans))
    while True:
        with contextlib.suppress(Pending):
            if hook.apply(link, {link: segments}) == segments:
                return
        if not told.wait(PATIENCE):
            raise RuntimeError("the hook was not told that the VLAN is open")
        told.clear()


def _decided(changes: Changes, seen: Ports) -> Changes:
    return changes


def _carries(rig: Any, vlans: frozenset[int]) -> bool:
    return bool(vlans <= rig.get(rig.trunks[0]))


def _apply(hook: Any, link: SwitchPort, vlan: int) -> None:
    with contextlib.suppress(Pending):
        hook.apply(link, {link: frozenset({Segment(vlan)})})


@contextlib.contextmanager
def _running(rig: Any, directory: Path) -> Iterator[Broker]:
    """A broker, and the device manager on it, as their configuration has it."""
    broker = Broker(_made(str(directory), "broker"))
    login = rig.login()
    path = directory / "manager.conf"
    path.write_text(
        f"[DEFAULT]\ntransport_url = {broker.url}\n"
        f"[device_manager]\nswitches = leaf1\nstate_path = {directory}\n"
        f"[switch:leaf1]\ndriver = {rig.driver}\naddress = {login.address}\nport = {login.port}\n"
        f"username = {login.username}\nkey_file = {login.key_file}\nhost_key = {login.host_key}\n"
        f"floor_vlan = {FLOOR}\n"
    )
    conf = options.register(cfg.ConfigOpts())
    conf([f"--config-file={path}"])
    broker.start()
    try:
        device_manager = DeviceManager(conf)
        thread = threading.Thread(target=device_manager.run)
        thread.start()
        try:
            _until(lambda: broker.consumers("sriov-device-manager"))
            yield broker
        finally:
            device_manager.stop()
            thread.join()
    finally:
        broker.close()


def _hook(broker: Broker, host: str) -> Any:
    conf = agent_options.register(cfg.ConfigOpts())
    conf([])
    for name, value, group in (
        ("host", host, None),
        ("hook", "rpc", "fabric"),
        ("transport_url", broker.url, "hook_rpc"),
    ):
        conf.set_override(name, value, group=group)
    return load(conf)


def _link(rig: Any, port: str = "") -> SwitchPort:
    name = port or rig.trunks[0]
    return SwitchPort(
        pf="0000:3b:00.0",
        chassis_id=LldpId("mac", "52:54:00:bb:00:01"),
        port_id=LldpId("ifname", name),
        system_name="leaf1",
        port_description=name,
    )


@contextlib.contextmanager
def _ncclient(rig: Any) -> Iterator[Any]:
    login = rig.login()
    with manager.connect_ssh(
        host=login.address,
        port=login.port,
        username=login.username,
        key_filename=str(login.key_file),
        hostkey_verify=False,
        allow_agent=False,
        look_for_keys=False,
    ) as session:
        yield session


def _transaction(session: Any, edit: etree._Element) -> None:
    """What the least is that has it on the switch."""
    config = etree.Element("{urn:ietf:params:xml:ns:netconf:base:1.0}config")
    config.append(edit)
    session.edit_config(config, target="candidate")
    session.commit()


def _made(directory: str, name: str) -> Path:
    path = Path(directory, name)
    path.mkdir()
    return path


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _until(check: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not check():
        if time.monotonic() > deadline:
            raise RuntimeError("it did not come to pass")
        time.sleep(0.05)
