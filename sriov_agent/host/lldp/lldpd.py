# SPDX-License-Identifier: Apache-2.0
"""LLDP neighbors from the local lldpd, asked by ``lldpcli``."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from sriov_agent.core.model import Heard, LldpId, Neighbor, Uplink
from sriov_agent.exceptions import Unavailable, printable
from sriov_agent.host.lldp.json0 import local_ids, read_neighbors

if TYPE_CHECKING:
    from sriov_agent.host.lldp.watch import Watch

#: How long an answer is good while nothing else is heard of lldpd.
_ANSWER_SECONDS = 30.0


class _Answer(Struct, frozen=True, kw_only=True):
    """What lldpd said: neighbors and, where it listens, its own ids, by interface name."""

    neighbors: Mapping[str, tuple[Neighbor, ...]]
    local: Mapping[str, tuple[LldpId, LldpId]]
    until: float


class Lldpd:
    """The local lldpd. Once started, it is only asked again when it says that something changed.

    :param command: ``lldpcli`` with its options, such as ``-u SOCKET``
    :param timeout: seconds that one look may take
    """

    def __init__(self, command: Sequence[str] = ("lldpcli",), timeout: float = 5.0) -> None:
        self.command = tuple(command)
        self.timeout = timeout
        self._changes = 0
        self._answer: _Answer | None = None
        self._watch: Watch | None = None

    def start(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called, from another thread, when neighbors may have changed."""
        # Whoever looks once does without threads.
        from sriov_agent.host.lldp.watch import Watch  # noqa: PLC0415

        def forget_and_tell() -> None:
            self._changes += 1
            self._answer = None
            changed()

        self._watch = Watch(self.command, forget_and_tell)
        self._watch.start()

    def stop(self) -> None:
        """End what :meth:`start` began."""
        if self._watch:
            self._watch.stop()

    def hear(self, uplinks: Mapping[str, Uplink]) -> Heard:
        """What lldpd hears on each uplink.

        :raises Unavailable: if lldpd did not answer
        """
        answer = self._last()
        listening = {a: uplink.netdev for a, uplink in uplinks.items()}
        return Heard(
            neighbors={
                address: answer.neighbors.get(netdev, ())
                for address, netdev in listening.items()
                if netdev in answer.local
            },
            deaf={
                address: f"lldpd does not listen on {netdev}: lldpcli configure system interface "
                f"pattern {netdev}"
                for address, netdev in listening.items()
                if netdev not in answer.local
            },
            local=frozenset(answer.local.values()),
        )

    def _last(self) -> _Answer:
        answer = self._answer
        watched = self._watch is not None and self._watch.alive()
        if answer and watched and time.monotonic() < answer.until:
            return answer
        changes = self._changes
        neighbors: dict[str, tuple[Neighbor, ...]] = {}
        interfaces, heard = self._ask("interfaces", "neighbors")
        for name, neighbor in read_neighbors(heard):
            neighbors[name] = (*neighbors.get(name, ()), neighbor)
        until = time.monotonic() + _ANSWER_SECONDS
        answer = _Answer(neighbors=neighbors, local=dict(local_ids(interfaces)), until=until)
        # What changed while it was asked may not be in the answer.
        self._answer = answer if changes == self._changes else None
        return answer

    def _ask(self, *questions: str) -> list[str]:
        """The answers, asked side by side: starting lldpcli takes longer than lldpd's answer."""
        programs: list[subprocess.Popen[bytes]] = []
        commands = [(*self.command, "-f", "json0", "show", what, "details") for what in questions]
        try:
            for command in commands:
                programs.append(
                    subprocess.Popen(  # noqa: S603 - separate arguments, no shell
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                    )
                )
            deadline = time.monotonic() + self.timeout
            return [_output(program, max(deadline - time.monotonic(), 0.0)) for program in programs]
        except FileNotFoundError:
            raise Unavailable(f"{commands[0][0]} not found: install lldpd") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"lldpcli: {error}") from error
        finally:
            for program in programs:
                with program:
                    program.kill()


def _output(program: subprocess.Popen[bytes], timeout: float) -> str:
    out, err = program.communicate(timeout=timeout)
    if program.returncode != 0:
        said = printable(err.decode("utf-8", "replace").strip(), 200)
        raise Unavailable(f"lldpcli: {said}; is lldpd running? systemctl start lldpd")
    return out.decode("utf-8", "replace")
