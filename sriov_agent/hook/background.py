# SPDX-License-Identifier: Apache-2.0
"""A hook that keeps nobody waiting: it is asked in a thread of its own.

Who asks gets what was seen last, at once, and is woken when that changes. A device manager that
hangs holds up nothing but the VLANs it was to open.
"""

import contextlib
import functools
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from sriov_agent.core.model import Segment, SwitchPort
from sriov_agent.exceptions import Pending, Refused, SriovAgentError, Unavailable
from sriov_agent.hook.base import Hook

LOG = logging.getLogger(__name__)

Segments = frozenset[Segment]
Wanted = Mapping[SwitchPort, Segments]

#: What a hook that is being asked may take to end; its thread does not keep the process.
STOP_SECONDS = 5.0


class Jobs(Protocol):
    """A queue of what is to be done; ``None`` ends it."""

    def put(self, job: Callable[[], None] | None, /) -> None: ...

    def get(self) -> Callable[[], None] | None: ...


class _Ask(Struct):
    """What is wanted of a link; ``pending`` while the device manager is at it.

    ``told`` once its outcome was heard; ``before`` is why the same failed when it was last asked.
    """

    link: SwitchPort
    wanted: Wanted
    before: str = ""
    pending: bool = False
    done: bool = False
    error: SriovAgentError | None = None
    told: bool = False


class Background:
    """``hook``, as the reconciler knows it.

    :param answered: called with the PF of a link of which something new is known, from the thread
    :param failed: called for each question that was not answered, or refused, from the thread
    :param jobs: where questions wait for the thread
    """

    def __init__(
        self,
        hook: Hook,
        answered: Callable[[str], None] = lambda pf: None,
        *,
        failed: Callable[[], None] = lambda: None,
        jobs: Jobs | None = None,
    ) -> None:
        self.hook = hook
        self._failed = failed
        self._answered = answered
        self._lock = threading.RLock()
        self._seen: dict[SwitchPort, Segments] = {}
        self._errors: dict[SwitchPort, str] = {}
        self._asks: dict[SwitchPort, _Ask] = {}
        self._to_read: set[SwitchPort] = set()
        self._owned_too = False
        self._jobs: Jobs = jobs or queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="hook", daemon=True)

    @property
    def required(self) -> bool:
        """See :class:`~sriov_agent.hook.base.Hook`."""
        return self.hook.required

    @property
    def networks(self) -> bool:
        """See :class:`~sriov_agent.hook.base.Hook`."""
        return self.hook.networks

    def start(self) -> None:
        """Begin to ask, if there is anybody."""
        if self.required:
            self._thread.start()
            self.hook.start(self._changed)

    def stop(self) -> None:
        """Ask no more."""
        self.hook.stop()
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def read(
        self, links: Iterable[SwitchPort], *, again: bool
    ) -> tuple[dict[SwitchPort, Segments], dict[SwitchPort, str]]:
        """What is open for this host on each link and why others cannot be told.

        A link in neither has not been answered for yet.

        :param again: have all of them, and what else is the host's, looked at anew
        """
        if not self.required:
            return {}, {}
        asked = set(links)
        with self._lock:
            waiting = bool(self._to_read) or self._owned_too
            pending = [ask for ask in self._asks.values() if again and ask.pending]
            self._to_read |= asked if again else asked - self._seen.keys()
            self._owned_too |= again
            submit = not waiting and bool(self._to_read or self._owned_too)
        if submit:
            self._jobs.put(self._read)
        for ask in pending:
            self._jobs.put(functools.partial(self._apply, ask))
        with self._lock:
            errors = {link: self._errors[link] for link in asked & self._errors.keys()}
            return dict(self._seen), errors

    def apply(self, link: SwitchPort, wanted: Wanted) -> None:
        """Have exactly ``wanted[link]`` open on the link; :meth:`read` tells what became of it.

        :raises Pending: if there is no answer yet
        :raises Unavailable: if none came
        :raises Refused: if it was refused
        """
        with self._lock:
            last = self._asks.get(link)
            if last is None or last.wanted[link] != wanted[link]:
                ask = _Ask(link, dict(wanted))
            elif last.told:
                ask = _Ask(link, dict(wanted), before=str(last.error or ""))
            else:
                ask = last
            self._asks[link] = ask
        if ask is not last:
            self._jobs.put(functools.partial(self._apply, ask))
        with self._lock:
            if not ask.done:
                raise Pending(ask.before)
            ask.told = True
            if ask.error:
                raise ask.error

    def _changed(self, link: SwitchPort) -> None:
        """The device manager has news of a link."""
        with self._lock:
            ask = self._asks.get(link)
            if ask is None or ask.done:
                self._to_read.add(link)
                ask = None
        self._jobs.put(functools.partial(self._apply, ask) if ask else self._read)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _read(self) -> None:
        with self._lock:
            links, self._to_read = self._to_read, set()
            owned_too, self._owned_too = self._owned_too, False
        try:
            if owned_too:
                links |= set(self.hook.owned())
            found = self.hook.read(sorted(links, key=str))
            why = ""
        except SriovAgentError as error:
            found, why = {}, str(error)
        except Exception as error:
            LOG.exception("the hook failed to read")
            found, why = {}, f"the hook failed: {error!r}"
        if why:
            self._failed()
        news = {
            link.pf
            for link in links
            if self._note(link, found.get(link), why or self.hook.why(link))
        }
        for pf in sorted(news):
            self._answered(pf)

    def _apply(self, ask: _Ask) -> None:
        if self._asks.get(ask.link) is not ask:
            return
        seen: Segments | None = None
        try:
            seen = self._opened(ask)
        except Pending:
            ask.pending = True
            return
        except SriovAgentError as error:
            ask.error = error
        except Exception as error:
            LOG.exception("the hook failed to apply")
            ask.error = Unavailable(f"the hook failed: {error!r}")
        if ask.error:
            self._failed()
        ask.pending, ask.done = False, True
        if not isinstance(ask.error, Refused):
            self._note(ask.link, seen, "")
        self._answered(ask.link.pf)

    def _opened(self, ask: _Ask) -> Segments:
        """Have it open; a segment that is refused holds back no other, and is raised."""
        link, segments = ask.link, ask.wanted[ask.link]
        before = self._seen.get(link, frozenset())

        def apply(asked: Segments) -> Segments:
            seen = self.hook.apply(link, {**ask.wanted, link: asked})
            self._note(link, seen, "")
            return seen

        try:
            return apply(segments)
        except Refused as refusal:
            if self.hook.separates:
                self._note(link, self.hook.read([link]).get(link), "")
                raise
            with self._lock:
                self._seen.pop(link, None)
            seen = apply(before & segments)
            new = segments - before
            for segment in sorted(new) if len(new) > 1 else ():
                with contextlib.suppress(Refused):
                    seen = apply(seen | {segment})
            raise refusal

    def _note(self, link: SwitchPort, seen: Segments | None, why: str) -> bool:
        """Keep what is known of a link now; whether that is news."""
        with self._lock:
            before = self._seen.get(link), self._errors.get(link)
            self._seen.pop(link, None)
            self._errors.pop(link, None)
            if seen is not None:
                self._seen[link] = seen
            elif why:
                self._errors[link] = why
            return before != (self._seen.get(link), self._errors.get(link))
