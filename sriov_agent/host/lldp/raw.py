# SPDX-License-Identifier: Apache-2.0
"""LLDP neighbors heard on the uplinks themselves, for hosts without lldpd.

Only this source sees who sent a frame, so only here is a frame from a local VF told from the
switch's. A frame comes every 30 s or so, and one that was forged may come first: until a whole
window has passed, an uplink counts as not heard.
"""

import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from msgspec import Struct, field

from sriov_agent.core.lldp import LISTEN_SECONDS
from sriov_agent.core.model import Heard, LldpId, Neighbor, Uplink
from sriov_agent.exceptions import InvalidField, Unavailable
from sriov_agent.host.lldp.packets import open_packets, receive

LOG = logging.getLogger(__name__)

#: Different neighbors kept of an uplink; a guest can send as many as it likes.
MAX_NEIGHBORS = 64
#: Frames read of an uplink at once, and the rest after that: a flood stays in the kernel.
_BATCH_FRAMES = 64
_REST_SECONDS = 0.1
_SETTLE_SECONDS = 1.0

_Key = tuple[tuple[LldpId, LldpId], str, bool]


class _Ear(Struct):
    """An uplink that is listened on; times are of a monotonic clock.

    ``ripe_at``: when a whole window will have passed. ``heard``: the neighbor, since when it says
    the same, and until when it lives.
    """

    packets: socket.socket
    index: int
    ripe_at: float
    ripe: bool = False
    heard: dict[_Key, tuple[Neighbor, float, float]] = field(default_factory=dict)

    def take(self, neighbor: Neighbor, now: float) -> bool:
        """Note a frame; whether that changes anything."""
        key = (neighbor.ids, neighbor.source_mac, neighbor.tagged)
        known = self.heard.get(key)
        if not neighbor.ttl:
            return self.heard.pop(key, None) is not None
        if known is None and len(self.heard) >= MAX_NEIGHBORS:
            return False
        changed = known is None or known[0] != neighbor
        since = now if known is None or changed else known[1]
        self.heard[key] = (neighbor, since, now + neighbor.ttl)
        return changed

    def age(self, now: float) -> bool:
        """Forget who has not been heard in time; whether that, or the window's end, is news."""
        gone = [key for key, (_, _, until) in self.heard.items() if until <= now]
        for key in gone:
            del self.heard[key]
        ripened = not self.ripe and self.ripe_at <= now
        self.ripe |= ripened
        return ripened or bool(gone)

    def neighbors(self, now: float) -> tuple[Neighbor, ...]:
        return tuple(
            replace(neighbor, age=int(now - since)) for neighbor, since, _ in self.heard.values()
        )


class Raw:
    """Listens on uplinks by ``AF_PACKET``; needs ``CAP_NET_RAW``.

    :param window: seconds until what was heard on an uplink counts
    :param open_packets: opens a socket on an interface, given by name and index
    """

    def __init__(
        self,
        window: float = LISTEN_SECONDS,
        open_packets: Callable[[str, int], socket.socket] = open_packets,
    ) -> None:
        self.window = window
        self.open_packets = open_packets
        self._ears: dict[str, _Ear] = {}
        self._errors: dict[str, str] = {}
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._stop = threading.Event()
        self._changed: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="lldp-raw", daemon=True)

    def start(self, changed: Callable[[], None]) -> None:
        """Listen, and have ``changed`` called, from another thread, when neighbors change."""
        self._changed = changed
        self._thread.start()

    def stop(self) -> None:
        """End what :meth:`start` began."""
        self._stop.set()
        os.eventfd_write(self._wake, 1)
        if self._thread.ident:
            self._thread.join()
        with self._lock:
            for address in list(self._ears):
                self._close(address)
        self._selector.close()
        os.close(self._wake)

    def hear(self, uplinks: Mapping[str, Uplink]) -> Heard:
        """What was heard on each uplink for a whole window; from now on these are listened on.

        :raises Unavailable: if none can be listened on
        """
        errors = self._listen(uplinks)
        if errors and len(errors) == len(uplinks):
            raise Unavailable("; ".join(sorted(set(errors.values()))))
        now = time.monotonic()
        deaf = dict(errors)
        with self._lock:
            for address, ear in self._ears.items():
                left = ear.ripe_at - now
                if left > 0:
                    name = uplinks[address].netdev
                    deaf[address] = f"listening on {name} for LLDP frames, {left:.0f} s more"
            return Heard(
                neighbors={a: e.neighbors(now) for a, e in self._ears.items() if a not in deaf},
                deaf=deaf,
            )

    def frames(self, uplinks: Mapping[str, Uplink]) -> dict[str, tuple[Neighbor, ...]]:
        """What was heard on each uplink until now; from now on these are listened on."""
        self._listen(uplinks)
        now = time.monotonic()
        with self._lock:
            return {address: ear.neighbors(now) for address, ear in self._ears.items()}

    def _listen(self, uplinks: Mapping[str, Uplink]) -> dict[str, str]:
        """Have an ear on each of these and no other; why there is none."""
        errors: dict[str, str] = {}
        with self._lock:
            for address in self._ears.keys() - uplinks.keys():
                self._close(address)
            for address, uplink in uplinks.items():
                try:
                    index = socket.if_nametoindex(uplink.netdev)
                    if address in self._ears and self._ears[address].index == index:
                        continue
                    self._close(address)
                    packets = self.open_packets(uplink.netdev, index)
                except (OSError, Unavailable) as error:
                    errors[address] = f"cannot listen on {uplink.netdev} for LLDP frames: {error}"
                    continue
                ear = _Ear(packets, index, ripe_at=time.monotonic() + self.window)
                self._ears[address] = ear
                self._selector.register(ear.packets, selectors.EVENT_READ, ear)
                os.eventfd_write(self._wake, 1)
        for why in errors.keys() - self._errors.keys():
            LOG.warning("%s; what a guest forges there cannot be told from a switch", errors[why])
        self._errors = errors
        return errors

    def _close(self, address: str) -> None:
        ear = self._ears.pop(address, None)
        if ear:
            self._selector.unregister(ear.packets)
            ear.packets.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            ready = self._selector.select(self._until_next())
            now = time.monotonic()
            with self._lock:
                changed = [ear.age(now) for ear in self._ears.values()]
                changed += [self._read(key.data, now) for key, _ in ready]
            if any(changed):
                self._changed()
            self._stop.wait(_SETTLE_SECONDS if any(changed) else _REST_SECONDS)

    def _until_next(self) -> float | None:
        """Seconds until a neighbor expires or a window ends; ``None`` if nothing will."""
        now = time.monotonic()
        with self._lock:
            ears = list(self._ears.values())
            times = [until for ear in ears for _, _, until in ear.heard.values()]
            times += [ear.ripe_at for ear in ears if not ear.ripe]
        return max(min(times) - now, 0.0) if times else None

    def _read(self, ear: _Ear | None, now: float) -> bool:
        """Take the frames that wait on an uplink; whether they change anything."""
        if ear is None:
            os.eventfd_read(self._wake)
            return False
        changed = False
        for _ in range(_BATCH_FRAMES):
            try:
                changed |= ear.take(receive(ear.packets), now)
            except InvalidField:
                continue
            except OSError:
                break
        return changed
