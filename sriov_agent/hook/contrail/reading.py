# SPDX-License-Identifier: Apache-2.0
"""What Contrail has: look-ups that are remembered for a while, state that never is.

Source: sections 1.8 and 1.9 of the contract.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from msgspec import Struct

from sriov_agent.core import fields
from sriov_agent.core.model import SwitchPort
from sriov_agent.exceptions import InvalidField, Refused, Unavailable, printable
from sriov_agent.hook.contrail import lookup, objects
from sriov_agent.hook.contrail.client import Answer, Api, Json
from sriov_agent.hook.contrail.objects import Place, Vmi, Vpg

T = TypeVar("T")

#: A look-up that found nothing is made again if what it looked in is older, in seconds.
_MISSED = 30.0
#: So many uuids go into one URL.
_CHUNK = 64
#: Hosts whose name the API's filters can take.
_FILTERED = re.compile(r"[A-Za-z0-9_.-]+")
_FORM = (KeyError, TypeError, ValueError, AttributeError, IndexError)


class Vanished(Exception):
    """Something that was there a moment ago is not; the caller looks it up again."""


class Seen(Struct, frozen=True):
    """VPGs by the uuid of a physical interface, VMIs by that of a VPG.

    An interface that Contrail does not have any more is absent.
    """

    groups: Mapping[str, tuple[Vpg, ...]]
    vmis: Mapping[str, tuple[Vmi, ...]]

    def distinct(self) -> list[Vpg]:
        """Every VPG once, by name."""
        found = {vpg.uuid: vpg for vpgs in self.groups.values() for vpg in vpgs}
        return sorted(found.values(), key=lambda vpg: (vpg.name, vpg.uuid))


class Reader:
    """:param cache_seconds: how long switches, interfaces and networks are remembered"""

    def __init__(
        self, api: Api, said: lookup.OperatorMap, project: list[str], cache_seconds: float
    ) -> None:
        self._api = api
        self._said = said
        self._project = project
        self._seconds = cache_seconds
        self._cache: dict[tuple[str, ...], tuple[float, Any]] = {}

    def forget(self) -> None:
        """Look everything up again."""
        self._cache.clear()

    def place(self, link: SwitchPort) -> Place:
        """Where the link leads.

        :raises Unplaced: if LLDP and Contrail do not agree on exactly one switch port
        :raises Unavailable: if the API did not answer
        """
        since = self._api.clock()
        try:
            return self._place(link)
        except lookup.Unplaced:
            looked_in = [at for key, (at, _) in self._cache.items() if key[0] != "network"]
            if min(looked_in, default=since) > since - _MISSED:
                raise
            self.forget()
            return self._place(link)

    def _place(self, link: SwitchPort) -> Place:
        routers = self._cached(("routers",), self._routers)
        router = lookup.router(link, routers, self._said)
        fabric = lookup.fabric(router)
        found = self._cached(("interfaces", router.name), lambda: self._interfaces(router.name))
        interface = lookup.interface(link, router, found, self._said)
        return Place(fabric, router.name, interface.name, interface.uuid)

    def networks(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The fq_names of Neutron networks; their uuids are the same in Contrail.

        :raises Refused: if Contrail does not know one of them
        :raises Unavailable: if the API did not answer
        """
        wanted = set(ids)
        for id_ in wanted:
            try:
                fields.port_id(id_, "network_id")
            except InvalidField as error:
                raise Refused(str(error)) from error
        now = self._api.clock()
        unknown = []
        for id_ in wanted:
            at, _ = self._cache.get(("network", id_), (now - self._seconds, None))
            if now - at >= self._seconds:
                unknown.append(id_)
        for name in _parsed(_name, self.by_uuid("virtual-network", unknown, "")):
            self._cache["network", name[0]] = now, name[1]
            unknown.remove(name[0])
        if unknown:
            raise _no_network(*unknown)
        return {id_: self._cache["network", id_][1] for id_ in wanted}

    def network_number(self, network_id: str) -> int:
        """The VN id that Contrail gave a Neutron network.

        :raises Refused: if Contrail does not know it
        :raises Unavailable: if the API did not answer
        """
        for body in self.by_uuid("virtual-network", [network_id], "virtual_network_network_id"):
            [number] = _parsed(lambda one: int(one["virtual_network_network_id"]), [body])
            return number
        raise _no_network(network_id)

    def seen(self, places: Iterable[Place]) -> Seen:
        """What there is on these switch ports now, in three requests.

        :raises Unavailable: if it cannot be told
        :raises Refused: if the API answered no
        """
        listed = self.by_uuid(
            "physical-interface",
            (place.uuid for place in places),
            "virtual_port_group_back_refs",
        )
        refs = {
            one["uuid"]: [ref["uuid"] for ref in one.get("virtual_port_group_back_refs") or ()]
            for one in listed
        }
        vpgs = {
            vpg.uuid: vpg for vpg in self.vpgs(uuid for uuids in refs.values() for uuid in uuids)
        }
        vmis = {vmi.uuid: vmi for vmi in self.vmis(u for vpg in vpgs.values() for u in vpg.vmis)}
        return Seen(
            {pi: tuple(vpgs[u] for u in uuids if u in vpgs) for pi, uuids in refs.items()},
            {
                vpg.uuid: tuple(vmis[u] for u in sorted(vpg.vmis) if u in vmis)
                for vpg in vpgs.values()
            },
        )

    def vpgs(self, uuids: Iterable[str]) -> list[Vpg]:
        """Those of the VPGs that are there."""
        return _parsed(objects.vpg, self.by_uuid("virtual-port-group", uuids, objects.VPG_FIELDS))

    def vmis(self, uuids: Iterable[str]) -> list[Vmi]:
        """Those of the VMIs that are there."""
        listed = self.by_uuid("virtual-machine-interface", uuids, objects.VMI_FIELDS)
        return _parsed(objects.vmi, listed)

    def own(self, host: str) -> tuple[list[Vmi], list[Vpg]]:
        """Everything of this host, wherever it is.

        A filter of the API may be ignored (section 1.8), so the marks are looked at here.
        """
        query = {"detail": "true", "exclude_hrefs": "true"}
        if _FILTERED.fullmatch(host):
            query["filters"] = f'display_name=="{objects.owner(host)}"'
        listed = self.listed(
            "virtual-machine-interface",
            {
                **query,
                "parent_fq_name_str": ":".join(self._project),
                "fields": objects.VMI_FIELDS,
            },
        )
        vmis = [vmi for vmi in _parsed(objects.vmi, listed) if vmi.host == host]
        listed = self.listed("virtual-port-group", {**query, "fields": objects.VPG_FIELDS})
        return vmis, [vpg for vpg in _parsed(objects.vpg, listed) if vpg.host == host]

    def by_uuid(self, type_: str, uuids: Iterable[str], wanted: str) -> list[Json]:
        """Those of the objects that are there, with these fields; "": only their names."""
        ordered = sorted(set(uuids))
        found: list[Json] = []
        for at in range(0, len(ordered), _CHUNK):
            query = {"obj_uuids": ",".join(ordered[at : at + _CHUNK]), "exclude_hrefs": "true"}
            if wanted:
                query |= {"detail": "true", "fields": wanted}
            found += self.listed(type_, query)
        return found

    def listed(self, type_: str, query: Mapping[str, str]) -> list[Json]:
        """A collection; what has no parent any more has no children either.

        :raises Refused: if the API answered no
        :raises Unavailable: if it did not, or not with a list
        """
        answer = self._api.call("GET", f"/{type_}s", query)
        if answer.status == 404:
            return []
        if answer.status != 200:
            raise refusal(answer, f"reading {type_}s")
        try:
            return [one.get(type_, one) for one in answer.body[f"{type_}s"]]
        except _FORM as error:
            raise Unavailable(f"Contrail API: no list of {type_}s in the answer") from error

    def there(self, type_: str, fq_name: Iterable[str]) -> str:
        """The uuid of what has this name, "" if nothing has."""
        body = {"type": type_, "fq_name": list(fq_name)}
        answer = self._api.call("POST", "/fqname-to-id", body=body)
        if answer.status == 404:
            return ""
        if answer.status != 200 or not isinstance(answer.body, dict):
            raise refusal(answer, f"looking up a {type_}")
        return str(answer.body.get("uuid", ""))

    def _cached(self, key: tuple[str, ...], fetch: Callable[[], T]) -> T:
        now = self._api.clock()
        at, value = self._cache.get(key, (0.0, None))
        if value is None or now - at >= self._seconds:
            value = fetch()
            self._cache[key] = (now, value)
        return cast(T, value)

    def _routers(self) -> list[lookup.Router]:
        wanted = (
            "physical_router_hostname,physical_router_management_ip,device_chassis_refs,fabric_refs"
        )
        query = {"detail": "true", "exclude_hrefs": "true", "fields": wanted}
        return _parsed(_router, self.listed("physical-router", query))

    def _interfaces(self, router: str) -> list[lookup.Interface]:
        query = {
            "parent_fq_name_str": f"{objects.GLOBAL}:{router}",
            "detail": "true",
            "exclude_hrefs": "true",
            "fields": "display_name,physical_interface_port_id,physical_interface_mac_addresses",
        }
        return _parsed(_interface, self.listed("physical-interface", query))


def refusal(answer: Answer, doing: str) -> Refused | Unavailable:
    """The error for an answer that was not looked for; what mends it goes by the status."""
    if answer.status == 504:
        return Unavailable(f"Contrail API: {doing}: HTTP 504")
    mend = {
        403: ": give the user in [hook_contrail] the role admin, or the rights in rbac's lists",
        412: ": the quota of [hook_contrail] project is used up; raise it, or take another project",
    }.get(answer.status, "")
    return Refused(f"Contrail API: {doing}: HTTP {answer.status}{mend}: {answer.said}")


def _no_network(*ids: str) -> Refused:
    return Refused(
        f"network {', '.join(sorted(ids))} is no virtual-network in Contrail: it must be there "
        "under Neutron's id, as Contrail's Neutron plugin and networking-opencontrail make it"
    )


def _parsed(parse: Callable[[Json], T], listed: Iterable[Json]) -> list[T]:
    try:
        return [parse(one) for one in listed]
    except _FORM as error:
        raise Unavailable(
            f"Contrail API: an answer is not of the documented form: {printable(str(error))}"
        ) from error


def _name(body: Json) -> tuple[str, tuple[str, ...]]:
    return str(body["uuid"]), tuple(map(str, body["fq_name"]))


def _router(body: Json) -> lookup.Router:
    return lookup.Router(
        name=body["fq_name"][-1],
        hostname=body.get("physical_router_hostname") or "",
        management_ip=body.get("physical_router_management_ip") or "",
        chassis=frozenset(_macs(body.get("device_chassis_refs") or ())),
        fabrics=tuple(ref["to"][-1] for ref in body.get("fabric_refs") or ()),
    )


def _macs(refs: Iterable[Json]) -> Iterator[str]:
    for ref in refs:
        if mac := lookup.chassis_mac(ref["to"][-1]):
            yield mac


def _interface(body: Json) -> lookup.Interface:
    macs = (body.get("physical_interface_mac_addresses") or {}).get("mac_address") or ()
    return lookup.Interface(
        uuid=body["uuid"],
        name=body["fq_name"][-1],
        display_name=body.get("display_name") or "",
        port_id=str(body.get("physical_interface_port_id") or ""),
        macs=frozenset(filter(None, map(lookup.parsed_mac, macs))),
    )
