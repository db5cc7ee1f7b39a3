# SPDX-License-Identifier: Apache-2.0
"""One interface XML file a port, for ``virsh attach-device`` or a domain's definition."""

import contextlib
import os
import tempfile
from pathlib import Path

from sriov_agent.core import fields
from sriov_agent.core.state import Interface
from sriov_agent.exceptions import InvalidField, Unavailable
from sriov_agent.libvirt import xml


class InterfaceFiles:
    """``<port id>.xml`` files in one directory of the agent's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._known: dict[str, tuple[tuple[int, int, int], Interface | None]] = {}

    def path(self, port_id: str) -> Path:
        """Where the port's XML is, or would be."""
        return self.directory / f"{port_id}.xml"

    def read(self) -> dict[str, Interface | None]:
        """Every file by port id; ``None`` for one that is not as the agent writes it.

        :raises Unavailable: if the directory cannot be read
        """
        found: dict[str, tuple[tuple[int, int, int], Interface | None]] = {}
        try:
            with self._entries() as entries:
                for entry in entries:
                    with contextlib.suppress(InvalidField, FileNotFoundError):
                        stem, _, suffix = entry.name.rpartition(".")
                        port_id = fields.port_id(stem)
                        if suffix == "xml" and port_id == stem:
                            seen = entry.stat()
                            version = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
                            known = self._known.get(port_id)
                            if known is None or known[0] != version:
                                known = version, _parsed(Path(entry.path))
                            found[port_id] = known
        except OSError as error:
            raise Unavailable(f"interface files in {self.directory}: {error}") from error
        self._known = found
        return {port_id: interface for port_id, (_, interface) in found.items()}

    def _entries(self) -> "os._ScandirIterator[str]":
        """What is in the directory, which is made if it is not there."""
        try:
            return os.scandir(self.directory)
        except FileNotFoundError:
            self.directory.mkdir(parents=True, exist_ok=True)
            return os.scandir(self.directory)

    def write(self, port_id: str, interface: Interface) -> None:
        """Write the port's file whole or not at all.

        What a power cut leaves of it is seen by the next pass, and written again.
        """
        try:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self.directory, suffix=".tmp", delete=False
            ) as file:
                new = Path(file.name)
                try:
                    file.write(xml.render(interface))
                    new.chmod(0o644)
                    new.replace(self.path(port_id))
                except OSError:
                    new.unlink()
                    raise
        except OSError as error:
            raise Unavailable(f"interface file {self.path(port_id)}: {error}") from error

    def remove(self, port_id: str) -> None:
        """Remove the port's file, if it is there."""
        try:
            self.path(port_id).unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"interface file {self.path(port_id)}: {error}") from error


def _parsed(path: Path) -> Interface | None:
    try:
        return xml.parse(path.read_text("utf-8"))
    except (InvalidField, UnicodeDecodeError, IsADirectoryError):
        return None
