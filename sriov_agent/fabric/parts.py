# SPDX-License-Identifier: Apache-2.0
"""The device manager's parts, made of the configuration."""

from pathlib import Path

from oslo_config import cfg

from sriov_agent.conf import device_manager as options
from sriov_agent.exceptions import ConfigError, InvalidField
from sriov_agent.fabric import ranges
from sriov_agent.fabric.inventory import Inventory, Rules, parse
from sriov_agent.fabric.state.base import State
from sriov_agent.fabric.state.loader import state as state_of
from sriov_agent.fabric.switch.base import Login, Switch
from sriov_agent.fabric.switch.loader import load
from sriov_agent.fabric.worker import Policy
from sriov_agent.secret import secret_file


def rules(conf: cfg.ConfigOpts) -> dict[str, Rules]:
    """What may be done on each switch, by its name.

    :raises ConfigError: for the first option that cannot work
    """
    found: dict[str, Rules] = {}
    for name in conf.device_manager.switches:
        given = options.switch_group(conf, name)
        try:
            found[name] = Rules(
                name=name,
                names=frozenset(each.lower() for each in given.names or [name]),
                chassis_ids=frozenset(each.lower() for each in given.chassis_ids),
                ports=tuple(given.ports),
                uplinks=tuple(given.uplinks),
                port_map=given.port_map,
                allowed_vlans=ranges.vlans(given.allowed_vlans, "allowed_vlans"),
                protected_vlans=ranges.vlans(given.protected_vlans, "protected_vlans"),
                floor_vlan=given.floor_vlan,
                max_vlans=given.max_vlans,
            )
        except InvalidField as error:
            raise ConfigError(f"[switch:{name}] {error}") from error
    if not found:
        raise ConfigError("[device_manager] switches is empty: there is nothing to manage")
    return found


def switch(conf: cfg.ConfigOpts, name: str) -> Switch:
    """The switch of this name, by its driver.

    :raises ConfigError: if it cannot work
    """
    given, where = options.switch_group(conf, name), f"[switch:{name}]"
    if not given.driver or not given.address:
        raise ConfigError(f"{where}: driver and address are needed")
    password = given.password
    if given.password_file:
        password = secret_file(given.password_file, f"{where} password_file").decode()
    if given.key_file:
        secret_file(given.key_file, f"{where} key_file")
    login = Login(
        name=name,
        address=given.address,
        port=given.port,
        username=given.username,
        password=password,
        key_file=Path(given.key_file) if given.key_file else None,
        host_key=given.host_key,
        timeout=given.timeout,
        options=given.options,
    )
    return load(given.driver, login)


def inventory(conf: cfg.ConfigOpts) -> Inventory | None:
    """The operator's list of ports, ``None`` where LLDP alone decides.

    :raises ConfigError: if it cannot be read, or has lines that cannot be used
    """
    name = conf.device_manager.inventory_file
    if not name:
        return None
    where = "[device_manager] inventory_file"
    try:
        text = Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: {error}") from error
    return parse(text, conf.device_manager.switches, f"{where} {name}")


def host_key_secret(conf: cfg.ConfigOpts) -> bytes:
    """What the keys of hosts are made of, empty where nothing needs to be signed."""
    name = conf.device_manager.host_key_secret_file
    return secret_file(name, "[device_manager] host_key_secret_file") if name else b""


def state(conf: cfg.ConfigOpts) -> State:
    """What is kept, not started.

    :raises ConfigError: if an option cannot work, or a package is missing
    """
    given = conf.device_manager
    return state_of(given, options.state_path(conf), given.member)


def policy(conf: cfg.ConfigOpts) -> Policy:
    """How the manager behaves."""
    given = conf.device_manager
    return Policy(
        remove_grace=given.remove_grace,
        check_interval=given.check_interval,
        retry_min=given.retry_min,
        retry_max=given.retry_max,
        repair=given.drift == "repair",
        dry_run=given.dry_run,
    )
