# SPDX-License-Identifier: Apache-2.0
"""Another value of frozen data, which is a Struct of msgspec or a dataclass."""

import dataclasses

from msgspec import Struct, structs


def replace(value, **changes):
    """A copy of it with these fields changed."""
    if isinstance(value, Struct):
        return structs.replace(value, **changes)
    return dataclasses.replace(value, **changes)
