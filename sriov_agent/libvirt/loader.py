# SPDX-License-Identifier: Apache-2.0
"""The libvirt that a configuration names; libvirt-python is loaded only where there is one."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from oslo_config import cfg

from sriov_agent.exceptions import ConfigError

if TYPE_CHECKING:
    from sriov_agent.libvirt.domains import Domains


def domains(
    conf: cfg.ConfigOpts, changed: Callable[[], None] | None = None, *, read_only: bool = True
) -> "Domains | None":
    """The libvirt of the configuration, if there is one.

    :raises ConfigError: if there is, and no libvirt-python
    """
    if not conf.libvirt.uri:
        return None
    try:
        from sriov_agent.libvirt.domains import Domains  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            "[libvirt] uri needs libvirt-python: install python3-libvirt, or sriov-agent[libvirt] "
            f"with pip ({error})"
        ) from error
    return Domains(conf.libvirt.uri, changed, read_only=read_only)
