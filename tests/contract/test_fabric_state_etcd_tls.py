# SPDX-License-Identifier: Apache-2.0
"""An etcd that wants certificates and knows users, of whom one reaches the managers' keys alone."""

import base64

import pytest
from cryptography.x509.oid import NameOID

from sriov_agent.exceptions import Unavailable
from sriov_agent.fabric.state.gateway import Gateway
from tests.certificates import Authority
from tests.etcd import Etcd, member, missing
from tests.fabric import want

pytestmark = pytest.mark.etcd

PREFIX = "/sriov-device-manager/v1/"
PASSWORD = "not for long"


def encoded(text):
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Options by which this etcd is reached, and etcd itself."""
    why = missing()
    if why:
        pytest.skip(why)
    directory = tmp_path_factory.mktemp("etcd-tls")
    authority = Authority(directory)
    server, server_key = authority.issue("etcd1")
    # Where etcd has users, its gateway turns away certificates with a common name.
    client, client_key = authority.issue("manager1", NameOID.ORGANIZATION_NAME)
    options = ["--cert-file", server, "--key-file", server_key, "--client-cert-auth"]
    etcd = Etcd(directory, "https", [*options, "--trusted-ca-file", authority.file])
    etcd.start()
    files = {"ca_file": authority.file, "cert_file": client, "key_file": client_key}
    admin = Gateway([etcd.url], **files)
    end = PREFIX[:-1] + "0"
    for path, body in [
        ("auth/user/add", {"name": "root", "password": PASSWORD}),
        ("auth/user/grant", {"user": "root", "role": "root"}),
        ("auth/role/add", {"name": "sriov-device-manager"}),
        (
            "auth/role/grant",
            {
                "name": "sriov-device-manager",
                "perm": {
                    "permType": "READWRITE",
                    "key": encoded(PREFIX),
                    "range_end": encoded(end),
                },
            },
        ),
        ("auth/user/add", {"name": "manager", "password": PASSWORD}),
        ("auth/user/grant", {"user": "manager", "role": "sriov-device-manager"}),
        ("auth/enable", {}),
    ]:
        admin.call(path, body)
    yield etcd, files
    etcd.stop()


@pytest.fixture
def state(tls):
    etcd, files = tls
    state = member(etcd.url, prefix=PREFIX, user="manager", password=PASSWORD, **files)
    state.start(lambda: None)
    yield state
    state.stop()


def test_all_of_it_works_for_a_user_that_reaches_the_prefix_alone(tls, state):
    assert state.put_wants([want(2)]) == [want(2)]
    assert state.wants() == [want(2)]
    assert state.mine("leaf1")
    with state.hold("leaf1") as fence:
        state.set_owned("leaf1", {"swp1": frozenset({2})}, fence)
    assert state.owned("leaf1") == {"swp1": {2}}
    etcd, files = tls
    for prefix in ("/other/", "/sriov-device-manager/v2/", "/sriov-device-manager/"):
        beyond = member(etcd.url, prefix=prefix, user="manager", password=PASSWORD, **files)
        for call in (beyond.wants, lambda state=beyond: state.put_wants([want(2)])):
            with pytest.raises(Unavailable, match="permission denied"):
                call()


def test_a_user_is_told_of_what_others_change(tls, state):
    etcd, files = tls
    gateway = Gateway([etcd.url], user="manager", password=PASSWORD, **files)
    changes = gateway.watch(PREFIX, 60)
    assert next(changes) == []
    state.put_wants([want(2, sequence=100)])
    assert next(changes)
    changes.close()


def test_an_etcd_that_forgot_its_tokens_is_logged_in_to_again(tls, state):
    etcd, _ = tls
    state.put_wants([want(2, sequence=200)])
    etcd.stop()
    with pytest.raises(Unavailable):
        state.wants()
    etcd.start()
    assert state.wants() == [want(2, sequence=200)]


def test_who_cannot_show_what_is_asked_gets_nothing(tls):
    etcd, files = tls
    user = {"user": "manager", "password": PASSWORD}
    certificate = {name: files[name] for name in ("cert_file", "key_file")}
    for what, options in {
        "certificate verify failed": {**user, **certificate},
        "etcd": {**user, "ca_file": files["ca_file"]},
        "user name is empty": files,
        "authentication failed": {"user": "manager", "password": "wrong", **files},
    }.items():
        with pytest.raises(Unavailable, match=f"(?i){what}") as refused:
            member(etcd.url, prefix=PREFIX, **options).wants()
        assert PASSWORD not in str(refused.value)


def test_certificates_of_the_environment_do_not_count(tls, monkeypatch, tmp_path):
    etcd, files = tls
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority(tmp_path).file))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    state = member(etcd.url, prefix=PREFIX, user="manager", password=PASSWORD, **files)
    state.wants()
