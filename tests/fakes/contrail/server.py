# SPDX-License-Identifier: Apache-2.0
"""The fake's config API over HTTP."""

import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.fakes.contrail import topology
from tests.fakes.contrail.access import Access, Caller, Rule, Unauthorized
from tests.fakes.contrail.config import Config
from tests.fakes.contrail.keystone import Keystone
from tests.fakes.contrail.objects import Refused, Snapshot
from tests.fakes.contrail.port_groups import GLOBAL, MEMBERS, PI, vlans_of
from tests.fakes.contrail.reservations import VPG
from tests.fakes.contrail.schema import Flavour, Type
from tests.fakes.contrail.service import Answer, Request, Service
from tests.fakes.contrail.views import Views

#: path to the name that the list at ``/`` gives it
ACTIONS = {
    "fqname-to-id": "name-to-id",
    "id-to-fqname": "id-to-name",
    "list-bulk-collection": "list-bulk-collection",
    "ref-update": "ref-update",
}
QUOTA_PAGE = """<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">
<html>
    <head><title>Error: 412 Precondition Failed</title></head>
    <body>
        <h1>Error: 412 Precondition Failed</h1>
        <p>Sorry, the requested URL caused an error:</p>
        <pre>{reason}</pre>
    </body>
</html>
"""


class Vlan(NamedTuple):
    """A VLAN on a switch port. ``network`` is the fq_name with colons, ``vmi`` a uuid."""

    id: int
    tagged: bool
    network: str
    vmi: str


class ConfigApi(Service):
    """A fake of Contrail's config API: state and refusals of the release in ``flavour``.

    :param aaa_mode: ``no-auth``, ``cloud-admin`` or ``rbac``; the latter two need a ``keystone``
    """

    def __init__(
        self,
        flavour: Flavour | str = Flavour.MASTER,
        aaa_mode: str = "no-auth",
        keystone: Keystone | None = None,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ):
        super().__init__(port, tls)
        self.config = Config(Flavour(flavour))
        self.access = Access(aaa_mode, keystone)

    @property
    def flavour(self) -> Flavour:
        return self.config.flavour

    @property
    def pristine(self) -> Snapshot:
        """The state of a Contrail into which nothing was put yet."""
        return self.config.pristine

    def snapshot(self) -> Snapshot:
        with self.lock:
            return self.config.objects.snapshot()

    def restore(self, state: Snapshot) -> None:
        with self.lock:
            self.config.objects.restore(state)

    def restart(self, state: Snapshot | None = None) -> None:
        """Stop, and start on the same port; with this state, or with that which was."""
        self.stop()
        if state is not None:
            self.restore(state)
        self.start()

    def load(self, loaded: topology.Topology = topology.DEMO) -> None:
        with self.lock:
            topology.load(self.config, loaded)

    def create(self, type_: str, body: Mapping[str, Any]) -> str:
        """Make an object, as somebody else would; its uuid.

        :raises Refused: as a POST is
        """
        with self.lock:
            return self.config.create(self.config.type(type_), dict(body)).uuid

    def update(self, type_: str, uuid: str, body: Mapping[str, Any]) -> None:
        """:raises Refused: as a PUT is"""
        with self.lock:
            self.config.update(self.config.type(type_), uuid, dict(body))

    def delete(self, type_: str, uuid: str) -> None:
        """:raises Refused: as a DELETE is"""
        with self.lock:
            self.config.delete(self.config.type(type_), uuid, self._views().href)

    def uuid(self, type_: str, *fq_name: str) -> str | None:
        with self.lock:
            found = self.config.objects.find(self.config.type(type_).name, fq_name)
            return found.uuid if found else None

    def objects(self, type_: str) -> list[dict[str, Any]]:
        """All objects of the type, with references both ways and children."""
        with self.lock:
            name = self.config.type(type_).name
            return [self._views().everything(o) for o in self.config.objects.of_type(name)]

    def object(self, uuid: str) -> dict[str, Any] | None:
        with self.lock:
            there = uuid in self.config.objects
            return self._views().everything(self.config.objects.get(uuid)) if there else None

    def open_vlans(self, switch: str, interface: str) -> list[Vlan]:
        """What the device manager would configure there. It takes 4094 for a VLAN not given."""
        with self.lock:
            objects = self.config.objects
            port = objects.find(PI, (GLOBAL, switch, interface.replace(":", "_")))
            if port is None:
                raise LookupError(f"no interface {interface} on {switch}")
            found = [
                Vlan(vlan, tagged, ":".join(vn.fq_name), vmi.uuid)
                for vpg, _ in objects.referrers(port.uuid, VPG, MEMBERS)
                if vpg.parent_type == "fabric"
                for vlan, tagged, vn, vmi in vlans_of(objects, vpg)
            ]
            return sorted(found)

    def set_quota(self, project: str, type_: str, limit: int) -> None:
        """How many objects of the type the project may have; -1 for any number."""
        with self.lock:
            uuid = self.uuid("project", "default-domain", project)
            one = self.config.objects.get(uuid or project, "project")
            quota = {**(one.props.get("quota") or {}), self.config.type(type_).field: limit}
            self.config.objects.put(one.setting({"quota": quota}))

    def allow(self, role: str, object_: str = "*", operations: str = "CRUD") -> None:
        """Add to the access list of ``rbac``; ``object_`` is a type or an action such as
        ``ref-update``.
        """
        with self.lock:
            self.access.rules.append(Rule(object_, role, operations))

    def respond(self, request: Request) -> Answer:
        try:
            caller = self.access.caller(request.headers, request.method, request.path)
            return self._routed(request, caller)
        except Refused as refused:
            if refused.status == 412:
                return Answer(412, QUOTA_PAGE.format(reason=refused.reason))
            return Answer(refused.status, refused.reason)
        except Unauthorized:
            auth_url = self.access.keystone.auth_url if self.access.keystone else ""
            message = "The request you have made requires authentication."
            error = {"message": message, "code": 401, "title": "Unauthorized"}
            headers = {"WWW-Authenticate": f'Keystone uri="{auth_url}"'}
            return Answer(401, {"error": error}, headers=headers)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            return Answer(500, f"{type(error).__name__}: {error}")

    def _views(self) -> Views:
        return Views(self.config.objects, self.config.types, self.url)

    def _routed(self, request: Request, caller: Caller) -> Answer:
        parts = request.path.split("/")[1:]
        actions: dict[str, dict[str, Callable[[Request, Caller], Answer]]] = {
            "GET": {"": self._home, "aaa-mode": self._aaa_mode},
            "POST": {
                "fqname-to-id": self._fqname_to_id,
                "id-to-fqname": self._id_to_fqname,
                "list-bulk-collection": self._bulk,
                "ref-update": self._ref_update,
            },
        }
        action = actions.get(request.method, {}).get("/".join(parts))
        if action:
            return action(request, caller)
        if len(parts) == 1 and (found := self.config.types.get(parts[0].removesuffix("s"))):
            if parts[0].endswith("s"):
                return self._collection(found, request, caller)
        elif len(parts) == 2 and (found := self.config.types.get(parts[0])):
            return self._one(found, parts[1], request, caller)
        raise Refused(404, f"Not found: '{request.path}'")

    def _collection(self, type_: Type, request: Request, caller: Caller) -> Answer:
        if request.method == "GET":
            return Answer(200, self._views().collection(type_, request.query, caller))
        if request.method != "POST":
            raise Refused(405, "Method not allowed.")
        one = self.config.create(type_, _json(request)[type_.name], caller)
        return Answer(200, self._views().created(one))

    def _one(self, type_: Type, uuid: str, request: Request, caller: Caller) -> Answer:
        if request.method == "GET":
            one = self.config.visible(uuid, type_, caller, "R")
            return Answer(200, self._views().read(one, request.query))
        if request.method == "PUT":
            self.config.update(type_, uuid, _json(request)[type_.name], caller)
            href = self._views().href(type_.name, uuid)
            return Answer(200, {type_.name: {"uuid": uuid, "href": href}})
        if request.method == "DELETE":
            self.config.delete(type_, uuid, self._views().href, caller)
            return Answer(200)
        raise Refused(405, "Method not allowed.")

    def _home(self, _request: Request, _caller: Caller) -> Answer:
        named: list[tuple[str, str, str, str | None]] = [
            (f"{name}{end}", name, rel, None)
            for name in self.config.types
            for end, rel in (("s", "collection"), ("", "resource-base"))
        ]
        named += [(uri, name, "action", "POST") for uri, name in ACTIONS.items()]
        links = [
            {"link": {"href": f"{self.url}/{uri}", "name": name, "rel": rel, "method": method}}
            for uri, name, rel, method in named
        ]
        return Answer(200, {"href": self.url, "links": links})

    def _aaa_mode(self, _request: Request, _caller: Caller) -> Answer:
        return Answer(200, {"aaa-mode": self.access.mode})

    def _fqname_to_id(self, request: Request, caller: Caller) -> Answer:
        body = _json(request)
        type_ = self.config.type(body.get("type"))
        found = self.config.objects.find(type_.name, body["fq_name"])
        if found is None:
            raise Refused(404, f"Name {body['fq_name']} not found")
        caller.need(found, "R")
        return Answer(200, {"uuid": found.uuid})

    def _id_to_fqname(self, request: Request, caller: Caller) -> Answer:
        uuid = _json(request)["uuid"]
        if uuid not in self.config.objects:
            raise Refused(404, f"UUID {uuid} not found")
        found = self.config.objects.get(uuid)
        caller.need(found, "R")
        return Answer(200, {"fq_name": list(found.fq_name), "type": found.type})

    def _bulk(self, request: Request, caller: Caller) -> Answer:
        body = _json(request)
        type_ = self.config.type(body.get("type"))
        known = ("obj_uuids", "parent_id", "back_ref_id", "fields", "filters", "count", "detail")
        query = {name: body[name] for name in known if name in body}
        if body.get("exclude_hrefs"):
            query["exclude_hrefs"] = True
        return Answer(200, self._views().collection(type_, query, caller))

    def _ref_update(self, request: Request, caller: Caller) -> Answer:
        return Answer(200, {"uuid": self.config.ref_update(_json(request), caller)})


def _json(request: Request) -> Any:
    """The body; of a request that does not say that it is JSON, nothing, as on the server."""
    if not request.headers.get("Content-Type", "").startswith("application/json"):
        raise Refused(500, "Internal Server Error")
    if not isinstance(request.body, dict):
        raise Refused(500, "Internal Server Error")
    return request.body
