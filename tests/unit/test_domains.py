# SPDX-License-Identifier: Apache-2.0
"""Domains, on the libvirt that libvirt itself brings for tests: it runs in this process."""

import queue
import socket
import threading

import pytest

from sriov_agent.core.guests import Held, Reserved
from sriov_agent.core.state import Interface
from sriov_agent.exceptions import InvalidField, Refused, Unavailable
from sriov_agent.libvirt import xml

pytestmark = pytest.mark.lab

URI = "test:///default"
PORT = Interface(vf="0000:83:13.3", mac="02:5a:0d:c4:39:77", vlan=15)
WAIT_SECONDS = 30


def domain(name, *devices):
    return (
        f"<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os>"
        f"<devices>{''.join(devices)}</devices></domain>"
    )


HOSTDEV = (
    "<hostdev mode='subsystem' type='pci'><source>"
    "<address domain='0x0000' bus='0x83' slot='0x13' function='0x4'/></source></hostdev>"
)
MACVTAP = "<interface type='direct'><source dev='eth9' mode='passthrough'/></interface>"
SHARED = "<interface type='direct'><source dev='eth8' mode='bridge'/></interface>"


@pytest.fixture
def libvirt():
    return pytest.importorskip("libvirt", reason="libvirt-python is not here: see make test")


@pytest.fixture
def opened(libvirt):
    """Makes ``Domains``."""
    from sriov_agent.libvirt.domains import Domains  # noqa: PLC0415

    made = []

    def make(uri=URI, *arguments, **options):
        made.append(Domains(uri, *arguments, **options))
        return made[-1]

    yield make
    for domains in made:
        domains.close()


@pytest.fixture
def connection(libvirt):
    from sriov_agent.libvirt.domains import start_events  # noqa: PLC0415

    start_events()
    connection = libvirt.open(URI)
    yield connection
    for name in ("web1", "web2"):
        for running in connection.listAllDomains():
            if running.name() == name:
                running.destroy()
    connection.close()


@pytest.fixture
def domains(opened):
    return opened()


def test_what_running_domains_have(domains, connection):
    assert domains.held() == []
    connection.createXML(domain("web1", xml.render(PORT), HOSTDEV, MACVTAP, SHARED))
    assert domains.held() == [
        Held(domain="web1", address="0000:83:13.3"),
        Held(domain="web1", netdev="eth9"),
        Held(domain="web1", address="0000:83:13.4"),
    ]
    connection.lookupByName("web1").destroy()
    assert domains.held() == []


def test_a_domain_that_begins_or_ends_is_told(opened, connection):
    told = queue.SimpleQueue()
    domains = opened(URI, lambda: told.put(threading.current_thread().name))
    assert domains.held() == []
    connection.createXML(domain("web1"))
    assert told.get(timeout=WAIT_SECONDS) == "libvirt events"
    connection.lookupByName("web1").destroy()
    assert told.get(timeout=WAIT_SECONDS)


def test_a_vf_in_another_domain_stays_there(domains, connection):
    connection.createXML(domain("web1", xml.render(PORT)))
    connection.createXML(domain("web2"))
    with pytest.raises(Refused) as caught:
        domains.attach("web2", PORT, live=True, config=False)
    assert str(caught.value) == (
        "domain web2: VF 0000:83:13.3 is in the running domain web1: detach it there first "
        "(sriovctl port detach)"
    )


@pytest.mark.parametrize("name", ["web9", "</name><name>test", "-"])
def test_an_unknown_domain_is_named_with_where_to_look(domains, name):
    for act in (domains.active, lambda name: domains.attach(name, PORT, live=True, config=True)):
        with pytest.raises(InvalidField) as caught:
            act(name)
        assert f"{name!r}" in str(caught.value)
        assert f"virsh -c {URI} list --all" in str(caught.value)


def test_who_may_only_read_is_told_so(opened, connection):
    domains = opened(URI, read_only=True)
    connection.createXML(domain("web1"))
    with pytest.raises(Refused, match="may only be read by this user") as caught:
        domains.attach("web1", PORT, live=True, config=False)
    assert "domain web1" in str(caught.value)
    assert PORT.vf in str(caught.value)


def test_what_libvirt_refuses_is_one_sentence(domains, connection):
    connection.createXML(domain("web1"))
    with pytest.raises(Refused, match="libvirt refuses: ") as caught:
        domains.attach("web1", PORT, live=True, config=False)
    assert str(caught.value).startswith(f"domain web1: VF {PORT.vf}: VF not attached")
    with pytest.raises(InvalidField, match="is not in the domain web1"):
        domains.detach("web1", PORT, live=True, config=False, timeout=1)


def test_one_that_hangs_holds_nobody_up(opened, tmp_path):
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        domains = opened(f"qemu+unix:///system?socket={path}", patience=0.2)
        for _ in range(2):
            with pytest.raises(Unavailable, match="does not answer"):
                domains.held()


def test_where_no_libvirt_answers_it_is_unavailable(opened, tmp_path):
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    domains = opened(f"qemu+unix:///system?socket={path}")
    for _ in range(2):
        with pytest.raises(Unavailable, match="does not answer"):
            domains.held()


def test_what_active_networks_give_away(opened, connection):
    fast = connection.networkDefineXML(
        "<network><name>fast</name><forward mode='passthrough'>"
        "<interface dev='eth10'/></forward></network>"
    )
    domains = opened()
    assert domains.reserved() == []
    fast.create()
    try:
        assert domains.reserved() == [Reserved(network="fast", netdevs=frozenset({"eth10"}))]
    finally:
        fast.destroy()
        fast.undefine()
    assert domains.reserved() == []
