# SPDX-License-Identifier: Apache-2.0
"""Neutron's API, as far as the agent asks it: dictionaries as they come from there.

The only module that knows openstacksdk, which is loaded when the first client is made. Source:
Neutron's API reference, v2.0; ``If-Match`` is that of the extension ``revision-if-match``.
"""

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sriov_agent.core import fields
from sriov_agent.core.state import VNIC_TYPES
from sriov_agent.exceptions import (
    ConfigError,
    InvalidField,
    Refused,
    Unavailable,
    printable,
)

Json = Any

#: So many ids go into one URL.
_CHUNK = 50
_SAID = 300
#: Refusals that are none: ask again later.
_LATER = (408, 429)
#: What Neutron's policy is asked for; source: neutron/conf/policies, 2026.2.
_MEND = {
    401: "look at the credentials in [neutron]",
    403: "give the user in [neutron] the role admin",
}


_PASSWORD = (
    *("auth_url", "username", "password", "project_name"),
    *("user_domain_name", "project_domain_name"),
)
_CREDENTIAL = ("auth_url", "application_credential_id", "application_credential_secret")


class Changed(Refused):
    """What was to be changed has changed since it was read: read it again."""


def configured(options: Mapping[str, Any]) -> bool:
    """Whether ``[neutron]`` says where Neutron is."""
    return bool(options["auth_url"] or options["endpoint_override"])


class Neutron:
    """One client, for one thread. Nothing is asked before the first call.

    Every method raises ``Unavailable`` if there was no answer, or one that the server is to blame
    for, and ``Refused`` if the answer is no.

    :param options: ``[neutron]``, by name
    :raises ConfigError: if openstacksdk is not installed, or an option cannot work
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        if not configured(options):
            raise ConfigError("[neutron] auth_url is not set: where Neutron is, is not known")
        if options["auth_type"] == "none" and not options["endpoint_override"]:
            raise ConfigError("[neutron] endpoint_override: auth_type none needs it")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                import openstack  # noqa: PLC0415
                from keystoneauth1 import exceptions  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(
                "[neutron] needs openstacksdk: pip install 'sriov-agent[openstack]'"
            ) from error
        self._errors = exceptions
        self._sdk_error = openstack.exceptions.SDKException
        endpoint = str(options["endpoint_override"] or "").rstrip("/").removesuffix("/v2.0")
        try:
            loader = openstack.config.OpenStackConfig(load_yaml_config=False, load_envvars=False)
            region = loader.get_one(
                auth_type=options["auth_type"],
                auth=_auth(options, endpoint),
                region_name=options["region_name"],
                interface=options["interface"],
                cacert=options["cafile"],
                api_timeout=options["timeout"],
                network_endpoint_override=endpoint or None,
            )
            self._connection = openstack.connection.Connection(
                config=region, app_name="sriov-agent", strict_proxies=not endpoint
            )
            self._connection.session.session.trust_env = False
        except (exceptions.ClientException, self._sdk_error, OSError, ValueError) as error:
            raise ConfigError(f"[neutron]: {printable(str(error), _SAID)}") from error

    def sees_all(self) -> bool:
        """Whether its lists hold the ports of every project.

        Neutron leaves out what the user may not see without a word, so only the role admin makes
        of an absence a fact (``context_is_admin``; ``context_with_global_access`` is nobody's).
        """
        access = getattr(self._connection.session.auth, "get_access", None)
        if access is None:
            return True
        with self._answered("asking for a token"):
            return "admin" in (role.lower() for role in access(self._connection.session).role_names)

    def ports(self, host: str) -> list[Json]:
        """The ports bound to the host, of the VNIC types that the agent serves, with trunks."""
        doing = f"listing the ports of host {host}"
        found = self._listed("ports", {"binding:host_id": host}, doing)
        if any("binding:host_id" not in port for port in found):
            raise Refused(
                f"Neutron: {doing}: the user in [neutron] may not see binding:host_id: "
                "give it the role admin"
            )
        return [
            port
            for port in found
            if port["binding:host_id"] == host and port.get("binding:vnic_type") in VNIC_TYPES
        ]

    def port(self, port_id: str) -> Json | None:
        """One port; ``None`` if there is none that the user may see."""
        return self._one("port", port_id)

    def network_ids(self, port_ids: Iterable[str]) -> dict[str, str]:
        """The network of each of the ports that there are, by port id."""
        found = self._by_id("ports", port_ids, ["id", "network_id"])
        return {port["id"]: port["network_id"] for port in found}

    def network(self, network_id: str) -> Json | None:
        """One network, with ``provider:*`` or ``segments``; ``None`` if there is none."""
        return self._one("network", network_id)

    def networks(self, network_ids: Iterable[str]) -> list[Json]:
        """Those of the networks that there are."""
        return self._by_id("networks", network_ids, [])

    def physical_networks(self) -> frozenset[str]:
        """Those that the user's networks are on."""
        query = {"fields": ["id", "provider:physical_network", "segments"]}
        listed = self._listed("networks", query, "listing networks")
        segments = [part for one in listed for part in (one, *(one.get("segments") or ()))]
        names = (part.get("provider:physical_network") for part in segments)
        return frozenset(name for name in names if name)

    def find_network(self, name_or_id: str) -> Json:
        """The network of this id, or else of this name.

        :raises InvalidField: if there is none, or several; the message has their ids
        """
        found = self.network(name_or_id) if fields.is_id(name_or_id) else None
        if found:
            return found
        doing = f"looking for network {printable(name_or_id)}"
        named = self._listed("networks", {"name": name_or_id}, doing)
        if len(named) != 1:
            ids = ", ".join(sorted(str(one["id"]) for one in named))
            why = f"several networks have this name: {ids}" if named else "no such network"
            raise InvalidField("network", name_or_id, why)
        return named[0]

    def set_network(self, network: Json, vlan: int, physical_network: str) -> Json:
        """Make a network that VLAN of the physical network; as it is then.

        All three attributes go together: Contrail's plugin forgets what is left out.

        :param network: as :meth:`find_network` gave it
        :raises InvalidField: if a value cannot be accepted
        """
        wanted: dict[str, Json] = {
            "provider:network_type": "vlan",
            "provider:physical_network": fields.physical_network(physical_network),
            "provider:segmentation_id": fields.integer(vlan, "vlan", 1, fields.MAX_VLAN),
        }
        if {"provider:network_type": "vlan", **network}.items() >= wanted.items():
            return network
        network_id = fields.port_id(network["id"])
        doing = f"setting VLAN and physical network of network {network_id}"
        body = {"network": wanted}
        return self._ask(doing, "PUT", f"/networks/{network_id}", body)["network"]

    def update_binding_profile(
        self, port_id: str, profile: Mapping[str, Json], revision: int
    ) -> Json:
        """Write a port's ``binding:profile`` if it is still of this revision; the port then.

        Neutron unbinds and binds the port again.

        :raises Changed: if it is not
        """
        port_id = fields.port_id(port_id)
        return self._ask(
            f"writing binding:profile of port {port_id}",
            "PUT",
            f"/ports/{port_id}",
            {"port": {"binding:profile": dict(profile)}},
            headers={"If-Match": f"revision_number={revision}"},
            mend={
                403: "Neutron's default policy wants the role service for this, of the user in "
                "[neutron]"
            },
        )["port"]

    @contextlib.contextmanager
    def _answered(self, doing: str) -> Iterator[None]:
        """Turn what keystoneauth and the SDK raise within into the agent's errors."""
        errors = self._errors
        what = f"Neutron: {doing}"
        try:
            yield
        except errors.HttpError as error:
            status = error.http_status
            if status < 500 and status not in _LATER:
                raise Refused(
                    f"{what}: Keystone: HTTP {status}: {_cause(error)}; {_MEND[401]}"
                ) from error
            raise Unavailable(f"{what}: Keystone: HTTP {status}") from error
        except (errors.EndpointNotFound, errors.CatalogException) as error:
            raise Refused(
                f"{what}: Keystone's catalog has no such Neutron: look at [neutron] region_name "
                f"and interface: {_cause(error)}"
            ) from error
        except (errors.ClientException, self._sdk_error, OSError) as error:
            raise Unavailable(f"{what}: {_cause(error)}") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise Unavailable(f"{what}: the answer is not of the documented form") from error

    def _one(self, kind: str, id_: str) -> Json | None:
        id_ = fields.port_id(id_, f"{kind}_id")
        answer = self._ask(f"reading {kind} {id_}", "GET", f"/{kind}s/{id_}", missing=True)
        return answer and answer[kind]

    def _by_id(self, kind: str, ids: Iterable[str], wanted: list[str]) -> list[Json]:
        ordered = sorted(set(ids))
        found: list[Json] = []
        for at in range(0, len(ordered), _CHUNK):
            query = {"id": ordered[at : at + _CHUNK], **({"fields": wanted} if wanted else {})}
            found += self._listed(kind, query, f"reading {kind}")
        return found

    def _listed(self, kind: str, query: Mapping[str, Json], doing: str) -> list[Json]:
        """A whole collection, asked for page by page."""
        found: list[dict[str, Json]] = []
        path, given = f"/{kind}", dict(query)
        seen: set[str] = set()
        while path not in seen:
            seen.add(path)
            answer = self._ask(doing, "GET", path, query=given)
            with self._answered(doing):
                found += map(dict, answer[kind])
                links = answer.get(f"{kind}_links", ())
                path = next((link["href"] for link in links if link["rel"] == "next"), path)
            given = {}
        return found

    def _ask(
        self,
        doing: str,
        method: str,
        path: str,
        body: Json = None,
        *,
        query: Mapping[str, Json] | None = None,
        headers: Mapping[str, str] | None = None,
        mend: Mapping[int, str] | None = None,
        missing: bool = False,
    ) -> Json:
        """The JSON of an answer.

        :param doing: what is asked, for the error
        :param mend: what to do about a status, where it is not the usual
        :param missing: 404 is ``None``
        """
        with self._answered(doing):
            answer = self._connection.network.request(
                path,
                method,
                params=dict(query or {}),
                headers=dict(headers or {}),
                raise_exc=False,
                **({} if body is None else {"json": body}),
            )
            status = int(answer.status_code)
            if status < 300:
                return answer.json()
            if status == 404 and missing:
                return None
            said = _said(answer)
        what = f"Neutron: {doing}: HTTP {status}"
        if status >= 500 or status in _LATER:
            raise Unavailable(f"{what}: {said}")
        if status == 412:
            raise Changed(f"{what}: it has changed since it was read; read it again: {said}")
        todo = {**_MEND, **(mend or {})}.get(status, "")
        raise Refused(f"{what}: {said}{todo and f'; {todo}'}")


def _auth(options: Mapping[str, Any], endpoint: str) -> dict[str, Any]:
    """What keystoneauth wants of the options, by the names that both use."""
    if options["auth_type"] == "none":
        return {"endpoint": endpoint}
    names = _CREDENTIAL if options["auth_type"] == "v3applicationcredential" else _PASSWORD
    for name in names:
        if not options[name]:
            kind = options["auth_type"]
            raise ConfigError(f"[neutron] {name} is not set: auth_type {kind} needs it")
    return {name: options[name] for name in names}


def _said(answer: Any) -> str:
    """The server's own sentence, escaped."""
    try:
        error = answer.json()["NeutronError"]
        text = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        text = answer.text
    return printable(str(text), _SAID)


def _cause(error: BaseException) -> str:
    """What went wrong, without the layers that it came through."""
    text = str(error)
    return printable(text.partition("Caused by ")[2] or text, _SAID)
