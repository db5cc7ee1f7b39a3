# SPDX-License-Identifier: Apache-2.0
"""Neutron's API, as far as tests and benchmarks call it."""

from collections.abc import Sequence
from typing import Any

import requests

ADMIN = ("admin", "member", "reader")
MEMBER = ("member", "reader")
#: nova's, the only one that may write ``binding:profile``
SERVICE = ("service",)

#: kinds that are not in the collection named by their plural
COLLECTIONS = {"policy": "qos/policies"}
TIMEOUT_SECONDS = 60

Entry = dict[str, Any]


class Refused(Exception):
    """Neutron answered with an error.

    :ivar status: the HTTP status
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status


class Api:
    """What a user may do. In field names, ``binding_host_id`` stands for ``binding:host_id``.

    :param url: without a version
    :param roles: the user's
    :param project: the user's
    :param token: says who the user is, in place of the others, where there is a Keystone
    """

    def __init__(
        self,
        url: str,
        roles: Sequence[str] = ADMIN,
        project: str = "project1",
        *,
        token: str = "",
    ) -> None:
        self._url = f"{url}/v2.0"
        self._session = requests.Session()
        user = {"X-User-Id": "user1", "X-Project-Id": project, "X-Roles": ",".join(roles)}
        self._session.headers.update({"X-Auth-Token": token} if token else user)

    def create(self, kind: str, **fields: object) -> Entry:
        return self._entry("POST", kind, self._path(kind), fields)

    def update(self, kind: str, id_: str, **fields: object) -> Entry:
        return self._entry("PUT", kind, self._path(kind, id_), fields)

    def show(self, kind: str, id_: str) -> Entry:
        return self._entry("GET", kind, self._path(kind, id_))

    def delete(self, kind: str, id_: str) -> None:
        self.request("DELETE", self._path(kind, id_))

    def list(self, kind: str, **filters: str) -> list[Entry]:
        path = self._path(kind)
        found = self.request("GET", path, params=_wire_names(filters))
        entries: list[Entry] = found[path.rpartition("/")[2]]
        return entries

    def create_rule(self, policy_id: str, kind: str, **fields: object) -> Entry:
        """A rule of a QoS policy; ``kind`` is ``bandwidth_limit_rule`` or the like."""
        return self._entry("POST", kind, f"qos/policies/{policy_id}/{kind}s", fields)

    def request(self, method: str, path: str, **given: Any) -> Any:
        """The parsed answer to any other request; None if it has no body.

        :param given: what requests takes: ``json``, ``params``
        """
        url = f"{self._url}/{path}"
        answer = self._session.request(method, url, timeout=TIMEOUT_SECONDS, **given)
        if not answer.ok:
            raise Refused(answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def _entry(
        self, method: str, kind: str, path: str, fields: dict[str, object] | None = None
    ) -> Entry:
        body = None if fields is None else {kind: _wire_names(fields)}
        entry: Entry = self.request(method, path, json=body)[kind]
        return entry

    @staticmethod
    def _path(kind: str, id_: str = "") -> str:
        collection = COLLECTIONS.get(kind, f"{kind}s")
        return f"{collection}/{id_}" if id_ else collection


def _wire_names(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name.replace("binding_", "binding:", 1).replace("provider_", "provider:", 1): value
        for name, value in fields.items()
    }
