# SPDX-License-Identifier: Apache-2.0
"""The reconciling thread, what wakes it, and its timers."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence

from msgspec.structs import replace
from oslo_config import cfg
from oslo_context.context import RequestContext

from sriov_agent import conf as options
from sriov_agent import metrics, parts
from sriov_agent.backoff import Backoff
from sriov_agent.control import Control
from sriov_agent.core.metrics import Family, of_agent
from sriov_agent.core.report import PortReport, PortState, Report
from sriov_agent.core.state import ALL, Scope
from sriov_agent.counters import Counters, Durations
from sriov_agent.draw.page import POLICY, page
from sriov_agent.exceptions import Pending, SriovAgentError, Unavailable
from sriov_agent.hook.background import Background
from sriov_agent.hook.loader import load
from sriov_agent.host.inventory import Inventory
from sriov_agent.host.netlink import Netlink
from sriov_agent.host.watch import LinkWatch
from sriov_agent.libvirt import loader
from sriov_agent.libvirt.files import InterfaceFiles
from sriov_agent.picture import picture
from sriov_agent.reconciler import Reconciler
from sriov_agent.sources.ports import Ports
from sriov_agent.store import Store
from sriov_agent.systemd import Systemd
from sriov_agent.web import Page

LOG = logging.getLogger(__name__)

#: How long who asks for a pass waits for it.
NOW_SECONDS = 120.0

#: How long a pass may take before the agent is said to be stuck.
STUCK_SECONDS = 600.0

#: What is not tried again until something happens.
SETTLED = (PortState.MET, PortState.UNPLUGGED)

#: The key of a retry that concerns the host rather than one port.
HOST = ""


class Agent:
    """Reconciles when woken by its source or LLDP, when a retry is due, and every so often."""

    def __init__(self, conf: cfg.ConfigOpts, counters: Counters | None = None) -> None:
        self.counters = counters or Counters()
        self.store = Store(options.store_path(conf))
        self.source = parts.source(conf, self.counters)
        self.lldp = parts.discovery(conf)
        self.domains = loader.domains(conf.libvirt.uri, lambda: self.wake(None))
        hook = load(conf)
        self.fabric = Background(
            hook,
            self._answered,
            failed=lambda: self.counters.count("fabric.failed"),
        )
        self.taps = parts.taps(conf, self.store)
        self._taps_unmet: tuple[str, ...] = ()
        self.links = LinkWatch(self._link_changed)
        excluded = options.excluded_vfs(conf)
        self.inventory = Inventory(parts.mappings(conf), Netlink(), excluded=excluded)
        self.reconciler = Reconciler(
            source=self.source,
            host=self.inventory,
            lldp=self.lldp,
            interfaces=InterfaceFiles(options.interfaces_path(conf)),
            fabric=self.fabric,
            record=self.store,
            domains=self.domains,
            follow_lldp=conf.lldp.on_change == "follow",
        )
        self.resync_interval = conf.agent.resync_interval
        self._backoff = Backoff(conf.agent.retry_min, conf.agent.retry_max)
        self._wakes: queue.SimpleQueue[tuple[float, frozenset[str] | None]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._report = Report()
        self._waiting: list[threading.Event] = []
        self._passing = False
        self._began = 0.0
        self._event = 0.0
        self._passes, self._lag = Durations(), Durations()
        self._systemd = Systemd()
        ports = Ports(options.ports_path(conf))

        def status() -> Page:
            html = page(picture(conf.host, self.store, ports))
            return Page(html.encode(), "text/html; charset=utf-8", policy=POLICY)

        self.web = metrics.observed(
            conf.metrics.listen,
            conf.metrics.port,
            self.families,
            self.unhealthy,
            {"/": status} if conf.metrics.status_page else {},
        )
        self._changed: list[tuple[float, set[str], frozenset[str]]] = []
        self.control = Control(
            options.socket_path(conf),
            {"reconcile": self.reconcile_now, "counters": self.counters.snapshot},
        )

    def families(self) -> Sequence[Family]:
        """What there is to measure now; from any thread."""
        return of_agent(
            self._report,
            self.counters.snapshot(),
            len(self._backoff.known()),
            self._passes.snapshot(),
            self._lag.snapshot(),
        )

    def unhealthy(self) -> str:
        """Why the agent does not do its work, "" if it does; from any thread."""
        seconds = time.monotonic() - self._began
        if self._passing and seconds > STUCK_SECONDS:
            return f"a pass has not ended for {seconds:.0f} s"
        return ""

    def wake(self, keys: frozenset[str] | None) -> None:
        """Have these ports looked at again, or everything; from any thread."""
        self._wakes.put((time.monotonic(), keys))

    def reconcile_now(self) -> None:
        """Have everything looked at, and wait until it was; from any thread but its own.

        :raises Unavailable: if that takes too long
        """
        done = threading.Event()
        self._waiting.append(done)
        self.wake(None)
        if not done.wait(NOW_SECONDS):
            raise Unavailable(f"everything was not looked at in {NOW_SECONDS:g} s")

    def _answered(self, pf: str) -> None:
        """The device manager has news of a PF: its ports are looked at, or what is of no port."""
        self.wake(self._ports(lambda entry: entry.claim is not None and entry.claim.pf == pf))

    def _link_changed(self, netdev: str, kind: str) -> None:
        """A network device is another: whose VF may be plugged or unplugged is looked at."""
        self.inventory.changed(netdev, kind)
        if not netdev:
            self.wake(None)
            return
        pfs = {address for address, pf in self._report.pfs.items() if pf.netdev == netdev}
        keys = self._ports(
            lambda entry: (
                entry.claim is not None
                and (entry.claim.pf in pfs or (kind == "macvtap" and entry.state in SETTLED))
            )
        )
        if keys and self._passing:
            self._changed.append((time.monotonic(), pfs or set(self._report.pfs), keys))
        elif keys:
            self.wake(keys)

    def _wake_changed(self) -> None:
        """Look again at what changed after the pass that ends had seen it.

        What the pass itself changed, and what changed before it looked last, it has seen.
        """
        self._passing = False
        changed, self._changed = self._changed, []
        for at, pfs, keys in changed:
            if any(at >= self.reconciler.looked(pf) for pf in pfs):
                self.wake(keys)

    def _ports(self, chosen: Callable[[PortReport], bool]) -> frozenset[str] | None:
        """The ports of the last report that are chosen; ``None`` for none."""
        entries = self._report.ports.items()
        return frozenset(port for port, entry in entries if chosen(entry)) or None

    def stop(self) -> None:
        """Have :meth:`run` return after the pass it is in; from any thread or signal handler."""
        self._stop.set()
        self.wake(frozenset())

    def run(self) -> None:
        """Reconcile until :meth:`stop`. What ports have they keep: a stop changes nothing."""
        if self.web:
            self.web.start()
        try:
            self.control.start()
        except SriovAgentError as error:
            LOG.error("sriovctl cannot ask this agent: %s", error)
        self.source.start(self.wake)
        self.fabric.start()
        self.links.start()
        self.lldp.start(lambda: self.wake(None))
        self._systemd.ready(self.unhealthy)
        try:
            resync = time.monotonic()
            while not self._stop.is_set():
                RequestContext()  # what is logged in this thread in the next pass bears its id
                scope = self._next_scope(resync)
                if scope is None:
                    continue
                waiting: list[threading.Event] = []
                if scope == ALL:
                    resync = time.monotonic() + self.resync_interval
                    waiting, self._waiting = self._waiting, waiting
                self._began = time.monotonic()
                self._passing = True
                self._pass(scope)
                self._wake_changed()
                self._passes.add(time.monotonic() - self._began)
                if self._event:
                    self._lag.add(time.monotonic() - self._event)
                for done in waiting:
                    done.set()
        finally:
            self._systemd.stopping()
            self.lldp.stop()
            self.source.stop()
            self.fabric.stop()
            self.links.stop()
            if self.domains:
                self.domains.close()
            self.control.stop()
            if self.web:
                self.web.stop()

    def _next_scope(self, resync: float) -> Scope | None:
        """Wait for something to do: everything that came by then is one pass."""
        wait = min(resync, self._backoff.next()) - time.monotonic()
        events: list[tuple[float, frozenset[str] | None]] = []
        try:
            events.append(self._wakes.get(timeout=max(wait, 0)))
            while True:
                events.append(self._wakes.get_nowait())
        except queue.Empty:
            pass
        self._event = min((at for at, _ in events), default=0.0)
        woken = [keys for _, keys in events]
        now = time.monotonic()
        due = self._backoff.due(now)
        self.counters.count("retries", len(due))
        if now >= resync or HOST in due or None in woken:
            return ALL
        keys = due.union(*(keys for keys in woken if keys is not None))
        return Scope(keys) if keys else None

    def _pass(self, scope: Scope) -> None:
        self.counters.count("passes")
        try:
            report = self.reconciler.reconcile(scope)
        except SriovAgentError as error:
            LOG.error("nothing done, since it is unknown what is desired or owned: %s", error)
            self._failed()
            return
        except Exception:
            LOG.exception("a pass over %s failed", scope)
            self._failed()
            return
        if scope == ALL:
            self._look_after_taps()
        report = replace(report, unmet=report.unmet + self._taps_unmet)
        self.source.tell(report)
        self._reschedule(report, scope)
        self._say(report, scope)
        self._report = report
        states = [entry.state for entry in report.ports.values()]
        unmet = len(states) - sum(state in SETTLED for state in states)
        self._systemd.tell(STATUS=f"{len(states)} ports, {unmet} of them unmet")

    def _look_after_taps(self) -> None:
        try:
            self._taps_unmet = tuple(self.taps.reconcile()) if self.taps else ()
        except SriovAgentError as error:
            self._taps_unmet = (str(error),)
        except Exception as error:
            LOG.exception("a pass over the taps failed")
            self._taps_unmet = (f"taps: {error!r}",)

    def _failed(self) -> None:
        self.counters.count("passes.failed")
        self._backoff.failed(HOST, time.monotonic())

    def _reschedule(self, report: Report, scope: Scope) -> None:
        now = time.monotonic()
        for port, entry in report.ports.items():
            if port in scope and entry.state not in SETTLED:
                self._tried(port, entry.unmet, now)
        for port in self._backoff.known() - {HOST}:
            if port not in report.ports or report.ports[port].state in SETTLED:
                self._backoff.succeeded(port)
        self._tried(HOST, report.unmet, now)

    def _tried(self, key: str, unmet: Collection[str], now: float) -> None:
        if not unmet:
            self._backoff.succeeded(key)
        elif all(sentence.endswith(Pending.ENDING) for sentence in unmet):
            self._backoff.waits(key)  # an answer that comes wakes by itself
        else:
            self._backoff.failed(key, now)

    def _say(self, report: Report, scope: Scope) -> None:
        for port, entry in report.ports.items():
            if port not in scope:
                continue
            self.counters.count(f"ports.{entry.state}")
            known = self._report.ports.get(port)
            level = logging.WARNING if known and known.unmet == entry.unmet else logging.INFO
            for sentence in entry.unmet:
                LOG.log(level, "port %s %s: %s", port, entry.state, sentence)
            if entry.unsupported:
                LOG.warning(
                    "port %s: the NIC does not support %s", port, ", ".join(entry.unsupported)
                )
        for sentence in report.unmet:
            level = logging.WARNING if sentence in self._report.unmet else logging.INFO
            LOG.log(level, "%s", sentence)
        if report == self._report and scope != ALL:
            return
        try:
            self.store.save(report, self.counters.snapshot())
        except SriovAgentError as error:
            LOG.error("the report was not saved: %s", error)
