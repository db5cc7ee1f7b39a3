# SPDX-License-Identifier: Apache-2.0
"""What Neutron says of ports and networks, put into the table of ports: by event or look-up."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from sriov_agent.core import fields
from sriov_agent.counters import Counters
from sriov_agent.exceptions import InvalidField, Unavailable
from sriov_agent.sources import payload as payloads
from sriov_agent.sources.base import Wake
from sriov_agent.sources.port import Port
from sriov_agent.sources.ports import Ports

LOG = logging.getLogger(__name__)

Json = object


class Events:
    """Puts events into the table of ports and wakes whoever is concerned.

    :param host: this host's name; ports bound elsewhere are none of ours
    """

    def __init__(self, host: str, ports: Ports, counters: Counters) -> None:
        self.host = host
        self.ports = ports
        self.counters = counters
        self.wake: Wake = lambda keys: None
        #: Called after each event, which may leave something to look up.
        self.taken: Callable[[], None] = lambda: None
        self._merging = threading.Lock()

    def take(self, event_type: str, payload: Json) -> None:
        """One event. Bad input is logged, counted and, where it names a port, kept for it.

        :raises Unavailable: if the event could not be kept
        """
        resource, operation, _ = event_type.split(".")
        self.counters.count("events.received")
        try:
            if operation == "delete":
                self._deleted(resource, payload)
            elif resource == "port":
                self._each(payloads.ports(payload), self._port)
            else:
                self._each(payloads.networks(payload), self._network)
        except InvalidField as error:
            self._refused(event_type, error)
        except Unavailable:
            raise
        except Exception:
            self.counters.count("events.failed")
            LOG.exception("%s: not understood", event_type)
        self.taken()

    def looked_up(self, ports: Sequence[Json], networks: Sequence[Json] = ()) -> None:
        """What Neutron's API says now, taken like so many events.

        :raises Unavailable: if it could not be kept
        """
        self._each(ports, self._port)
        self._each(networks, self._network)

    def took_sub_ports(self, networks: Mapping[str, str]) -> None:
        """The network of each of these subports.

        :raises InvalidField: if they are none
        :raises Unavailable: if it could not be kept
        """
        checked = {
            fields.port_id(port_id): fields.port_id(network_id, "network_id")
            for port_id, network_id in networks.items()
        }
        concerned = self.ports.put_sub_ports(checked)
        if concerned:
            self.wake(concerned)

    def gone(self, known: Port) -> None:
        """Neutron does not have the port here any more, unless something was heard of it since.

        :raises Unavailable: if that could not be kept
        """
        if self.ports.unbind_unchanged(known):
            self.wake(frozenset({known.port_id}))

    def _each(self, entries: Sequence[Json], take: Callable[[Json], None]) -> None:
        for entry in entries:
            try:
                take(entry)
            except InvalidField as error:
                self._refused(_name(entry), error)

    def _deleted(self, resource: str, payload: Json) -> None:
        if resource == "port":
            port_id = payloads.deleted_id(payload, "port")
            if self.ports.delete(port_id):
                self.wake(frozenset({port_id}))

    def _network(self, entry: Json) -> None:
        network = payloads.read_network(entry)
        if network:
            concerned = self.ports.put_network(network)
            if concerned:
                self.wake(concerned)

    def _port(self, entry: Json) -> None:
        """Take a port field by field: a tenant's word and an administrator's may cross.

        Each of the two parts of a port, what a tenant sees and the ``binding:*`` fields, is as of
        the newest revision that told of it.
        """
        port_id, revision = payloads.identity(entry)
        with self._merging:
            known = self.ports.get(port_id)
            newer = known is None or revision >= known.revision_number
            tells = payloads.tells_binding(entry)
            if not newer and not (known and tells and revision >= known.told_binding):
                self.counters.count("events.stale")
                return
            merged = self._with(known, entry, newer)
            if merged is None or not (tells or merged.bound or payloads.served(entry)):
                self.counters.count("events.ignored")
                return
            ours = known is not None and known.bound
            kept = self.ports.put(merged)
        if not ours and not merged.bound:
            self.counters.count("events.ignored")
        elif kept and merged != known:
            self.wake(frozenset({port_id}))

    def _with(self, known: Port | None, entry: Json, newer: bool) -> Port | None:
        """The port with what the entry says, or with what is wrong with that."""
        try:
            return _merged(known, payloads.read_port(entry, self.host), newer)
        except InvalidField as error:
            self._refused(_name(entry), error)
            return self._with_error(known, entry, newer, error)

    def _with_error(
        self, known: Port | None, entry: Json, newer: bool, error: InvalidField
    ) -> Port | None:
        """The port with the error if it is, or would be, bound here; it keeps what it has.

        If the binding was part of what was refused, what is known of it is out of date: only
        who sees bindings can mend it.
        """
        ours = known is not None and known.bound
        if not ours and not (isinstance(entry, dict) and entry.get("binding:host_id") == self.host):
            return None
        port_id, revision = payloads.identity(entry)
        if known is None:
            known = Port(port_id=port_id, revision_number=revision, bound=True, document={})
        document = dict(known.document)
        told = known.told_binding
        if payloads.tells_binding(entry):
            document.pop("vnic_type", None)
            told = max(told, revision)
        return replace(
            known,
            revision_number=revision if newer else known.revision_number,
            binding_revision=told,
            bound=True,
            document=document,
            error=str(error),
        )

    def _refused(self, what: str, error: InvalidField) -> None:
        self.counters.count("events.rejected")
        LOG.error("%s: %s", what, error)


def _merged(known: Port | None, said: payloads.PortPayload, newer: bool) -> Port:
    """What is known with what was said; ``newer``: also of what a tenant sees."""
    before = known or Port(port_id=said.port_id, revision_number=-1, bound=False, document={})
    tells = said.bound is not None and said.revision_number >= before.told_binding
    document = {
        name: value
        for part, source in (
            (False, said.document if newer else before.document),
            (True, said.document if tells else before.document),
        )
        for name, value in source.items()
        if (name in payloads.BINDING_FIELDS) is part
    }
    complete = newer and (tells or "vnic_type" in document)
    return Port(
        port_id=said.port_id,
        revision_number=said.revision_number if newer else before.revision_number,
        binding_revision=said.revision_number if tells else before.told_binding,
        bound=bool(said.bound) if tells else before.bound,
        network_id=said.network_id if tells else before.network_id,
        document=document,
        error="" if complete else before.error,
    )


def _name(entry: Json) -> str:
    named = entry.get("id") if isinstance(entry, dict) else None
    try:
        return f"port or network {fields.port_id(named)}"
    except InvalidField:
        return "port or network without an id"
