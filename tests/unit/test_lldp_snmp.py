# SPDX-License-Identifier: Apache-2.0
"""Asking SNMP agents, with some that do not answer, or with garbage. tests/lab has real ones."""

import logging
import queue
import socket
import subprocess
import sys
import threading
import time

import pytest

from sriov_agent.core.model import Uplink
from sriov_agent.exceptions import InvalidField, Unavailable
from sriov_agent.host.lldp.snmp import Credentials, Snmp

#: Far above what anything here takes.
SECONDS = 60
COMMUNITY = Credentials(community="secret-community")
USER = Credentials(version="3", user="lab", auth_key="secret-auth", priv_key="secret-priv")
UPLINKS = {"a": Uplink(address="a", netdev="ens1", mac="52:54:00:aa:00:01")}


def as_response(request):
    """The request itself with the tag of a response: its objects have no values."""
    tag = max(request.find(b"\xa0"), request.find(b"\xa5"))
    return request[:tag] + b"\xa2" + request[tag + 1 :]


GARBAGE = {
    "nothing": lambda request: None,
    "no octets": lambda request: b"",
    "the request": lambda request: request,
    "half of it": lambda request: request[: len(request) // 2],
    "text": lambda request: b"\xffHTTP/1.1 400 Bad Request\r\n\r\n",
    "nesting": lambda request: b"\x30\x82\x03\xe8" * 16_000,
}


@pytest.fixture
def agent():
    """Starts an agent that answers each request with what a function makes of it."""
    opened = []

    def start(answer):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        opened.append(server)

        def serve():
            while request := server.recvfrom(65535):
                if request[0] == b"end":
                    return
                reply = answer(request[0])
                if reply is not None:
                    server.sendto(reply, request[1])

        thread = threading.Thread(target=serve)
        thread.start()
        opened.append(thread)
        return "{}:{}".format(*server.getsockname())

    yield start
    for server, thread in zip(opened[::2], opened[1::2], strict=True):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"end", server.getsockname())
        thread.join()
        server.close()


def snmp(*agents, credentials=COMMUNITY, **given):
    return Snmp("", agents, credentials, **({"timeout": 0.2, "retries": 0} | given))


@pytest.mark.parametrize("credentials", [COMMUNITY, USER], ids=["community", "user"])
@pytest.mark.parametrize("garbage", GARBAGE)
def test_who_answers_with_garbage_does_not_answer(agent, garbage, credentials, caplog):
    address = agent(GARBAGE[garbage])
    with pytest.raises(Unavailable, match=f"^no answer from {address}: is snmpd running") as said:
        snmp(address, credentials=credentials).hear(UPLINKS)
    assert "secret" not in str(said.value) + caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_who_has_no_values_has_no_lldp_mib(agent):
    with pytest.raises(Unavailable, match="serves no LLDP-MIB: start lldpd with -x"):
        snmp(agent(as_response)).hear(UPLINKS)


def test_every_agent_that_is_silent_is_named(agent):
    addresses = [agent(GARBAGE["nothing"]) for _ in range(5)]
    with pytest.raises(Unavailable) as said:
        snmp(*addresses, timeout=0.5).hear(UPLINKS)
    assert all(address in str(said.value) for address in addresses)


def test_all_agents_are_waited_for_at_once(agent):
    all_asked = threading.Barrier(5)

    def answer(request):
        # None answers until every one of them was asked.
        all_asked.wait(SECONDS)
        return as_response(request)

    with pytest.raises(Unavailable, match="serves no LLDP-MIB"):
        snmp(*[agent(answer) for _ in range(5)], timeout=SECONDS).hear(UPLINKS)
    assert not all_asked.broken


def test_a_name_that_does_not_resolve_is_told():
    name = "x" * 64
    with pytest.raises(Unavailable, match=f"^{name}: "):
        snmp(name).hear(UPLINKS)


def test_until_the_first_answers_nothing_is_known_and_then_the_last_ones_count(agent):
    changes = queue.SimpleQueue()
    asked_once = threading.Event()

    def answer(request):
        asked_once.wait()
        return as_response(request)

    asked = snmp(agent(answer), timeout=SECONDS)
    asked.start(lambda: changes.put(True))
    try:
        with pytest.raises(Unavailable, match="not answered yet"):
            asked.hear(UPLINKS)
        asked_once.set()
        assert changes.get(timeout=SECONDS)
        with pytest.raises(Unavailable, match="serves no LLDP-MIB"):
            asked.hear(UPLINKS)
    finally:
        asked_once.set()
        asked.stop()


def test_only_another_answer_is_a_change(agent):
    changes = queue.SimpleQueue()
    requests = queue.SimpleQueue()

    def answer(request):
        requests.put(request)
        return as_response(request) if requests.qsize() < 5 else request[:4]

    asked = snmp(agent(answer), interval=0.01)
    asked.start(lambda: changes.put(True))
    try:
        for _ in ("no LLDP-MIB", "no answer"):
            assert changes.get(timeout=SECONDS)
        time.sleep(1)
        assert changes.empty()
    finally:
        asked.stop()


def test_whoever_is_told_may_fail_and_is_told_again(agent, caplog):
    changes = queue.SimpleQueue()
    requests = queue.SimpleQueue()

    def answer(request):
        requests.put(request)
        return as_response(request) if requests.qsize() % 2 else None

    def fail():
        changes.put(True)
        raise RuntimeError("the listener failed")

    asked = snmp(agent(answer), interval=0.01)
    asked.start(fail)
    try:
        for _ in range(3):
            assert changes.get(timeout=SECONDS)
    finally:
        asked.stop()
    assert "the listener failed" in caplog.text


def test_stopping_does_not_wait_for_an_answer(agent):
    asked = snmp(agent(GARBAGE["nothing"]), timeout=600.0)
    asked.stop()
    for wait in (0, 0.5):
        asked.start(lambda: None)
        time.sleep(wait)
        began = time.monotonic()
        asked.stop()
        asked.stop()
        assert time.monotonic() - began < SECONDS


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from sriov_agent.exceptions import Unavailable
from sriov_agent.host.lldp.snmp import Credentials, Snmp
keys = {"version": "3", "user": "lab", "auth_key": "auth-key", "priv_key": "priv-key"}
try:
    Snmp("127.0.0.1", ["192.0.2.1"], Credentials(**keys)).hear({})
except Unavailable as error:
    print(error)
"""


@pytest.mark.parametrize("library", ["pysnmp", "cryptography"])
def test_a_host_without_the_libraries_is_told_what_to_install(library):
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT, library], capture_output=True, text=True, check=True
    )
    assert said.stdout == f"{library} not found: pip install 'sriov-agent[snmp]'\n"


def test_secrets_are_not_shown():
    shown = repr(COMMUNITY) + repr(USER) + str(USER) + USER.who + COMMUNITY.who
    assert "secret" not in shown
    assert "lab" in shown


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "community"),
        ({"version": "1", "community": "x"}, "version"),
        ({"version": "3"}, "user"),
        ({"version": "3", "user": "lab", "priv_key": "secret-priv"}, "auth_key"),
        ({"version": "3", "user": "lab", "auth_protocol": "SHA-1"}, "auth_protocol"),
        ({"version": "3", "user": "lab", "priv_protocol": "ROT13"}, "priv_protocol"),
    ],
)
def test_credentials_that_cannot_be_used_are_refused(given, field):
    with pytest.raises(InvalidField) as refused:
        Credentials(**given)
    assert refused.value.field == field
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("127.0.0.1", ("127.0.0.1", 161)),
        ("192.0.2.1:1161", ("192.0.2.1", 1161)),
        ("leaf1.example.com:1161", ("leaf1.example.com", 1161)),
        ("[2001:db8::1]", ("2001:db8::1", 161)),
        ("[2001:db8::1]:1161", ("2001:db8::1", 1161)),
    ],
)
def test_addresses(agent, expected):
    assert snmp(agent).agents == {agent: expected}


@pytest.mark.parametrize(
    "bad", [":161", "a:0", "a:65536", "a:x", "[a", "2001:db8::1", "a b", "-a:1", "a\n", "[]:1"]
)
def test_what_is_no_address_is_refused(bad):
    with pytest.raises(InvalidField, match="ADDR"):
        snmp(bad)


def test_a_loopback_of_ipv6_is_asked_as_well():
    with pytest.raises(Unavailable, match=r"^no answer from \[::1\]:9: "):
        snmp("[::1]:9").hear(UPLINKS)
