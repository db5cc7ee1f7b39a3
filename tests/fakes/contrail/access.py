# SPDX-License-Identifier: Apache-2.0
"""Who may do what: ``no-auth``, ``cloud-admin`` and ``rbac``."""

from dataclasses import dataclass
from email.message import Message
from typing import NamedTuple

from tests.fakes.contrail.keystone import Keystone
from tests.fakes.contrail.objects import Object, Refused

AAA_MODES = ("no-auth", "cloud-admin", "rbac")
BITS = {"R": 4, "W": 2, "X": 1}
OPERATIONS = {"POST": "C", "GET": "R", "PUT": "U", "DELETE": "D"}


class Unauthorized(Exception):
    """401, in the words of Keystone's middleware."""


class Rule(NamedTuple):
    """A line of the access list; ``*`` is every object, or every role."""

    object: str
    role: str
    operations: str


@dataclass(frozen=True)
class Caller:
    """Who asks. ``project_id`` has no dashes, as Keystone writes it."""

    user: str = "contrail-api"
    roles: tuple[str, ...] = ("admin",)
    project: str | None = None
    project_id: str | None = None
    admin: bool = True

    def sees(self, one: Object) -> bool:
        return self.admin or one.props["id_perms"].get("user_visible") is not False

    def may(self, one: Object, mode: str) -> bool:
        """By the permissions of the object: read, write, or link to it."""
        if self.admin:
            return True
        perms = one.props["perms2"]
        granted = perms.get("global_access") or 0
        if str(perms["owner"]).replace("-", "") == self.project_id:
            granted |= perms.get("owner_access") or 0
        for share in perms.get("share") or ():
            if share["tenant"].rpartition(":")[2].replace("-", "") == self.project_id:
                granted |= share["tenant_access"]
        return bool(granted & BITS[mode])

    def need(self, one: Object, mode: str) -> None:
        """:raises Refused: 403, unless it may"""
        if not self.may(one, mode):
            word = {"R": "read", "W": "write", "X": "link"}[mode]
            raise Refused(
                403,
                f"Permission Denied for {list(self.roles)} to {word} operation in domain 'Default'"
                f" and project '{self.project}' ",
            )


INTERNAL = Caller()


class Access:
    """``rules`` are the access list of ``rbac``; at first it opens the look-ups of names only."""

    def __init__(self, mode: str, keystone: Keystone | None):
        if mode not in AAA_MODES:
            raise ValueError(f"aaa_mode: expected one of {', '.join(AAA_MODES)}")
        if mode != "no-auth" and keystone is None:
            raise ValueError(f"keystone: {mode} needs one")
        self.mode = mode
        self.keystone = keystone
        self.rules = [Rule("fqname-to-id", "*", "CRUD"), Rule("id-to-fqname", "*", "CRUD")]

    def caller(self, headers: Message, method: str, path: str) -> Caller:
        """Who asks, where it may ask this.

        :raises Unauthorized: without a token that counts
        :raises Refused: 403
        """
        if self.mode == "no-auth" or path == "/":
            return INTERNAL
        token = self.keystone.token(headers.get("X-Auth-Token")) if self.keystone else None
        if token is None:
            raise Unauthorized
        admin = "admin" in (role.lower() for role in token.roles)
        caller = Caller(token.user, token.roles, token.project, token.project_id, admin)
        if self.mode == "cloud-admin" and not admin:
            raise Refused(403, "403 Permission Denied")
        if self.mode == "rbac" and not admin:
            self._check(caller, OPERATIONS[method], path)
        return caller

    def _check(self, caller: Caller, operation: str, path: str) -> None:
        if not caller.roles:
            raise Refused(401, "roles empty!!")
        at = path.split("/")[1]
        for rules in (
            [rule for rule in self.rules if rule.object in {at, at.removesuffix("s")}],
            [rule for rule in self.rules if rule.object == "*"],
        ):
            if any(
                rule.role in {"*", *caller.roles} and operation in rule.operations for rule in rules
            ):
                return
            if rules:
                break
        raise Refused(
            403,
            f"Permission Denied for {caller.user} as {list(caller.roles)} to {operation}"
            f" {at.removesuffix('s')} in {caller.project}",
        )
