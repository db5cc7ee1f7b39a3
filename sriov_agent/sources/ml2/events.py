# SPDX-License-Identifier: Apache-2.0
"""What Neutron tells its agents, taken into the table of ports.

Pushed ports come unordered and more than once: the higher ``revision_number`` counts. Source:
sections 1.5 and 1.6 of the contract, ``neutron/plugins/ml2/ovo_rpc.py``.
"""

import collections
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import structs

from sriov_agent.core import fields
from sriov_agent.counters import Counters
from sriov_agent.exceptions import InvalidField, Unavailable
from sriov_agent.sources import payload as payloads
from sriov_agent.sources import ports as table
from sriov_agent.sources.base import Wake
from sriov_agent.sources.ml2 import ovo
from sriov_agent.sources.port import Port
from sriov_agent.sources.ports import Ports

LOG = logging.getLogger(__name__)

Json = object

#: Fields that a versioned object lacks.
_NOT_PUSHED = ("propagate_uplink_status", "sub_ports")
#: Of how many ports of other hosts the revision is remembered, against pushes that come late.
_REMEMBERED = 10_000
#: Above every revision Neutron gives: nothing follows a deletion.
_DELETED = 2**62


class Questions(Protocol):
    """What an event makes it necessary to ask Neutron; each returns at once."""

    def ask_ports(self, port_ids: Iterable[str]) -> None:
        """Have these ports pulled."""

    def ask_policies(self) -> None:
        """Have the QoS policies pulled whose rules are not known."""

    def ask_all(self) -> None:
        """Have everything listed."""

    def ask_not_pushed(self) -> None:
        """Have the ports listed: only there is what no push tells."""

    def ask_trunks(self) -> None:
        """Have looked up what is not known of the subports of trunks."""

    def tell_status(self) -> None:
        """Have Neutron told what it does not know yet."""


class Events:
    """Puts ports into the table and wakes whoever is concerned; any thread may call it.

    :param host: this host's name; ports bound elsewhere are none of ours
    """

    def __init__(self, host: str, ports: Ports, counters: Counters, questions: Questions) -> None:
        self.host = host
        self.ports = ports
        self.counters = counters
        self.questions = questions
        self.wake: Wake = lambda keys: None
        self._lock = threading.Lock()
        self._foreign: collections.OrderedDict[str, int] = collections.OrderedDict()
        self._touched: set[str] = set()

    def pushed(self, event_type: Json, primitives: Json) -> None:
        """Ports or QoS policies as they are pushed."""
        if not isinstance(primitives, list):
            raise InvalidField("resource_list", primitives, "expected a list")
        for primitive in primitives:
            try:
                if ovo.name(primitive) == "QosPolicy":
                    self.policy(event_type, primitive)
                elif event_type == "deleted":
                    self.deleted(ovo.port_id(primitive))
                else:
                    self.port(primitive)
            except InvalidField as error:
                self.refused("a pushed object", error)

    def port(self, primitive: Json) -> None:
        """A Port as it is pushed or pulled.

        :raises InvalidField: if not even its id or revision can be told
        """
        found = ovo.data(primitive, "Port")
        self._take(ovo.api_port(found), lambda: ovo.segment(found, self.host))

    def listed(self, entry: Json, segment: Mapping[str, Json] | None = None) -> None:
        """A port as the API shows it, with its segment where the caller has it.

        :param segment: ``network_type``, ``segmentation_id`` and ``physical_network``
        """
        found = payloads.mapping(entry, "port")
        if "binding:host_id" not in found:
            raise InvalidField("binding:host_id", None, "the port does not say where it is bound")
        self._take(found, lambda: segment)

    def network(self, entry: Json) -> None:
        """A network as the API shows it, of which the QoS policy may be another."""
        network_id, _ = payloads.identity(entry)
        here = {port.port_id for port in self.ports.all() if port.network_id == network_id}
        if here:
            self.questions.ask_ports(here)

    def binding(self, port_id: Json, host: Json) -> None:
        """A port whose binding on a host changed; every host hears of it."""
        port_id = fields.port_id(port_id, "port_id")
        known = self.ports.get(port_id)
        if host == self.host or (known and known.bound):
            self.questions.ask_ports({port_id})

    def not_pushed(
        self, entry: Mapping[str, Json], sub_ports: Sequence[Json] | None = None
    ) -> None:
        """Of a port as the API shows it, what no push tells: uplink propagation and trunk.

        Where ``propagate_uplink_status`` is missing, the extension is off: then it is not.

        :param sub_ports: of its trunk, as [port id, VLAN]; ``None`` where it has none
        """
        port_id = fields.port_id(entry.get("id"))
        told: dict[str, Json] = {
            "propagate_uplink_status": fields.boolean(
                entry.get("propagate_uplink_status") or False, "propagate_uplink_status"
            )
        }
        if sub_ports is not None:
            told["sub_ports"] = list(sub_ports)
        with self._lock:
            known = self.ports.get(port_id)
            if known is None or dict(_not_pushed(known.document)) == told:
                return
            pushed = known.document.keys() - set(_NOT_PUSHED)
            document = {name: known.document[name] for name in pushed}
            port = structs.replace(known, document=document | told)
            self.ports.put(port)
        if known.bound and _wanted(port) != _wanted(known):
            self.wake(frozenset({port_id}))
            self._ask_trunks(port)

    def deleted(self, port_id: str) -> None:
        """A port that is gone for good."""
        with self._lock:
            self._touched.add(port_id)
            known = self.ports.get(port_id)
            ours = known is not None and known.bound
            if known:
                self.ports.delete(port_id)
            self._remember_foreign(port_id, _DELETED)
        if ours:
            self.wake(frozenset({port_id}))

    def policy(self, event_type: Json, primitive: Json) -> None:
        """A QosPolicy as it is pushed or pulled; one that no port here has or had is left out."""
        if event_type == "deleted":
            return
        policy_id, maximum, minimum = ovo.policy_rates(primitive)
        known = self.ports.policies()
        if policy_id not in self.policies_in_use() | known.keys():
            return
        if known.get(policy_id) != (maximum, minimum):
            ports = self.ports.put_policy(policy_id, maximum, minimum)
            if ports:
                self.wake(ports)

    def policies_in_use(self) -> frozenset[str]:
        """The QoS policies of the ports bound here."""
        found = (port.document.get("qos_policy_id") for port in self.ports.all())
        return frozenset(policy for policy in found if isinstance(policy, str))

    def begin_list(self) -> None:
        """What is heard from now on is newer than the list that is asked for now."""
        with self._lock:
            self._touched.clear()

    def end_list(self, listed: Iterable[str]) -> None:
        """The ports that are here are ``listed``, and those heard of since :meth:`begin_list`."""
        with self._lock:
            here = {port.port_id for port in self.ports.all()}
            gone = here - set(listed) - self._touched
            for port_id in gone:
                self.ports.unbind(port_id)
        if gone:
            self.wake(frozenset(gone))

    def refused(self, what: str, error: InvalidField) -> None:
        """Count and log what could not be accepted."""
        self.counters.count("events.rejected")
        LOG.error("%s: %s", what, error)

    def _take(
        self, entry: Mapping[str, Json], segment: Callable[[], Mapping[str, Json] | None]
    ) -> None:
        """:raises InvalidField: if not even its id or revision can be told, or it is foreign"""
        port_id, revision = payloads.identity(entry)
        error = ""
        try:
            said = ovo.with_segment(payloads.read_port(entry, self.host), segment())
            network_id, bound = said.network_id, bool(said.bound)
            document = {**said.document, **dict(_told_to_agents(entry))} if bound else {}
        except InvalidField as refusal:
            if entry.get("binding:host_id") != self.host:
                raise
            self.refused(f"port {port_id}", refusal)
            network_id, bound, document, error = "", True, {}, str(refusal)
        with self._lock, self.ports.database.transaction() as db:
            known = table.kept(db, port_id)
            newest = max(self._foreign.get(port_id, 0), known.revision_number if known else 0)
            if revision < newest:
                self.counters.count("events.stale")
                return
            self._touched.add(port_id)
            if not bound and not (known and known.bound):
                self._remember_foreign(port_id, revision)
                self.counters.count("events.ignored")
                return
            self._foreign.pop(port_id, None)
            if known and bound:
                kept = known.document.items() if error else _not_pushed(known.document)
                document = {**dict(kept), **document}
                network_id = network_id or known.network_id
            port = Port(
                port_id=port_id,
                revision_number=revision,
                bound=bound,
                network_id=network_id,
                document=document,
                error=error,
            )
            table.keep(db, port)
        self._follow_up(port, known)

    def _remember_foreign(self, port_id: str, revision: int) -> None:
        self._foreign[port_id] = revision
        self._foreign.move_to_end(port_id)
        if len(self._foreign) > _REMEMBERED:
            self._foreign.popitem(last=False)

    def _follow_up(self, port: Port, known: Port | None) -> None:
        before = known.document if known else {}
        news = known is None or _wanted(port) != _wanted(known)
        if news:
            self.wake(frozenset({port.port_id}))
        if not port.bound or port.error:
            return
        policy = port.document.get("qos_policy_id")
        if policy is not None and policy not in self.ports.policies():
            self.questions.ask_policies()
        self._ask_trunks(port)
        if news:
            return  # Neutron is told of what comes of it, and then of what else is to be asked
        if before.get("status") == port.document.get("status"):
            self.questions.ask_not_pushed()
        self.questions.tell_status()

    def _ask_trunks(self, port: Port) -> None:
        if "sub_ports" in port.document:
            self.questions.ask_trunks()


class Endpoint:
    """Takes the messages that oslo.messaging brings; nothing is raised, whatever they hold.

    The version that a message bears is not looked at: what cannot be understood is refused.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._methods: dict[str, Callable[[Mapping[str, Json]], None]] = {
            "push": self._push,
            "port_update": self._port_update,
            "port_delete": self._port_delete,
            "network_update": self._network_update,
            "binding_activate": self._binding,
            "binding_deactivate": self._binding,
        }

    def take(self, message: Mapping[str, Json]) -> None:
        """One message.

        :param message: ``method`` and ``args``
        """
        self._events.counters.count("events.received")
        method = message.get("method")
        take = self._methods.get(method) if isinstance(method, str) else None
        what = str(method) if take else "a message"
        try:
            if take is None:
                raise InvalidField("method", method, "agents do not know it")
            take(payloads.mapping(message.get("args"), "args"))
        except InvalidField as error:
            self._events.refused(what, error)
        except Unavailable as error:
            LOG.error("%s: cannot be kept, and is asked for again: %s", what, error)
            self._events.questions.ask_all()
        except Exception:
            self._events.counters.count("events.failed")
            LOG.exception("%s: not understood", what)

    def _push(self, arguments: Mapping[str, Json]) -> None:
        """Versioned objects were created, updated or deleted."""
        self._events.pushed(arguments.get("event_type"), arguments.get("resource_list"))

    def _port_update(self, arguments: Mapping[str, Json]) -> None:
        """A bound port was changed."""
        self._events.listed(arguments.get("port"), arguments)

    def _port_delete(self, arguments: Mapping[str, Json]) -> None:
        """A port was deleted."""
        self._events.deleted(fields.port_id(arguments.get("port_id")))

    def _network_update(self, arguments: Mapping[str, Json]) -> None:
        """A network's MTU or QoS policy was changed."""
        self._events.network(arguments.get("network"))

    def _binding(self, arguments: Mapping[str, Json]) -> None:
        """A port's binding on this host or another is the active one now, or is not any more."""
        self._events.binding(arguments.get("port_id"), arguments.get("host"))


def _not_pushed(document: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """Fields that a versioned object lacks: they stay as another message told them."""
    for name in _NOT_PUSHED:
        if name in document:
            yield name, document[name]


def _told_to_agents(entry: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    yield "status", fields.text(entry.get("status") or "", "status")
    policy = entry.get("qos_policy_id") or entry.get("qos_network_policy_id")
    if policy is not None:
        yield "qos_policy_id", fields.port_id(policy, "qos_policy_id")
    if "binding:profile" in entry:
        yield "profile", dict(payloads.mapping(entry["binding:profile"] or {}, "binding:profile"))
    propagated = entry.get("propagate_uplink_status")
    if propagated is not None:
        yield "propagate_uplink_status", fields.boolean(propagated, "propagate_uplink_status")


def _wanted(port: Port) -> object:
    """What of a port makes a difference to the host."""
    assumed = {"propagate_uplink_status": True}
    document = {**assumed, **port.document}
    document.pop("status", None)
    return port.bound, port.network_id, port.error, document
