# SPDX-License-Identifier: Apache-2.0
"""Finds a switch driver by its entry point."""

from stevedore import driver, exception

from sriov_agent.exceptions import ConfigError
from sriov_agent.fabric.switch.base import Login, Switch

NAMESPACE = "sriov_agent.switch"

#: The extra that has what a driver of this project takes.
EXTRAS = {
    "openconfig": "fabric",
    "junos": "fabric",
    "linux-bridge": "fabric",
    "generic-switch": "generic-switch",
}


def load(name: str, login: Login) -> Switch:
    """The driver of this name, for one switch.

    :raises ConfigError: if there is none, a package that it needs is missing, or an option cannot
        work
    """
    where = f"[switch:{login.name}] driver"
    try:
        found: driver.DriverManager[Switch] = driver.DriverManager(
            NAMESPACE, name, invoke_on_load=True, invoke_args=(login,)
        )
    except exception.NoMatches as error:
        raise ConfigError(f"{where}: no driver {name!r} that can be loaded: {error}") from error
    except ImportError as error:
        mend = f": pip install 'sriov-agent[{EXTRAS[name]}]'" if name in EXTRAS else ""
        raise ConfigError(f"{where}: {name!r} cannot be loaded ({error}){mend}") from error
    switch = found.driver
    if not isinstance(switch, Switch):
        raise ConfigError(f"{where}: {name!r} is no {Switch.__name__}")
    return switch
