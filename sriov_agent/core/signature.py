# SPDX-License-Identifier: Apache-2.0
"""Who asks: the broker authenticates its users, not the host that a message says it is from.

Each host has a key of its own, made of one secret that only device managers have, and signs what it
asks with it (HMAC-SHA256, RFC 2104).
"""

import hashlib
import hmac
import json
from collections.abc import Mapping

_PURPOSE = b"sriov-agent host key\0"


def host_key(secret: bytes, host: str) -> str:
    """The key of a host, as its agent's key file has it."""
    return hmac.new(secret, _PURPOSE + host.encode(), hashlib.sha256).hexdigest()


def sign(key: str, request: Mapping[str, object]) -> str:
    """The signature of a request: of its JSON, members in order of their names."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def genuine(key: str, request: Mapping[str, object], signature: object) -> bool:
    """Whether the request was signed with the key."""
    return isinstance(signature, str) and hmac.compare_digest(
        sign(key, request).encode(), signature.encode("utf-8", "replace")
    )
