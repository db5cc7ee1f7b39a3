# SPDX-License-Identifier: Apache-2.0
"""The state that several device managers share: etcd.

Below the prefix::

    want/<host>/<pf>/...    what a host wants on a link
    owned/<switch>          the VLANs that were opened, by port
    status/<switch>         what became of the switch's ports
    member/<name>/<lease>   a live manager, as long as its lease lasts
    lock/<switch>           who writes to it, as long as that lease lasts

A lock's fencing number is the revision that made its key: a transaction that compares it fails
once the lease has ended, even if somebody else has the lock by now, whatever this process believes.
"""

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sriov_agent.exceptions import Unavailable, printable
from sriov_agent.fabric.model import PortStatus, Vlans, Want
from sriov_agent.fabric.state import records, ring
from sriov_agent.fabric.state.base import Fence, State
from sriov_agent.fabric.state.gateway import Gateway, change, created, delete, modified, put

LOG = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Lock(Fence):
    key: str
    revision: int
    lease: int


class Etcd(State):
    """What managers share in etcd.

    :param gateway: etcd
    :param member: this manager's name, no other's
    :param prefix: what keys begin with; ends with a slash
    :param lock_ttl: seconds after which a manager that is not heard of has lost its switches, and
        what it has in hand; at least twice the gateway's timeout
    """

    def __init__(
        self,
        gateway: Gateway,
        member: str,
        *,
        prefix: str = "/sriov-device-manager/v1/",
        lock_ttl: int = 30,
    ) -> None:
        self._gateway = gateway
        self._name = member
        self._prefix = prefix
        self._ttl = lock_ttl
        self._changed: Callable[[], None] = lambda: None
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._beat = threading.Event()
        self._lease = 0
        self._until = 0.0
        self._members: frozenset[str] = frozenset()
        self._inside: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._held: set[_Lock] = set()

    def start(self, changed: Callable[[], None]) -> None:
        """Join the other managers, now or as soon as etcd answers."""
        self._changed = changed
        with suppress(Unavailable):
            self._live()
        for run in (self._keep_alive, self._watch):
            self._threads.append(
                threading.Thread(target=run, name=f"etcd{run.__name__}", daemon=True)
            )
            self._threads[-1].start()

    def stop(self) -> None:
        self._ended.set()
        self._beat.set()
        for keeper in self._threads[:1]:
            keeper.join()
        if self._lease:
            # That this manager's key goes is also what wakes the thread that watches.
            with suppress(Unavailable):
                self._gateway.revoke(self._lease)
        for watcher in self._threads[1:]:
            watcher.join(_RETRY_SECONDS)

    def mine(self, switch: str) -> bool:
        if time.monotonic() > self._until:
            raise Unavailable(f"etcd: {self._name} is no member of the managers")
        return ring.owner(switch, self._members) == self._name

    @contextmanager
    def hold(self, switch: str) -> Iterator[Fence]:
        """Be the one writer; waits for other threads of this manager, not for other managers."""
        with self._inside[switch]:
            lock = self._acquired(switch)
            self._held.add(lock)
            try:
                yield lock
            finally:
                self._held.discard(lock)
                self._end(lock.lease)

    def wants(self, host: str | None = None) -> list[Want]:
        where = f"{self._prefix}want/" if host is None else self._key("want", host, "")
        kept = self._gateway.read(where)
        return [records.want(record.value) for record in kept.values()]

    def put_wants(self, wants: Iterable[Want]) -> list[Want]:
        return [want for want in wants if self._put(want)]

    def _put(self, want: Want) -> bool:
        key = self._want_key(want)
        while True:
            kept = self._gateway.get(key)
            if kept and not records.replaces(want, records.want(kept.value)):
                return False
            unchanged = modified(key, kept.modified if kept else 0)
            if self._gateway.commit(unchanged, put(key, records.want_text(want))):
                return True

    def drop_wants(self, wants: Iterable[Want]) -> None:
        for want in wants:
            key = self._want_key(want)
            while (kept := self._gateway.get(key)) and records.want(kept.value) == want:
                if self._gateway.commit(modified(key, kept.modified), delete(key)):
                    break

    def owned(self, switch: str) -> Mapping[str, Vlans]:
        kept = self._gateway.get(self._key("owned", switch))
        return records.owned(kept.value) if kept else {}

    def set_owned(self, switch: str, owned: Mapping[str, Vlans], fence: Fence) -> None:
        lock = self._key("lock", switch)
        if not isinstance(fence, _Lock) or fence.key != lock:
            raise Unavailable(f"{switch}: not held")
        # What is merged here cannot be old: who would have changed it had the lock.
        record = records.owned_text({**self.owned(switch), **owned})
        key = self._key("owned", switch)
        if not self._gateway.commit(created(lock, fence.revision), put(key, record)):
            raise Unavailable(f"{switch}: this manager is the one writer no longer")

    def statuses(self) -> list[PortStatus]:
        kept = self._gateway.read(f"{self._prefix}status/")
        return [status for record in kept.values() for status in records.statuses(record.value)]

    def set_statuses(self, switch: str, statuses: Iterable[PortStatus]) -> None:
        self._gateway.put(self._key("status", switch), records.statuses_text(statuses))

    def _key(self, *parts: str) -> str:
        return self._prefix + records.key(*parts)

    def _want_key(self, want: Want) -> str:
        return f"{self._prefix}want/{records.link_key(want.link)}"

    def _acquired(self, switch: str) -> _Lock:
        """The lock, with a lease of its own: one that cannot be ended is left to end by itself."""
        key = self._key("lock", switch)
        lease = self._gateway.grant(self._ttl)
        try:
            holder = put(key, json.dumps(self._name), lease)
            revision = self._gateway.commit(created(key, 0), holder)
            if not revision:
                kept = self._gateway.get(key)
                raise Unavailable(f"{switch}: {kept.value if kept else 'another'} writes to it now")
        except Unavailable:
            self._end(lease)
            raise
        return _Lock(key, revision, lease)

    def _end(self, lease: int) -> None:
        try:
            self._gateway.revoke(lease)
        except Unavailable as error:
            LOG.warning("A lock ends in %s s only: %s", self._ttl, printable(str(error)))

    def _keep_alive(self) -> None:
        """The thread that shows that this manager lives, and sees who else does."""
        while not self._ended.is_set():
            healthy = time.monotonic() < self._until
            pause = _RETRY_SECONDS
            try:
                self._live()
                pause = self._ttl / 3
            except Unavailable as error:
                LOG.log(logging.WARNING if healthy else logging.DEBUG, "%s", error)
            except Exception:
                LOG.exception("What keeps this manager a member failed")
            self._beat.wait(pause)
            self._beat.clear()

    def _live(self) -> None:
        """Keep the leases, be a member, and learn who the members are."""
        for lock in list(self._held):
            if not self._gateway.keep_alive(lock.lease) and lock in self._held:
                LOG.warning("%s: lost; what is in hand is not written", printable(lock.key))
                self._held.discard(lock)
        asked = time.monotonic()
        if asked > self._until:
            self._members = frozenset()
        seconds = self._gateway.keep_alive(self._lease) if self._lease else 0
        if not seconds:
            self._lease = self._gateway.grant(self._ttl)
        self._until = asked + (seconds or self._ttl)
        me = self._key("member", self._name, f"{self._lease:x}")
        kept = self._gateway.read(f"{self._prefix}member/")
        if me not in kept:
            name = json.dumps(self._name)
            self._gateway.commit(created(me, 0), put(me, name, self._lease))
        names = frozenset(_name(record.value) for record in kept.values()) | {self._name}
        former, self._members = self._members, names
        if names != former:
            LOG.info("Managers: %s", ", ".join(sorted(map(printable, names))))
            self._changed()

    def _watch(self) -> None:
        """The thread that sees what other managers change."""
        while not self._ended.is_set():
            try:
                for events in self._gateway.watch(self._prefix, self._ttl):
                    if self._ended.is_set():
                        return
                    # Without events: it watches from here on, and what was before is not known.
                    self._tell([change(each) for each in events] or [("", None, None)])
            except Unavailable as error:
                LOG.debug("%s", error)
            except Exception:
                LOG.exception("What sees other managers' changes failed")
            self._ended.wait(_RETRY_SECONDS)

    def _tell(self, events: list[tuple[str, str | None, str | None]]) -> None:
        keys = [key.removeprefix(self._prefix) for key, _, _ in events]
        if any(key.startswith("member/") for key in keys) or not all(keys):
            self._beat.set()
        if not all(keys) or any(
            (key.startswith("want/") and not _same(before, after))
            or (key.startswith("status/") and _forgotten(before, after))
            for key, (_, before, after) in zip(keys, events, strict=True)
        ):
            self._changed()


def _same(before: str | None, after: str | None) -> bool:
    """Whether a want was only told once more."""
    with suppress(Unavailable):
        return bool(before and after and records.want(before) == records.want(after))
    return False


def _forgotten(before: str | None, after: str | None) -> bool:
    """Whether of a port that was seen it is not known any more what it carries."""
    with suppress(Unavailable):
        seen = {status.port for status in records.statuses(before or "[]") if status.seen}
        return any(s.port in seen and s.seen is None for s in records.statuses(after or "[]"))
    return False


def _name(value: str) -> str:
    try:
        return str(json.loads(value))
    except ValueError as error:
        raise Unavailable(f"kept is no member: {printable(value)}") from error
