# SPDX-License-Identifier: Apache-2.0
"""A fake Keystone v3: discovery, tokens by password or application credential, revocation."""

import ssl
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.fakes.contrail.service import Answer, Request, Service


@dataclass(frozen=True)
class User:
    """``roles``: project name to the roles there; projects are of ``project_domain``."""

    name: str
    password: str
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    domain: str = "Default"
    project_domain: str = "Default"


@dataclass(frozen=True)
class Token:
    """What a token says; without a project it is not scoped."""

    id: str
    user: str
    expires_at: datetime
    roles: tuple[str, ...] = ()
    project: str | None = None
    project_id: str | None = None


ADMIN = User("admin", "secret", {"admin": ("admin",)})


class Keystone(Service):
    """``lifetime`` is that of a token, in seconds.

    ``credentials``: application credential, id to secret; each is for the first user's first
    project. ``catalog``: type of a service to its URL, in the region ``RegionOne``.
    """

    def __init__(
        self,
        users: Iterable[User] = (ADMIN,),
        lifetime: float = 3600,
        credentials: Mapping[str, str] | None = None,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ):
        super().__init__(port, tls)
        self.users = list(users)
        self.lifetime = lifetime
        self.credentials = dict(credentials or {})
        self.catalog: dict[str, str] = {}
        self._tokens: dict[str, Token] = {}

    @property
    def auth_url(self) -> str:
        return f"{self.url}/v3"

    def project_id(self, name: str, domain: str = "Default") -> str:
        """A project's id here: a uuid without dashes, as Contrail compares owners."""
        return _id("project", domain, name)

    def token(self, value: str | None) -> Token | None:
        """What the value stands for, unless it is unknown, revoked or has expired."""
        with self.lock:
            found = self._tokens.get(value or "")
        return found if found and found.expires_at > datetime.now(UTC) else None

    def revoke_all(self) -> None:
        with self.lock:
            self._tokens.clear()

    def respond(self, request: Request) -> Answer:
        path = request.path.rstrip("/")
        match request.method, path:
            case "GET", "":
                return Answer(300, {"versions": {"values": [self._version()]}})
            case "GET", "/v3":
                return Answer(200, {"version": self._version()})
            case "POST", "/v3/auth/tokens":
                return self._issue(request.body)
            case "GET" | "DELETE", "/v3/auth/tokens":
                return self._looked_up(request)
        return _error(404, "Not Found", "Could not find the page.")

    def _looked_up(self, request: Request) -> Answer:
        asker = self.token(request.headers.get("X-Auth-Token"))
        subject = self.token(request.headers.get("X-Subject-Token"))
        if asker is None:
            return _unauthorized()
        if subject is None:
            return _error(404, "Not Found", "This is not a recognized Fernet token.")
        if request.method == "DELETE":
            del self._tokens[subject.id]
            return Answer(204)
        return Answer(200, {"token": self._said(subject, ["token"])})

    def _issue(self, body: Any) -> Answer:
        try:
            identity = body["auth"]["identity"]
            method = identity["methods"][0]
            if method == "application_credential":
                given = identity[method]
                if self.credentials.get(given["id"]) != given["secret"]:
                    return _unauthorized()
                user = self.users[0]
                project = next(iter(user.roles), None)
            elif method == "password":
                found = self._user(identity["password"]["user"])
                if found is None:
                    return _unauthorized()
                user, (known, project) = found, self._project(found, body["auth"].get("scope"))
                if not known:
                    return _unauthorized()
            else:
                return _unauthorized()
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            return _error(400, "Bad Request", f"{error} is a required property")
        token = Token(
            uuid.uuid4().hex,
            user.name,
            datetime.now(UTC) + timedelta(seconds=self.lifetime),
            tuple(user.roles[project]) if project else (),
            project,
            self.project_id(project, user.project_domain) if project else None,
        )
        self._tokens[token.id] = token
        headers = {"X-Subject-Token": token.id, "Vary": "X-Auth-Token"}
        return Answer(201, {"token": self._said(token, [method])}, headers=headers)

    def _user(self, given: Mapping[str, Any]) -> User | None:
        for user in self.users:
            named = given.get("id") == _id("user", user.domain, user.name) or (
                given.get("name") == user.name and _is_domain(given["domain"], user.domain)
            )
            if named and given["password"] == user.password:
                return user
        return None

    def _project(self, user: User, scope: Any) -> tuple[bool, str | None]:
        """Whether the user may have this scope, and the project, if one is asked for."""
        if not scope or scope == "unscoped":
            return True, None
        given = scope["project"]
        for name in user.roles:
            if given.get("id") == self.project_id(name, user.project_domain) or (
                given.get("name") == name and _is_domain(given["domain"], user.project_domain)
            ):
                return True, name
        return False, None

    def _said(self, token: Token, methods: list[str]) -> dict[str, Any]:
        user = next(one for one in self.users if one.name == token.user)
        said: dict[str, Any] = {
            "methods": methods,
            "user": {
                "id": _id("user", user.domain, user.name),
                "name": user.name,
                "domain": _domain(user.domain),
                "password_expires_at": None,
            },
            "audit_ids": [token.id[:22]],
            "issued_at": _time(token.expires_at - timedelta(seconds=self.lifetime)),
            "expires_at": _time(token.expires_at),
        }
        if token.project:
            said["project"] = {
                "id": token.project_id,
                "name": token.project,
                "domain": _domain(user.project_domain),
            }
            said["roles"] = [{"id": _id("role", role), "name": role} for role in token.roles]
            said["catalog"] = [_service(type_, url) for type_, url in self.catalog.items()]
            said["is_domain"] = False
        return said

    def _version(self) -> dict[str, Any]:
        return {
            "id": "v3.14",
            "status": "stable",
            "updated": "2020-04-07T00:00:00Z",
            "links": [{"rel": "self", "href": f"{self.auth_url}/"}],
            "media-types": [
                {
                    "base": "application/json",
                    "type": "application/vnd.openstack.identity-v3+json",
                }
            ],
        }


def _id(*parts: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, ":".join(("keystone", *parts))).hex


def _service(type_: str, url: str) -> dict[str, Any]:
    endpoint = {
        "id": _id("endpoint", type_),
        "interface": "public",
        "region": "RegionOne",
        "region_id": "RegionOne",
        "url": url,
    }
    return {"id": _id("service", type_), "type": type_, "name": type_, "endpoints": [endpoint]}


def _domain(name: str) -> dict[str, str]:
    return {"id": "default" if name == "Default" else _id("domain", name), "name": name}


def _is_domain(given: Mapping[str, str], name: str) -> bool:
    own = _domain(name)
    return given.get("id") == own["id"] or given.get("name") == name


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _error(status: int, title: str, message: str) -> Answer:
    return Answer(status, {"error": {"code": status, "message": message, "title": title}})


def _unauthorized() -> Answer:
    return _error(401, "Unauthorized", "The request you have made requires authentication.")
