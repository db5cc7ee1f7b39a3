# SPDX-License-Identifier: Apache-2.0
"""Secrets in files that nobody else can read."""

import os
import stat
from pathlib import Path

from sriov_agent.exceptions import ConfigError


def secret_file(path: str | os.PathLike[str], option: str) -> bytes:
    """What the file has, without white space at its ends.

    :param option: what the file is named in
    :raises ConfigError: if it cannot be read, is empty, or others can read or write it
    """
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().strip()
    except OSError as error:
        raise ConfigError(f"{option}: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{option}: {path} can be used by others: chmod 600 {path}")
    if not text:
        raise ConfigError(f"{option}: {path} is empty")
    return text
