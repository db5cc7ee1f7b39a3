# SPDX-License-Identifier: Apache-2.0
"""The state that the options name, and what cannot work."""

import pytest
from oslo_config import cfg

from sriov_agent.conf.fabric_state import STATE_OPTS
from sriov_agent.exceptions import ConfigError
from sriov_agent.fabric.state.etcd import Etcd
from sriov_agent.fabric.state.loader import state
from sriov_agent.fabric.state.sqlite import Sqlite


def options(**given):
    conf = cfg.ConfigOpts()
    conf.register_opts(STATE_OPTS, "device_manager")
    conf([])
    for name, value in given.items():
        conf.set_override(name, value, "device_manager")
    return conf.device_manager


def test_one_file_unless_told_otherwise(tmp_path):
    found = state(options(), tmp_path / "state.db", "manager1")
    assert isinstance(found, Sqlite)
    assert found.database.path == tmp_path / "state.db"


def test_etcd(tmp_path):
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    given = options(
        state="etcd",
        etcd_urls=["https://192.0.2.5:2379", "https://[2001:db8::5]", "http://localhost:4001/"],
        etcd_user="manager",
        etcd_password_file=str(password),
    )
    assert isinstance(state(given, tmp_path / "state.db", "manager1"), Etcd)
    assert not (tmp_path / "state.db").exists()


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("lock_ttl", {"lock_ttl": 9, "etcd_timeout": 5.0}),
        ("etcd_prefix", {"etcd_prefix": "/sriov"}),
        ("etcd_urls", {"etcd_urls": []}),
        ("etcd_urls", {"etcd_urls": ["192.0.2.5:2379"]}),
        ("etcd_urls", {"etcd_urls": ["https://192.0.2.5:port"]}),
        ("etcd_urls", {"etcd_urls": ["https://user:secret@192.0.2.5"]}),
        ("etcd_urls", {"etcd_urls": ["https://192.0.2.5/v3"]}),
        ("etcd_ca_file", {"etcd_ca_file": "/nowhere/ca.pem"}),
        ("etcd_cert_file", {"etcd_cert_file": __file__}),
        ("etcd_password_file", {"etcd_user": "manager"}),
        ("etcd_password_file", {"etcd_password_file": __file__}),
        ("etcd_password_file", {"etcd_user": "manager", "etcd_password_file": "/nowhere/file"}),
        ("etcd_password_file", {"etcd_user": "manager", "etcd_password_file": __file__}),
    ],
)
def test_what_cannot_work_is_said_with_its_option(tmp_path, option, given):
    with pytest.raises(ConfigError, match=option) as refused:
        state(options(state="etcd", **given), tmp_path / "state.db", "manager1")
    assert "secret" not in str(refused.value)
