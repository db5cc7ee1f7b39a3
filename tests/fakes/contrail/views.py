# SPDX-License-Identifier: Apache-2.0
"""Objects as the API shows them: fields, references with their names, lists."""

import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.contrail.access import Caller
from tests.fakes.contrail.objects import Object, Objects, Ref, Refused
from tests.fakes.contrail.port_groups import routing_instance
from tests.fakes.contrail.schema import Type, back_refs, children


class Views:
    """``base`` is the URL that hrefs begin with."""

    def __init__(self, objects: Objects, known: Mapping[str, Type], base: str):
        self.objects = objects
        self.known = known
        self.base = base

    def href(self, type_: str, uuid: str) -> str:
        return f"{self.base}/{type_}/{uuid}"

    def created(self, one: Object) -> dict[str, Any]:
        """The answer to a POST: little more than its name."""
        answer: dict[str, Any] = {
            "name": one.name,
            "fq_name": list(one.fq_name),
            "uuid": one.uuid,
            "href": self.href(one.type, one.uuid),
        }
        if one.parent:
            answer["parent_type"] = one.parent_type
            answer["parent_uuid"] = one.parent
            answer["parent_href"] = self.href(str(one.parent_type), one.parent)
        return {one.type: answer}

    def read(self, one: Object, query: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a GET. Options count by being there, whatever they say."""
        known = self.known[one.type]
        wanted = {*known.props, *known.refs}
        if "fields" in query:
            wanted = {*query["fields"].split(","), "id_perms", "perms2"}
        else:
            if "exclude_back_refs" not in query:
                wanted |= back_refs(self.known, one.type).keys()
            if "exclude_children" not in query:
                wanted |= children(self.known, one.type).keys()
        hrefs = "exclude_hrefs" not in query
        return {one.type: self._identity(one, hrefs) | self._fields(one, wanted, hrefs)}

    def everything(self, one: Object) -> dict[str, Any]:
        found: dict[str, Any] = self.read(one, {})[one.type]
        return found

    def collection(
        self, type_: Type, query: Mapping[str, Any], caller: Caller
    ) -> dict[str, list[Any] | dict[str, int]]:
        """The answer to a list. A parameter that it does not know changes nothing."""
        found = [o for o in self._chosen(type_, query) if caller.sees(o) and caller.may(o, "R")]
        found = _filtered(type_, found, _filters(query.get("filters")))
        key = f"{type_.name}s"
        if _true(query.get("count")):
            return {key: {"count": len(found)}}
        asked = set(query["fields"].split(",")) if query.get("fields") else set()
        detail = _true(query.get("detail"))
        listed = []
        for one in found:
            item: dict[str, Any] = {"uuid": one.uuid, "fq_name": list(one.fq_name)}
            if detail:
                item = self._identity(one, False)
            item |= self._fields(one, asked | ({*type_.props, *type_.refs} if detail else set()))
            if "exclude_hrefs" not in query:
                item["href"] = self.href(one.type, one.uuid)
            listed.append({one.type: item} if detail else item)
        return {key: listed}

    def _chosen(self, type_: Type, query: Mapping[str, Any]) -> list[Object]:
        found = self.objects.of_type(type_.name)
        uuids = None
        if "obj_uuids" in query:
            uuids = query["obj_uuids"].split(",")
        if "fq_names" in query:
            named = [
                self.objects.find(type_.name, name.split(":"))
                for name in query["fq_names"].split(",")
            ]
            uuids = [*(uuids or ()), *(one.uuid for one in named if one)]
        if uuids is not None:
            found = [one for one in found if one.uuid in uuids]
        if "parent_fq_name_str" in query:
            name = query["parent_fq_name_str"].split(":")
            kinds = [query["parent_type"]] if "parent_type" in query else type_.parents
            parents = [parent.uuid for kind in kinds if (parent := self.objects.find(kind, name))]
            found = [one for one in found if one.parent in parents]
        elif "parent_id" in query:
            found = [one for one in found if one.parent in query["parent_id"].split(",")]
        if "back_ref_id" in query:
            anchors = query["back_ref_id"].split(",")
            found = [
                one
                for one in found
                if any(ref.uuid in anchors for refs in one.refs.values() for ref in refs)
            ]
        return found

    def _identity(self, one: Object, hrefs: bool) -> dict[str, Any]:
        found: dict[str, Any] = {
            "uuid": one.uuid,
            "name": one.name,
            "fq_name": list(one.fq_name),
        }
        if one.parent:
            found |= {"parent_type": one.parent_type, "parent_uuid": one.parent}
        if hrefs:
            found["href"] = self.href(one.type, one.uuid)
            if one.parent:
                found["parent_href"] = self.href(str(one.parent_type), one.parent)
        return found

    def _fields(self, one: Object, wanted: set[str], hrefs: bool = False) -> dict[str, Any]:
        known = self.known[one.type]
        found = {
            name: one.props[name]
            for name in known.props
            if name in wanted and one.props.get(name) is not None
        }
        for name in known.refs.keys() & wanted:
            refs = [self._ref(one, name, ref, hrefs) for ref in one.refs.get(name, ())]
            if refs:
                found[name] = refs
        for name, (type_, at) in back_refs(self.known, one.type).items():
            if name in wanted:
                links = [
                    self._link(other, hrefs) | {"attr": ref.attr}
                    for other, ref in self.objects.referrers(one.uuid, type_, at)
                ]
                if links:
                    found[name] = links
        for name, type_ in children(self.known, one.type).items():
            if name in wanted:
                links = [self._link(o, hrefs) for o in self.objects.children(one.uuid, type_)]
                if links:
                    found[name] = links
        return found

    def _link(self, one: Object, hrefs: bool) -> dict[str, Any]:
        link: dict[str, Any] = {"to": list(one.fq_name), "uuid": one.uuid}
        if hrefs:
            link["href"] = self.href(one.type, one.uuid)
        return link

    def _ref(self, one: Object, at: str, ref: Ref, hrefs: bool) -> dict[str, Any]:
        if ref.uuid in self.objects:
            return self._link(self.objects.get(ref.uuid), hrefs) | {"attr": ref.attr}
        vn = self.objects.get(one.refs["virtual_network_refs"][0].uuid)
        link: dict[str, Any] = {
            "to": [*vn.fq_name, vn.name],
            "uuid": routing_instance(vn),
            "attr": ref.attr,
        }
        if hrefs:
            link["href"] = self.href(self.known[one.type].refs[at].to, link["uuid"])
        return link


def _true(value: object) -> bool:
    return value is True or (isinstance(value, str) and "true" in value.lower())


def _filters(text: str | None) -> dict[str, list[Any]]:
    """``key==value,key==value``; equal keys are alternatives. What is no JSON is a string."""
    found: dict[str, list[Any]] = {}
    for one in text.split(",") if text else ():
        key, *values = one.split("==")
        if len(values) != 1:
            raise Refused(400, f"Invalid filter {text}")
        try:
            value = json.loads(values[0])
        except ValueError:
            value = values[0]
        if isinstance(value, dict | list):
            raise Refused(400, f"Invalid filter {text}")
        found.setdefault(key, []).append(value)
    return found


def _filtered(type_: Type, found: list[Object], filters: dict[str, list[Any]]) -> list[Object]:
    """Where no key is a property of the type, every object matches."""
    if not filters.keys() & type_.props.keys():
        return found
    return [
        one
        for one in found
        if all(
            any(value == one.props.get(key) and key in one.props for value in values)
            for key, values in filters.items()
        )
    ]
