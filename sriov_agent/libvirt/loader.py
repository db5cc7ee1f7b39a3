# SPDX-License-Identifier: Apache-2.0
"""A libvirt by its URI; libvirt-python is loaded only where there is one."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sriov_agent.exceptions import ConfigError

if TYPE_CHECKING:
    from sriov_agent.libvirt.domains import Domains


def domains(
    uri: str, changed: Callable[[], None] | None = None, *, read_only: bool = True
) -> "Domains | None":
    """The libvirt at ``uri``, if it names one.

    :param changed: called when what domains have may be another
    :raises ConfigError: if it does, and there is no libvirt-python
    """
    if not uri:
        return None
    try:
        from sriov_agent.libvirt.domains import Domains  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            "[libvirt] uri needs libvirt-python: install python3-libvirt, or sriov-agent[libvirt] "
            f"with pip ({error})"
        ) from error
    return Domains(uri, changed, read_only=read_only)
