# SPDX-License-Identifier: Apache-2.0
"""What ``webhook`` makes of an HTTP service: its status, its body, its certificate."""

import json
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from sriov_agent.exceptions import ConfigError, Refused, Unavailable
from sriov_agent.hook.loader import load
from tests.contract.test_hooks import configured, switch_port
from tests.fakes.device_manager import Service
from tests.topology import carried

ASKED = carried(15)
WANTED = {switch_port(): ASKED}
OPEN = b'{"vlans": [15]}'


def hook(directory, url, extra=""):
    text = f"[fabric]\nhook = webhook\n[hook_webhook]\nurl = {url}\n{extra}\n"
    return load(configured(directory, text))


def answering(status=200, headers=None, body=OPEN):
    """A service that answers every request alike."""
    return Service(lambda request: (status, headers or {}, body))


def test_a_request_is_json_by_post(tmp_path):
    bodies = []

    def respond(body):
        bodies.append(body)
        return 200, {}, OPEN

    with Service(respond) as service:
        assert hook(tmp_path, service.url).apply(switch_port(), WANTED) == ASKED
    ((path, headers),) = service.seen
    assert path == "/apply"
    assert headers["Content-Type"] == "application/json"
    assert "Authorization" not in headers
    assert json.loads(bodies[0])["vlans"] == [15]


def test_the_token_is_read_for_each_request(tmp_path):
    token = tmp_path / "token"
    with answering() as service:
        loaded = hook(tmp_path, service.url, f"token_file = {token}")
        for text in ("one", "two\n"):
            token.write_text(text)
            loaded.apply(switch_port(), WANTED)
    assert [h["Authorization"] for _, h in service.seen] == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize(
    "token", [None, b"", b"\n", b"s3cret\nX-Admin: yes", b"s3cret too", b"s3cret\x1b", b"s3cr\xc3"]
)
def test_without_a_token_nothing_is_asked(tmp_path, token):
    path = tmp_path / "token"
    if token is not None:
        path.write_bytes(token)
    with answering() as service:
        loaded = hook(tmp_path, service.url, f"token_file = {path}")
        with pytest.raises(Unavailable, match=r"\[hook_webhook\] token_file") as error:
            loaded.apply(switch_port(), WANTED)
    assert service.seen == []
    assert "s3cr" not in str(error.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_client_error_is_a_refusal_with_its_reason_escaped(tmp_path, status):
    with (
        answering(status, body="no VLAN 15\x1b[2J\n<b>\u00fc\xff".encode("latin-1")) as service,
        pytest.raises(Refused, match=f"HTTP {status}") as refusal,
    ):
        hook(tmp_path, service.url).apply(switch_port(), WANTED)
    assert "no VLAN 15\\x1b[2J\\n<b>" in str(refusal.value)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("status", [201, 202, 204, 304])
def test_only_200_is_an_answer(tmp_path, status):
    body = b"" if status in (204, 304) else OPEN
    with answering(status, body=body) as service, pytest.raises(Refused, match=f"HTTP {status}"):
        hook(tmp_path, service.url).apply(switch_port(), WANTED)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_service_that_cannot_now_did_not_answer(tmp_path, status):
    with (
        answering(status) as service,
        pytest.raises(Unavailable, match=f"HTTP {status}"),
    ):
        hook(tmp_path, service.url).apply(switch_port(), WANTED)


def test_nobody_listens(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
            hook(tmp_path, url).apply(switch_port(), WANTED)


def test_a_service_that_comes_back_is_asked_again(tmp_path):
    statuses = iter([503, 200])
    with Service(lambda body: (next(statuses), {}, OPEN)) as service:
        loaded = hook(tmp_path, service.url)
        with pytest.raises(Unavailable):
            loaded.apply(switch_port(), WANTED)
        assert loaded.apply(switch_port(), WANTED) == ASKED


def test_a_service_that_says_nothing_did_not_answer(tmp_path):
    done = threading.Event()

    def respond(body):
        done.wait()
        return 200, {}, OPEN

    with Service(respond) as service:
        try:
            with pytest.raises(Unavailable, match="timed out"):
                hook(tmp_path, service.url, "timeout = 0.2").apply(switch_port(), WANTED)
        finally:
            done.set()


def raw(answer):
    """A listener that sends ``answer`` to whoever connects first, and hangs up."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return server, thread


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + OPEN,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 15\r\n\r\n" + OPEN,
    ],
    ids=["hang-up", "not-HTTP", "short", "chunk-cut", "chunk-bad", "not-gzip"],
)
def test_half_an_answer_is_none(tmp_path, answer):
    server, thread = raw(answer)
    with server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(Unavailable) as error:
            hook(tmp_path, url).apply(switch_port(), WANTED)
        thread.join()
    assert str(error.value).isprintable()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(tmp_path, status):
    with answering() as other, answering(status, {"Location": other.url}) as service:
        with pytest.raises(Refused, match=f"HTTP {status}"):
            hook(tmp_path, service.url).apply(switch_port(), WANTED)
        assert len(service.seen) == 1
        assert other.seen == []


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b"[15]", b'{"vlans": ["15"]}']
)
def test_garbage_is_refused(tmp_path, body):
    with answering(body=body) as service, pytest.raises(Refused, match="answer"):
        hook(tmp_path, service.url).apply(switch_port(), WANTED)


def test_a_huge_answer_is_refused(tmp_path):
    with (
        answering(body=OPEN + b" " * 2_000_000) as service,
        pytest.raises(Refused, match="answer over"),
    ):
        hook(tmp_path, service.url).apply(switch_port(), WANTED)


def test_an_answer_in_chunks_is_one_answer(tmp_path):
    body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (OPEN[:4], OPEN[4:], b"")) + b"\r\n"
    server, thread = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    with server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        assert hook(tmp_path, url).apply(switch_port(), WANTED) == ASKED
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "leaf1",
        "leaf1:8080/apply",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://",
        "http:///apply",
        "http://[::1/",
        "http://user:password@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:http/",
    ],
)
def test_a_url_that_cannot_be_is_the_operators_to_mend(tmp_path, url):
    with pytest.raises(ConfigError, match=r"\[hook_webhook\] url: expected"):
        hook(tmp_path, url)


def test_no_url_is_the_operators_to_mend(tmp_path):
    with pytest.raises(ConfigError, match=r"\[hook_webhook\] url: expected"):
        load(configured(tmp_path, "[fabric]\nhook = webhook\n"))


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that descends from itself, and its key, in one file."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    path = tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    key = tmp_path / "key.pem"
    subprocess.run(
        [*command.split(), "-keyout", key, "-out", path], check=True, capture_output=True
    )
    path.write_text(path.read_text() + key.read_text())
    return path


def test_https_is_held_to_the_ca_file(tmp_path, certificate):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with Service(lambda body: (200, {}, OPEN), tls) as service:
        trusting = hook(tmp_path, service.url, f"ca_file = {certificate}")
        assert trusting.apply(switch_port(), WANTED) == ASKED
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            hook(tmp_path, service.url).apply(switch_port(), WANTED)
        elsewhere = service.url.replace("127.0.0.1", "localhost")
        with pytest.raises(Unavailable, match=r"localhost"):
            hook(tmp_path, elsewhere, f"ca_file = {certificate}").apply(switch_port(), WANTED)
        with pytest.raises(Unavailable, match="nosuch"):
            hook(tmp_path, service.url, f"ca_file = {tmp_path}/nosuch").apply(switch_port(), WANTED)
        assert len(service.seen) == 1


def test_the_environment_sets_no_proxy(tmp_path, monkeypatch):
    with socket.socket() as taken, answering() as service:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        assert hook(tmp_path, service.url).apply(switch_port(), WANTED) == ASKED
