# SPDX-License-Identifier: Apache-2.0
"""Where PFs are cabled, from whichever source of LLDP can tell."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from sriov_agent.core.lldp import attributed, cabled
from sriov_agent.core.model import (
    Cabling,
    Heard,
    LldpId,
    Neighbor,
    Pf,
    Uplink,
)
from sriov_agent.exceptions import Unavailable


class Source(Protocol):
    """lldpd, SNMP, or the uplinks themselves."""

    def start(self, changed: Callable[[], None]) -> None:
        """Call ``changed``, from any thread, when :meth:`hear` may answer otherwise."""

    def stop(self) -> None:
        """End what :meth:`start` began."""

    def hear(self, uplinks: Mapping[str, Uplink]) -> Heard:
        """What is heard on these uplinks.

        :raises Unavailable: if the source cannot be asked
        """


class Witness(Protocol):
    """Who sent what; see :class:`sriov_agent.host.lldp.raw.Raw`."""

    def frames(self, uplinks: Mapping[str, Uplink]) -> dict[str, tuple[Neighbor, ...]]: ...


class _Last(Struct, frozen=True, eq=False):
    """What the sources said last, of which uplinks, and how many changes they had told of."""

    uplinks: frozenset[tuple[object, ...]]
    news: int
    heard: Heard
    frames: Mapping[str, tuple[Neighbor, ...]]
    error: str

    @property
    def senders(self) -> frozenset[str]:
        """The MAC addresses that frames came from."""
        told = (*self.heard.neighbors.values(), *self.frames.values())
        return frozenset(neighbor.source_mac for several in told for neighbor in several)


class Discovery:
    """Asks the sources in order: each for the uplinks on which those before it heard nothing.

    :param allowed: chassis ids and system names of the fabric's switches; empty for every switch
    :param witness: the source that sees who sent a frame, to tell guests from switches whichever
        source heard them
    """

    def __init__(
        self, sources: Sequence[Source], allowed: Iterable[str] = (), witness: Witness | None = None
    ) -> None:
        self.sources = tuple(sources)
        self.allowed = frozenset(name.lower() for name in allowed)
        self.witness = witness
        self._news = 0
        self._last: _Last | None = None
        self._made: tuple[_Last, frozenset[str], dict[str, Cabling]] | None = None

    def start(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called, from any thread, when the answer may have changed."""

        def forget_and_tell() -> None:
            self._news += 1
            changed()

        for source in self.sources:
            source.start(forget_and_tell)

    def stop(self) -> None:
        """End what :meth:`start` began."""
        for source in self.sources:
            source.stop()

    def cabling(self, pfs: Mapping[str, Pf], *, again: bool = True) -> dict[str, Cabling]:
        """Where each PF and each member of its bond is cabled, by address.

        :param again: ask the sources also if these uplinks are as they were when they were asked
            last, and none told of a change since
        :raises Unavailable: if no source could be asked
        """
        uplinks = {uplink.address: uplink for pf in pfs.values() for uplink in pf.uplinks()}
        if not uplinks:
            return {}
        macs = {uplink.mac for uplink in uplinks.values()}
        macs |= {vf.settings.mac or "" for pf in pfs.values() for vf in pf.vfs}
        local_macs = frozenset(macs - {""})
        last = self._asked(uplinks, again)
        if last.error:
            raise Unavailable(last.error)
        # Whether they are this host's is all that the answer depends on besides.
        ours = last.senders & local_macs
        if self._made is None or self._made[:2] != (last, ours):
            self._made = last, ours, self._cabled(uplinks, last, local_macs)
        return dict(self._made[2])

    def _cabled(
        self, uplinks: Mapping[str, Uplink], last: _Last, local_macs: frozenset[str]
    ) -> dict[str, Cabling]:
        heard = last.heard
        if self.witness:
            neighbors = {
                address: attributed(neighbors, last.frames.get(address, ()), local_macs)
                for address, neighbors in heard.neighbors.items()
            }
            heard = replace(heard, neighbors=neighbors)
        return cabled(uplinks.values(), heard, local_macs, self.allowed)

    def _asked(self, uplinks: Mapping[str, Uplink], again: bool) -> _Last:
        facts = frozenset(
            (
                uplink.address,
                uplink.netdev,
                uplink.up,
                uplink.carrier,
                uplink.carrier_changes,
                uplink.firmware_lldp,
            )
            for uplink in uplinks.values()
        )
        last, news = self._last, self._news
        if last is None or again or last.uplinks != facts or last.news != news:
            heard, error = Heard(), ""
            try:
                heard = self._heard(uplinks)
            except Unavailable as failure:
                error = str(failure)
            frames = self.witness.frames(uplinks) if self.witness else {}
            last = self._last = _Last(facts, news, heard, frames, error)
        return last

    def _heard(self, uplinks: Mapping[str, Uplink]) -> Heard:
        """What the sources tell together."""
        neighbors: dict[str, tuple[Neighbor, ...]] = {}
        deaf: dict[str, list[str]] = {}
        local: set[tuple[LldpId, LldpId]] = set()
        errors: list[str] = []
        left = uplinks
        for source in self.sources:
            if not left:
                break
            try:
                heard = source.hear(left)
            except Unavailable as error:
                errors.append(str(error))
                continue
            neighbors |= heard.neighbors
            local |= heard.local
            for address, why in heard.deaf.items():
                deaf.setdefault(address, []).append(why)
            left = {a: uplink for a, uplink in left.items() if not neighbors.get(a)}
        if len(errors) == len(self.sources):
            raise Unavailable("; ".join(errors))
        return Heard(
            neighbors=neighbors,
            deaf={
                address: "; ".join([*errors, *deaf.get(address, ())])
                for address in uplinks.keys() - neighbors.keys()
            },
            local=frozenset(local),
        )
