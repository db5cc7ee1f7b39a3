# SPDX-License-Identifier: Apache-2.0
"""Finds a hook driver by its entry point."""

from collections.abc import Iterator
from contextlib import contextmanager

from oslo_config import cfg
from stevedore import driver, exception

from sriov_agent.exceptions import ConfigError
from sriov_agent.hook.base import Hook

NAMESPACE = "sriov_agent.hook"


def load(conf: cfg.ConfigOpts) -> Hook:
    """The driver that ``[fabric] hook`` names.

    :raises ConfigError: if there is none, or its own options cannot work
    """
    name = conf.fabric.hook
    try:
        found: driver.DriverManager[Hook] = driver.DriverManager(
            NAMESPACE, name, invoke_on_load=True, invoke_args=(conf,)
        )
    except exception.NoMatches as error:
        raise ConfigError(f"[fabric] hook: no driver {name!r} in {NAMESPACE}") from error
    except ImportError as error:
        raise ConfigError(f"[fabric] hook: {name!r} cannot be loaded ({error})") from error
    hook = found.driver
    if not isinstance(hook, Hook):
        raise ConfigError(f"[fabric] hook: {name!r} is no {Hook.__name__}")
    return hook


@contextmanager
def loaded(conf: cfg.ConfigOpts) -> Iterator[Hook]:
    """The driver for as long as something is asked of it; see :func:`load`."""
    hook = load(conf)
    try:
        yield hook
    finally:
        hook.stop()
