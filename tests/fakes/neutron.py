# SPDX-License-Identifier: Apache-2.0
"""A fake Neutron API, over real HTTP: networks, ports and trunks, as the agent asks for them.

It is not Neutron. It keeps state, filters, pages and counts revisions, hides what a caller may not
see and refuses what Neutron refuses: 403 for ``binding:profile`` without the role service, 412 for
another revision, 400 and 409 for provider attributes that cannot become what was asked. Source of
those: neutron/conf/policies, services/revisions and plugins/ml2, 2026.2; ``contrail=True``:
Contrail's vnc_openstack, R1912.
"""

import copy
import urllib.parse
import uuid
from collections.abc import Mapping
from typing import Any

from tests.fakes.contrail.keystone import Keystone, Token
from tests.fakes.contrail.service import Answer, Request, Service
from tests.neutron import sample

Json = dict[str, Any]

PROVIDER = ("provider:network_type", "provider:physical_network", "provider:segmentation_id")
HIDDEN = ("host_id", "profile", "vif_type", "vif_details")
ADMIN_ONLY = {*PROVIDER, "segments", *(f"binding:{name}" for name in HIDDEN)}
#: vif types of ports that are bound nowhere
UNBOUND = ("unbound", "binding_failed")


class Refusal(Exception):
    def __init__(self, status: int, kind: str, message: str):
        super().__init__(message)
        self.answer = Answer(
            status, {"NeutronError": {"type": kind, "message": message, "detail": ""}}
        )


class Neutron(Service):
    """``page``: at most so many of a collection in one answer. Without a Keystone all is allowed.

    ``networks``, ``ports`` and ``trunks`` (by their parent's id) may be changed by who holds the
    lock, or before the service is started.
    """

    def __init__(
        self,
        keystone: Keystone | None = None,
        page: int | None = None,
        contrail: bool = False,
    ):
        super().__init__()
        self.keystone = keystone
        self.page = page
        self.contrail = contrail
        self.networks: dict[str, Json] = {}
        self.ports: dict[str, Json] = {}
        self.trunks: dict[str, list[Json]] = {}

    def add_network(self, vlan: int | None = None, **given: Any) -> Json:
        """A network, with the VLAN on physnet2 if there is one."""
        made = copy.deepcopy(sample("network.create.end")["network"]) | {
            "id": str(uuid.uuid4()),
            "name": "net",
            "provider:network_type": "vlan" if vlan else "vxlan",
            "provider:physical_network": "physnet2" if vlan else None,
            "provider:segmentation_id": vlan or 5000,
        }
        if self.contrail:
            del made["provider:network_type"], made["revision_number"]
            if not vlan:
                del made["provider:physical_network"], made["provider:segmentation_id"]
        with self.lock:
            self.networks[made["id"]] = made | _colons(given)
            return self.networks[made["id"]]

    def add_port(self, network: Json, host: str = "compute1", **given: Any) -> Json:
        """A port that is bound to the host, as ML2 or Contrail makes it."""
        made = copy.deepcopy(sample("port.create.end_admin")["port"]) | {
            "id": str(uuid.uuid4()),
            "network_id": network["id"],
            "mac_address": f"fa:16:3e:00:{len(self.ports) // 256:02x}:{len(self.ports) % 256:02x}",
            "binding:host_id": host,
            "binding:vif_details": {"port_filter": False},
        }
        if self.contrail:
            del made["revision_number"]
        with self.lock:
            self.ports[made["id"]] = made | _colons(given)
            return self.ports[made["id"]]

    def change(self, port: Json, **given: Any) -> None:
        """A change that somebody makes, who tells nobody."""
        with self.lock:
            port |= _colons(given)
            port["revision_number"] += 1

    def remove(self, port: Json) -> None:
        with self.lock:
            del self.ports[port["id"]]

    def respond(self, request: Request) -> Answer:
        path = request.path.rstrip("/")
        if path == "":
            return Answer(200, {"versions": [self._version()]})
        if path == "/v2.0":
            return Answer(200, {"resources": []})
        try:
            caller = self._caller(request)
            _, _, kind, *rest = path.split("/")
            found = {"networks": self.networks, "ports": self.ports}.get(kind)
            if not path.startswith("/v2.0/") or found is None or len(rest) > 1:
                raise Refusal(404, "HTTPNotFound", "The resource could not be found.")
            if not rest and request.method == "GET":
                return Answer(200, self._listed(kind, found, request, caller))
            if not rest or request.method not in {"GET", "PUT"}:
                raise Refusal(405, "HTTPMethodNotAllowed", "The method is not allowed.")
            one = found.get(rest[0])
            if one is None or not _sees(caller, one):
                name = kind.removesuffix("s").capitalize()
                raise Refusal(404, f"{name}NotFound", f"{name} {rest[0]} could not be found.")
            if request.method == "PUT":
                self._changed(kind, one, request, caller)
            return Answer(200, {kind.removesuffix("s"): self._view(one, caller)})
        except Refusal as refusal:
            return refusal.answer

    def _version(self) -> Json:
        link = {"rel": "self", "href": f"{self.url}/v2.0/"}
        return {"id": "v2.0", "status": "CURRENT", "links": [link]}

    def _caller(self, request: Request) -> Token | None:
        """Who asks; ``None`` is everybody, where there is no Keystone."""
        if self.keystone is None:
            return None
        token = self.keystone.token(request.headers.get("X-Auth-Token"))
        if token is None:
            raise Refusal(401, "HTTPUnauthorized", "The request you have made requires a token.")
        return token

    def _listed(
        self, kind: str, found: Mapping[str, Json], request: Request, caller: Token | None
    ) -> Json:
        wanted: dict[str, set[str]] = {}
        for name, value in request.pairs:
            wanted.setdefault(name, set()).add(value)
        chosen = wanted.pop("fields", None)
        marker = next(iter(wanted.pop("marker", ())), "")
        views = [self._view(one, caller) for one in found.values() if _sees(caller, one)]
        if marker and marker not in found:
            raise Refusal(404, "HTTPNotFound", f"The marker {marker} could not be found.")
        # A filter on what may not be seen filters all the same: it is the database that does.
        matching = [
            view
            for view in sorted(views, key=lambda view: view["id"])
            if view["id"] > marker
            and all(str(found[view["id"]].get(name)) in values for name, values in wanted.items())
        ]
        answer: Json = {kind: matching[: self.page]}
        if self.page and len(matching) > self.page:
            query = [pair for pair in request.pairs if pair[0] != "marker"]
            last = answer[kind][-1]["id"]
            href = f"{self.url}/v2.0/{kind}?{urllib.parse.urlencode([*query, ('marker', last)])}"
            answer[f"{kind}_links"] = [{"rel": "next", "href": href}]
        if chosen:
            answer[kind] = [
                {name: view[name] for name in view.keys() & chosen} for view in answer[kind]
            ]
        return answer

    def _view(self, one: Json, caller: Token | None) -> Json:
        view = copy.deepcopy(one)
        if one["id"] in self.trunks:
            view["trunk_details"] = {
                "trunk_id": str(uuid.uuid5(uuid.NAMESPACE_URL, one["id"])),
                "sub_ports": copy.deepcopy(self.trunks[one["id"]]),
            }
        if not _has(caller, "admin", "service"):
            view = {name: value for name, value in view.items() if name not in ADMIN_ONLY}
        return view

    def _changed(self, kind: str, one: Json, request: Request, caller: Token | None) -> None:
        given = request.body[kind.removesuffix("s")]
        constraint = request.headers.get("If-Match")
        if constraint is not None and constraint != f"revision_number={one['revision_number']}":
            raise Refusal(
                412,
                "RevisionNumberConstraintFailed",
                f"Constrained to {constraint.partition('=')[2]}, but current revision is "
                f"{one['revision_number']}",
            )
        forbidden = f"(rule:update_{kind.removesuffix('s')}) is disallowed by policy"
        if given.keys() & set(PROVIDER) and not _has(caller, "admin"):
            raise Refusal(403, "HTTPForbidden", forbidden)
        if "binding:profile" in given and not _has(caller, "service"):
            raise Refusal(403, "HTTPForbidden", f"{forbidden}:binding:profile")
        if kind == "networks":
            self._check_provider(one, given)
        one |= given
        if "revision_number" in one:
            one["revision_number"] += 1 + ("binding:profile" in given)
        if "binding:profile" in given:
            one["status"] = "DOWN"

    def _check_provider(self, one: Json, given: Json) -> None:
        """ML2's rules; Contrail takes what it gets, and forgets what it does not."""
        if self.contrail:
            given.pop("provider:network_type", None)
            if given.keys() & set(PROVIDER):
                for name in PROVIDER[1:]:
                    given.setdefault(name, None)
            return
        for name in PROVIDER[:2]:
            if given.get(name) is not None and given[name] != one[name]:
                raise Refusal(
                    400,
                    "InvalidInput",
                    "Invalid input for operation: Plugin does not support updating the following "
                    f"provider network attributes: {', '.join(PROVIDER[:2])}.",
                )
        vlan = given.get("provider:segmentation_id")
        if vlan in {None, one["provider:segmentation_id"]}:
            return
        in_use = [port for port in self.ports.values() if port["network_id"] == one["id"]]
        if any(port["binding:vif_type"] not in UNBOUND for port in in_use):
            raise Refusal(
                400,
                "InvalidInput",
                "Invalid input for operation: Provider network attribute provider:segmentation_id "
                "cannot be updated if any port in the network has not the following "
                "binding:vif_type: unbound, binding_failed.",
            )
        where = one["provider:physical_network"]
        for other in self.networks.values():
            taken = (other["provider:physical_network"], other["provider:segmentation_id"])
            if taken == (where, vlan):
                raise Refusal(
                    409,
                    "VlanIdInUse",
                    f"Unable to create the network. The VLAN {vlan} on physical network {where} "
                    "is in use.",
                )


def _has(caller: Token | None, *roles: str) -> bool:
    return caller is None or bool(set(roles) & set(caller.roles))


def _sees(caller: Token | None, one: Json) -> bool:
    return _has(caller, "admin") or (caller is not None and one["project_id"] == caller.project_id)


def _colons(given: Mapping[str, Any]) -> Json:
    """``binding_host_id`` and the like stand for ``binding:host_id``."""
    return {
        name.replace("binding_", "binding:", 1).replace("provider_", "provider:", 1): value
        for name, value in given.items()
    }
