# SPDX-License-Identifier: Apache-2.0
"""What the config API does: create, update, delete, refer. Without HTTP, and without a lock."""

import time
import uuid as uuids
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.fakes.contrail.access import INTERNAL, Caller
from tests.fakes.contrail.objects import Object, Objects, Ref, Refused, Snapshot
from tests.fakes.contrail.port_groups import (
    GLOBAL,
    MEMBERS,
    add_interface,
    changed_interface,
    check_port_group,
    new_interface,
    remove_interface,
    remove_port_group,
    set_members,
)
from tests.fakes.contrail.reservations import VMI, VPG
from tests.fakes.contrail.schema import Flavour, Type, back_refs, checked, children, types
from tests.frozen import replace

RWX = 7
CLOUD_ADMIN = "cloud-admin"
#: what a client may set of ``id_perms``, when the object is made and after
ID_PERMS = ("enable", "description", "user_visible", "creator")


class Config:
    """The configuration of one Contrail."""

    def __init__(self, flavour: Flavour):
        self.flavour = flavour
        self.types = types(flavour)
        self.objects = Objects()
        for type_, *fq_name in (
            ("global-system-config", GLOBAL),
            ("domain", "default-domain"),
            ("project", "default-domain", "default-project"),
            ("fabric", GLOBAL, "default-fabric"),
        ):
            stable = str(uuids.uuid5(uuids.NAMESPACE_URL, ":".join((type_, *fq_name))))
            self.create(self.types[type_], {"fq_name": fq_name, "uuid": stable})
        self.pristine: Snapshot = self.objects.snapshot()

    def type(self, name: Any) -> Type:
        """By its name with dashes or underscores."""
        found = self.types.get(str(name).replace("_", "-"))
        if found is None:
            raise Refused(404, f"Resource type '{name}' not found")
        return found

    def create(self, type_: Type, body: Any, caller: Caller = INTERNAL) -> Object:
        fq_name = self._free_name(type_, body)
        if (body.get("id_perms") or {}).get("user_visible", True) is False and not caller.admin:
            raise Refused(400, "This object is not visible by users")
        for name in body.keys() & {*type_.props, *type_.refs}:
            if body[name] is None:
                raise Refused(500, f"TypeError: '{name}' is None")
        props = self._props(type_, body, "create")
        self._attrs(type_, body, "create")
        if self.objects.find(type_.name, fq_name):
            taken = self.objects.find(type_.name, fq_name)
            raise Refused(409, f"{fq_name} already exists with uuid: {taken and taken.uuid}")
        parent = self._parent(type_, body, fq_name, caller)
        uuid = self._free_uuid(body.get("uuid"))
        props |= {
            "display_name": props.get("display_name") or fq_name[-1],
            "id_perms": _id_perms(uuid, props.get("id_perms") or {}),
            "perms2": _perms2(type_, body, parent, caller) | (props.get("perms2") or {}),
        }
        if type_.name == "virtual-network":
            props["virtual_network_network_id"] = 1 + max(
                (o.props["virtual_network_network_id"] for o in self.objects.of_type(type_.name)),
                default=0,
            )
        one = Object(type_.name, uuid, tuple(fq_name), props=props)
        if parent:
            one = replace(one, parent=parent.uuid, parent_type=parent.type)
        with self.objects.transaction():
            return self._store(type_, one, body, caller)

    def _store(self, type_: Type, one: Object, body: Mapping[str, Any], caller: Caller) -> Object:
        refs = body if type_.name != VMI else {**body, "virtual_port_group_refs": ()}
        one = self._referring(type_, one, refs, caller, "create")
        group = None
        if type_.name == VMI:
            if not one.refs.get("virtual_network_refs"):
                raise Refused(500, "KeyError: 'virtual_network_refs'")
            one, group = new_interface(self.objects, self.flavour, one)
        elif type_.name == VPG:
            check_port_group(one)
        self._check_quota(type_, one)
        self.objects.put(one)
        if group:
            add_interface(self.objects, group.uuid, one.uuid)
        return one

    def visible(self, uuid: str, type_: Type, caller: Caller, mode: str) -> Object:
        one = self.objects.get(uuid, type_.name)
        if not caller.sees(one):
            raise Refused(404, f"This object is not visible by users: {uuid}")
        caller.need(one, mode)
        return one

    def update(self, type_: Type, uuid: str, body: Any, caller: Caller = INTERNAL) -> Object:
        one = self.visible(uuid, type_, caller, "W")
        if "perms2" in body and "owner" not in body["perms2"]:
            raise Refused(400, "owner in perms2 must be present")
        props = self._props(type_, body, "http_put")
        self._attrs(type_, body, "http_put")
        allowed = {name: (body.get("id_perms") or {}).get(name) for name in ID_PERMS[:2]}
        id_perms = {k: v for k, v in allowed.items() if v is not None}
        props["id_perms"] = one.props["id_perms"] | id_perms | {"last_modified": _now()}
        props["perms2"] = one.props["perms2"] | (props.get("perms2") or {})
        with self.objects.transaction():
            if type_.name == VMI:
                changed_interface(self.objects, self.flavour, one, body)
            if type_.name == VPG and MEMBERS in body:
                listed = self._referring(type_, one, body, caller, "update").refs[MEMBERS]
                set_members(self.objects, one, [ref.uuid for ref in listed], relaxed=False)
                body = {name: value for name, value in body.items() if name != MEMBERS}
            stored = self.objects.get(uuid)
            return self.objects.put(
                self._referring(type_, stored, body, caller, "update").setting(props)
            )

    def delete(
        self, type_: Type, uuid: str, href: Callable[[str, str], str], caller: Caller = INTERNAL
    ) -> None:
        one = self.visible(uuid, type_, caller, "W")
        for kind in children(self.types, type_.name).values():
            hrefs = [href(o.type, o.uuid) for o in self.objects.children(uuid, kind)]
            if hrefs:
                raise Refused(409, f"Delete when children still present: {hrefs}")
        for kind, at in back_refs(self.types, type_.name).values():
            found = self.objects.referrers(uuid, kind, at)
            hrefs = [href(o.type, o.uuid) for o, ref in found if not ref.relaxed]
            if hrefs:
                raise Refused(409, f"Delete when resource still referred: {hrefs}")
        with self.objects.transaction():
            if type_.name == VMI:
                remove_interface(self.objects, self.flavour, one)
            elif type_.name == VPG:
                remove_port_group(self.objects, one)
            else:
                self.objects.remove(uuid)

    def ref_update(self, body: Mapping[str, Any], caller: Caller = INTERNAL) -> str:
        """Add or remove one reference; again is as once."""
        type_, target = self.type(body.get("type")), self.type(body.get("ref-type"))
        uuid, to, operation = body.get("uuid"), body.get("ref-uuid"), body.get("operation")
        if None in {uuid, operation}:
            raise Refused(
                400,
                f"Bad Request: type/uuid/ref-type/operation is null: {type_.name}, {uuid},"
                f" {target.name}, {operation}.",
            )
        operation = str(operation).upper()
        if operation not in {"ADD", "DELETE"}:
            raise Refused(400, f"Bad Request: operation should be add or delete: {operation}")
        if not to:
            if not body.get("ref-fq-name"):
                raise Refused(400, "Bad Request: ref-uuid or ref-fq-name must be specified")
            found = self.objects.find(target.name, body["ref-fq-name"])
            if found is None:
                raise Refused(404, f"Name {body['ref-fq-name']} not found")
            to = found.uuid
        at = f"{target.field}_refs"
        one = self.visible(str(uuid), type_, caller, "W")
        if operation == "ADD":
            caller.need(self.objects.get(to, target.name), "X")
        if at not in type_.refs:
            raise Refused(500, f"KeyError: '{at}'")
        kept = tuple(ref for ref in one.refs.get(at, ()) if ref.uuid != to)
        relaxed = bool(body.get("relax_ref_for_delete"))
        with self.objects.transaction():
            if (type_.name, at) == (VPG, MEMBERS):
                was = [ref.uuid for ref in one.refs.get(at, ())]
                wanted = [*was, to] if operation == "ADD" else [ref.uuid for ref in kept]
                set_members(self.objects, one, wanted, relaxed)
            elif operation == "ADD":
                added = Ref(to, body.get("attr"), relaxed)
                self.objects.put(one.referring(at, (*kept, added)))
            else:
                self.objects.put(one.referring(at, kept))
        return one.uuid

    def _free_name(self, type_: Type, body: Any) -> list[str]:
        fq_name = body.get("fq_name")
        if not fq_name:
            raise Refused(400, "Bad Request, no fq_name in POST body")
        if not isinstance(fq_name, list) or not all(isinstance(part, str) for part in fq_name):
            raise Refused(500, "TypeError: fq_name")
        if ":" in fq_name[-1]:
            raise Refused(400, "Bad Request, name has one of invalid chars {':'}")
        if any(ord(c) < 32 and c not in "\t\n\r" for c in fq_name[-1]):
            raise Refused(400, "Bad Request, name has illegal xml characters")
        return fq_name

    def _free_uuid(self, given: Any) -> str:
        if not given:
            return str(uuids.uuid4())
        try:
            canonical = str(uuids.UUID(given))
        except (ValueError, AttributeError, TypeError):
            raise Refused(500, "ValueError: badly formed hexadecimal UUID string") from None
        if given != canonical:
            raise Refused(400, f"Invalid UUID format: {given}")
        if given in self.objects:
            name = list(self.objects.get(given).fq_name)
            raise Refused(409, f"{given} already exists with fq_name: {name}")
        return canonical

    def _parent(
        self, type_: Type, body: Mapping[str, Any], fq_name: list[str], caller: Caller
    ) -> Object | None:
        kind = body.get("parent_type")
        allowed = list(type_.parents) or ["config-root"]
        if kind and kind not in allowed:
            raise Refused(400, f"Invalid parent type: {kind}. Allowed types: {allowed}")
        if not kind and len(allowed) > 1:
            raise Refused(400, f"Missing parent type: {kind}. Allowed types: {allowed}")
        kind = kind or allowed[0]
        if kind == "config-root":
            if len(fq_name) != 1:
                raise Refused(400, f"Invalid fq-name of an object with no parent: {fq_name}")
            return None
        if len(fq_name) < 2:
            raise Refused(400, f"Invalid fq-name for object with parent_type {kind}: {fq_name}")
        parent = self.objects.find(kind, fq_name[:-1])
        if parent is None:
            raise Refused(404, f"Name{fq_name[:-1]} not found")
        caller.need(parent, "X" if kind == "fabric" else "W")
        return parent

    def _props(self, type_: Type, body: Mapping[str, Any], doing: str) -> dict[str, Any]:
        """The known properties; what the type does not have is dropped without a word."""
        found = {}
        for name in type_.props.keys() & body.keys():
            try:
                found[name] = checked(type_.props[name], name, body[name])
            except ValueError as error:
                raise Refused(
                    400, f"Bad property in {doing}: Error validating property {name} {error}"
                ) from None
        return found

    def _attrs(self, type_: Type, body: Mapping[str, Any], doing: str) -> None:
        for name in type_.refs.keys() & body.keys():
            for ref in body[name] or ():
                if type_.refs[name].attr and "attr" not in ref:
                    raise Refused(
                        400,
                        f"Bad reference in {doing}: Error validating reference {name} value {ref}"
                        "'attr'",
                    )

    def _referring(
        self, type_: Type, one: Object, body: Mapping[str, Any], caller: Caller, doing: str
    ) -> Object:
        """With the references of a request. What they lead to is named; a uuid does not do."""
        for name in type_.refs.keys() & body.keys():
            refs = []
            for ref in body[name]:
                found = self.objects.find(type_.refs[name].to, ref["to"])
                if found is None or ref.get("uuid", found.uuid) != found.uuid:
                    raise Refused(400, f"Unknown reference in resource {doing} {body}.")
                caller.need(found, "X")
                refs.append(Ref(found.uuid, ref.get("attr")))
            one = one.referring(name, tuple(refs))
        return one

    def _check_quota(self, type_: Type, one: Object) -> None:
        if one.parent_type != "project" or not one.parent:
            return
        quota = self.objects.get(one.parent).props.get("quota") or {}
        limit = quota.get(type_.field)
        if limit is None:
            limit = quota.get("defaults", -1)
        if 0 <= limit <= len(self.objects.children(one.parent, type_.name)):
            raise Refused(412, f"quota limit ({limit}) exceeded for resource {type_.field}")


def _perms2(
    type_: Type, body: Mapping[str, Any], parent: Object | None, caller: Caller
) -> dict[str, Any]:
    if type_.name == "project" and body.get("uuid"):
        owner = body["uuid"].replace("-", "")
    elif parent is None or parent.type in {"domain", "fabric"}:
        owner = caller.project_id or CLOUD_ADMIN
    else:
        owner = parent.props["perms2"]["owner"]
    return {"owner": owner, "owner_access": RWX, "global_access": 0, "share": []}


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).replace(tzinfo=None).isoformat()


def _id_perms(uuid: str, given: Mapping[str, Any]) -> dict[str, Any]:
    number = uuids.UUID(uuid).int
    now = _now()
    default = {
        "permissions": {
            "owner": CLOUD_ADMIN,
            "owner_access": RWX,
            "group": "cloud-admin-group",
            "group_access": RWX,
            "other_access": RWX,
        },
        "uuid": {"uuid_mslong": number >> 64, "uuid_lslong": number & (2**64 - 1)},
        "enable": True,
        "created": now,
        "last_modified": now,
        "description": None,
        "user_visible": True,
        "creator": None,
    }
    return default | {name: given[name] for name in ID_PERMS if name in given}
