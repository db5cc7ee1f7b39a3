# SPDX-License-Identifier: Apache-2.0
"""The state that the options name. What only one of them needs is imported for that one."""

import functools
import stat
from collections.abc import Callable
from pathlib import Path

from oslo_config import cfg

from sriov_agent.exceptions import ConfigError
from sriov_agent.fabric.state.base import State
from sriov_agent.fabric.state.sqlite import Sqlite


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
            f"[device_manager] state: etcd needs the extra sriov-agent[etcd]: {error}"
        ) from error
    if options.lock_ttl < 2 * options.etcd_timeout:
        raise ConfigError("[device_manager] lock_ttl: must be at least twice etcd_timeout")
    if not options.etcd_prefix.endswith("/"):
        raise ConfigError("[device_manager] etcd_prefix: must end with a slash")
    gateway = Gateway(
        options.etcd_urls,
        timeout=options.etcd_timeout,
        ca_file=_path(options.etcd_ca_file),
        cert_file=_path(options.etcd_cert_file),
        key_file=_path(options.etcd_key_file),
        user=options.etcd_user,
        password=_password(options) if options.etcd_user else str,
    )
    return Etcd(gateway, member, prefix=options.etcd_prefix, lock_ttl=options.lock_ttl)


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None


def _password(options: cfg.ConfigOpts.GroupAttr) -> Callable[[], str]:
    path = _path(options.etcd_password_file)
    if path is None:
        raise ConfigError("[device_manager] etcd_password_file: etcd_user needs one")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"[device_manager] etcd_password_file: {error}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"[device_manager] etcd_password_file: {path} may be read by others: chmod 600"
        )
    return functools.partial(_secret, path)


def _secret(path: Path) -> str:
    return path.read_text("utf-8").strip()
