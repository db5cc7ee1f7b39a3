# SPDX-License-Identifier: Apache-2.0
"""The host key that a switch must have, as an operator writes it. Pure."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from sriov_agent.exceptions import ConfigError
from sriov_agent.fabric.switch.base import Login

#: Kinds of host keys, and by which algorithms a server proves to have one.
HOST_KEYS: Mapping[str, tuple[str, ...]] = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
    **{f"ecdsa-sha2-nistp{bits}": (f"ecdsa-sha2-nistp{bits}",) for bits in (256, 384, 521)},
}


class HostKey:
    """The one host key that is believed, in the shape in which ncclient asks for known ones."""

    def __init__(self, kind: str, key: bytes) -> None:
        self._kind = kind
        self._key = key

    def lookup(self, _host: str) -> dict[str, bytes]:
        """The key by the algorithms that it may be proven with."""
        return dict.fromkeys(HOST_KEYS[self._kind], self._key)

    def check(self, _host: str, key: Any) -> bool:
        """Whether it is this one."""
        return bool(key.asbytes() == self._key)


def host_key(login: Login) -> HostKey:
    """The host key of a login.

    :raises ConfigError: if there is none, or it is no key
    """
    option = f"[switch:{login.name}] host_key"
    if not login.host_key.strip():
        raise ConfigError(f"{option}: needed, as ssh-keyscan prints it, without the address")
    kind, text = [*login.host_key.split(), ""][:2]  # what follows is a comment
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    named = len(kind).to_bytes(4, "big") + kind.encode()
    if kind not in HOST_KEYS or not key.startswith(named) or len(key) <= len(named):
        kinds = ", ".join(HOST_KEYS)
        raise ConfigError(f"{option}: expected a key as 'ssh-ed25519 AAAA...', one of {kinds}")
    return HostKey(kind, key)
