# SPDX-License-Identifier: Apache-2.0
"""The fake's database: objects by uuid and by name, their references, what is reserved.

An object is never changed in place, so that a transaction which fails leaves nothing behind.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.frozen import replace


class Refused(Exception):
    """What the config API answers instead of doing it."""

    def __init__(self, status: int, reason: str):
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Ref:
    """``relaxed``: it does not keep the object that it leads to from being deleted."""

    uuid: str
    attr: Any = None
    relaxed: bool = False


@dataclass(frozen=True)
class Object:
    """One object; ``parent`` is a uuid."""

    type: str
    uuid: str
    fq_name: tuple[str, ...]
    parent: str | None = None
    parent_type: str | None = None
    props: Mapping[str, Any] = field(default_factory=dict)
    refs: Mapping[str, tuple[Ref, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.fq_name[-1]

    def setting(self, props: Mapping[str, Any]) -> "Object":
        return replace(self, props={**self.props, **props})

    def referring(self, at: str, refs: Iterable[Ref]) -> "Object":
        """With exactly these references in that field."""
        return replace(self, refs={**self.refs, at: tuple(refs)})

    def pairs(self, at: str) -> dict[str, Any]:
        """A property of key-value pairs."""
        return pairs(self.props.get(at))


def pairs(value: Any) -> dict[str, Any]:
    """Key-value pairs as the API writes them; the last of equal keys counts."""
    return {pair["key"]: pair["value"] for pair in (value or {}).get("key_value_pair") or ()}


class Snapshot(NamedTuple):
    """All that a restart may lose."""

    objects: Mapping[str, Object]
    reserved: Mapping[tuple[Any, ...], Any]


class Objects:
    """All objects. ``reserved`` holds what the validation on master keeps beside them."""

    def __init__(self) -> None:
        self._by_uuid: dict[str, Object] = {}
        self._by_name: dict[tuple[str, tuple[str, ...]], str] = {}
        self.reserved: dict[tuple[Any, ...], Any] = {}

    def snapshot(self) -> Snapshot:
        return Snapshot(dict(self._by_uuid), dict(self.reserved))

    def restore(self, snapshot: Snapshot) -> None:
        self._by_uuid = dict(snapshot.objects)
        self._by_name = {(one.type, one.fq_name): one.uuid for one in self._by_uuid.values()}
        self.reserved = dict(snapshot.reserved)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        before = self.snapshot()
        try:
            yield
        except BaseException:
            self.restore(before)
            raise

    def __contains__(self, uuid: object) -> bool:
        return uuid in self._by_uuid

    def get(self, uuid: str, type_: str | None = None) -> Object:
        found = self._by_uuid.get(uuid)
        if found is None:
            raise Refused(404, f"ID {uuid} does not exist")
        if type_ not in {None, found.type}:
            raise Refused(404, f"No {type_} object found for id {uuid}")
        return found

    def find(self, type_: str, fq_name: Iterable[str]) -> Object | None:
        return self._by_uuid.get(self._by_name.get((type_, tuple(fq_name)), ""))

    def of_type(self, type_: str) -> list[Object]:
        return [one for one in self._by_uuid.values() if one.type == type_]

    def children(self, uuid: str, type_: str | None = None) -> list[Object]:
        return [
            one
            for one in self._by_uuid.values()
            if one.parent == uuid and type_ in {None, one.type}
        ]

    def referrers(self, uuid: str, type_: str, at: str) -> list[tuple[Object, Ref]]:
        """Who of that type refers to it in that field."""
        return [
            (one, ref)
            for one in self._by_uuid.values()
            if one.type == type_
            for ref in one.refs.get(at, ())
            if ref.uuid == uuid
        ]

    def all_referrers(self, uuid: str) -> list[tuple[Object, str, Ref]]:
        return [
            (one, at, ref)
            for one in self._by_uuid.values()
            for at, refs in one.refs.items()
            for ref in refs
            if ref.uuid == uuid
        ]

    def put(self, one: Object) -> Object:
        self._by_uuid[one.uuid] = one
        self._by_name[one.type, one.fq_name] = one.uuid
        return one

    def remove(self, uuid: str) -> None:
        """The object, and every reference to it."""
        for one, at, ref in self.all_referrers(uuid):
            self.put(one.referring(at, tuple(r for r in one.refs[at] if r is not ref)))
        one = self._by_uuid.pop(uuid)
        del self._by_name[one.type, one.fq_name]
