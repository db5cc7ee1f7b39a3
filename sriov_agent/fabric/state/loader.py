# SPDX-License-Identifier: Apache-2.0
"""The state that the options name. What only one of them needs is imported for that one."""

from pathlib import Path

from oslo_config import cfg

from sriov_agent.exceptions import ConfigError
from sriov_agent.fabric.state.base import State
from sriov_agent.fabric.state.sqlite import Sqlite
from sriov_agent.secret import secret_file

_GROUP = "[device_manager]"


def state(options: cfg.ConfigOpts.GroupAttr, path: Path, member: str) -> State:
    """The state, not started.

    :param options: the group that has :data:`sriov_agent.conf.fabric_state.STATE_OPTS`
    :param path: the file, where it is one
    :param member: this manager's name, no other's
    :raises ConfigError: if an option cannot work, or a package is missing
    """
    return _etcd(options, member) if options.state == "etcd" else Sqlite(path)


def _etcd(options: cfg.ConfigOpts.GroupAttr, member: str) -> State:
    try:
        from sriov_agent.fabric.state.etcd import Etcd  # noqa: PLC0415
        from sriov_agent.fabric.state.gateway import Gateway  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"{_GROUP} state: etcd needs the extra sriov-agent[etcd]: {error}"
        ) from error
    if options.lock_ttl < 2 * options.etcd_timeout:
        raise ConfigError(f"{_GROUP} lock_ttl: must be at least twice etcd_timeout")
    if not options.etcd_prefix.endswith("/"):
        raise ConfigError(f"{_GROUP} etcd_prefix: must end with a slash")
    if bool(options.etcd_user) != bool(options.etcd_password_file):
        raise ConfigError(f"{_GROUP} etcd_user and etcd_password_file: both, or neither")
    gateway = Gateway(
        options.etcd_urls,
        timeout=options.etcd_timeout,
        ca_file=_path(options.etcd_ca_file),
        cert_file=_path(options.etcd_cert_file),
        key_file=_path(options.etcd_key_file),
        user=options.etcd_user,
        password=_password(options.etcd_password_file),
    )
    return Etcd(gateway, member, prefix=options.etcd_prefix, lock_ttl=options.lock_ttl)


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None


def _password(file: str | None) -> str:
    return secret_file(file, f"{_GROUP} etcd_password_file").decode() if file else ""
