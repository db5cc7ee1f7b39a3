# SPDX-License-Identifier: Apache-2.0
"""One interface XML file a port, for ``virsh attach-device`` or a domain's definition."""

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

    def path(self, port_id: str) -> Path:
        """Where the port's XML is, or would be."""
        return self.directory / f"{port_id}.xml"

    def read(self) -> dict[str, Interface | None]:
        """Every file by port id; ``None`` for one that is not as the agent writes it.

        :raises Unavailable: if the directory cannot be read
        """
        found: dict[str, Interface | None] = {}
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for path in self.directory.iterdir():
                try:
                    port_id = fields.port_id(path.stem)
                except InvalidField:
                    continue
                if path != self.path(port_id):
                    continue
                try:
                    found[port_id] = xml.parse(path.read_text("utf-8"))
                except (InvalidField, UnicodeDecodeError, IsADirectoryError, FileNotFoundError):
                    found[port_id] = None
        except OSError as error:
            raise Unavailable(f"interface files in {self.directory}: {error}") from error
        return found

    def write(self, port_id: str, interface: Interface) -> None:
        """Write the port's file whole or not at all."""
        try:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self.directory, suffix=".tmp", delete=False
            ) as file:
                new = Path(file.name)
                try:
                    file.write(xml.render(interface))
                    file.flush()
                    os.fsync(file.fileno())
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
