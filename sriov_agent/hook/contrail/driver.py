# SPDX-License-Identifier: Apache-2.0
"""Which VLANs are open on which virtual-port-group (VPG), and which are to be.

One VMI for each VLAN of a network on a VPG, one VPG for each switch port, or for all those of an
LACP bond. What somebody else made is used and left alone. Source: section 1.10 of the contract.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping

from oslo_config import cfg

from sriov_agent.core import fields
from sriov_agent.core.model import Segment, SwitchPort
from sriov_agent.exceptions import ConfigError, Refused, Unavailable, printable
from sriov_agent.hook.base import Hook
from sriov_agent.hook.contrail import lookup, objects
from sriov_agent.hook.contrail.client import Api, Credentials
from sriov_agent.hook.contrail.objects import Evidence, Place, Vmi, Vpg
from sriov_agent.hook.contrail.reading import Reader, Seen, Vanished
from sriov_agent.hook.contrail.settling import Settling, Unit, checked, named
from sriov_agent.hook.contrail.writing import Writer

LOG = logging.getLogger(__name__)

_ATTEMPTS = 3
_NOTHING: frozenset[Segment] = frozenset()

Wanted = Mapping[SwitchPort, frozenset[Segment]]


class ContrailHook(Hook):
    """Opens VLANs as objects in Contrail's config API.

    :param clock: monotonic seconds; like ``sleep`` and ``chance`` (0 to 1) a seam for tests
    :raises ConfigError: if an option of ``[hook_contrail]`` cannot work
    """

    networks = True

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        options = conf.hook_contrail
        self.host: str = conf.host
        self._prefix: str = options.vpg_prefix
        project = options.project.split(":")
        if len(project) != 2 or not all(project):
            raise ConfigError("[hook_contrail] project: expected DOMAIN:PROJECT")
        if ":" in self._prefix or "vpg-internal" in self._prefix or not self._prefix:
            raise ConfigError("[hook_contrail] vpg_prefix: expected a word without a colon")
        self._bonds = lookup.bond_groups(options.bonds, fields.pci_address)
        said = lookup.OperatorMap.parsed(options.switch_map, options.port_map)
        self._api = Api(
            options.api_servers,
            _credentials(options),
            timeout=options.timeout,
            verify=options.ca_file or True,
            clock=clock,
            sleep=sleep,
            chance=chance,
        )
        self._reader = Reader(self._api, said, project, options.cache_seconds)
        self._writer = Writer(self._api, self._reader, project, self.host)
        self._wanted: Wanted = {}
        self._places: dict[SwitchPort, Place] = {}
        self._empty: set[str] = set()
        self._unplaced: dict[SwitchPort, str] = {}

    def read(self, links: Iterable[SwitchPort]) -> dict[SwitchPort, frozenset[Segment]]:
        with self._api.deadline():
            places = {}
            for link in links:
                try:
                    places[link] = self._reader.place(link)
                except lookup.Unplaced as error:
                    if self._unplaced.get(link) != str(error):
                        LOG.warning("Contrail: PF %s: %s", link.pf, error)
                    self._unplaced[link] = str(error)
            if not places:
                return {}
            self._places.update(places)
            seen = self._reader.seen(places.values())
            if not seen.groups.keys() >= {place.uuid for place in places.values()}:
                self._reader.forget()
            return {
                link: self._visible(link, place, seen)
                for link, place in places.items()
                if place.uuid in seen.groups and len(seen.groups[place.uuid]) < 2
            }

    def apply(self, link: SwitchPort, wanted: Wanted) -> frozenset[Segment]:
        self._wanted = dict(wanted)
        mine = wanted.get(link, _NOTHING)
        with self._api.deadline():
            while self._empty:
                self._writer.delete_vpg(self._empty.pop())
            for attempt in range(_ATTEMPTS):
                try:
                    if not self._settled(link, mine):
                        return _NOTHING
                    break
                except Vanished as error:
                    self._reader.forget()
                    if attempt == _ATTEMPTS - 1:
                        raise Refused(
                            f"{named(link)}: {printable(str(error))} was deleted in Contrail "
                            "each time it was made; look who else works on this switch port"
                        ) from error
            found = self.read([link])
            if link not in found:
                raise Unavailable(f"{named(link)} cannot be read back from Contrail")
            return found[link]

    def owned(self) -> list[SwitchPort]:
        """Links on which Contrail has a VMI, or an empty VPG, of this host.

        Nothing is open on an empty VPG; the next :meth:`apply` of any link deletes it.

        :raises Unavailable: if the API did not answer
        :raises Refused: if it answered no
        """
        with self._api.deadline():
            vmis, vpgs = self._reader.own(self.host)
            empty = [vpg for vpg in vpgs if not vpg.vmis]
            self._empty = {vpg.uuid for vpg in empty}
            made = [vmi.evidence for vmi in vmis]
            made += [vpg.evidence for vpg in empty]
            found = {one.link for evidence in made for one in evidence}
            return sorted(found, key=repr)

    def network_number(self, network_id: str) -> int:
        with self._api.deadline():
            return self._reader.network_number(network_id)

    # --- what is open ---

    def _visible(self, link: SwitchPort, place: Place, seen: Seen) -> frozenset[Segment]:
        """What is open for this host on the link, as its ports see it.

        Somebody else's VMI counts while it is wanted; what is only there for another link of
        the same VPG does not. Where switch ports are bonded otherwise than they should be,
        nothing is as wanted: what is wanted does not count, and what is not does, once it was
        said what is wanted.
        """
        group = next(iter(seen.groups[place.uuid]), None)
        if group is None or group.contrail:
            return _NOTHING
        wants = self._wanted.get(link, _NOTHING)
        vmis = seen.vmis[group.uuid]
        own = frozenset(vmi.segment for vmi in vmis if vmi.host == self.host)
        other = frozenset(vmi.segment for vmi in vmis if vmi.host != self.host)
        if group.host == self.host and not self._joined_well(link, place, group, vmis):
            return own - wants if self._wanted else _NOTHING
        here = {one for one, at in self._places.items() if at.at in group.members}
        if group.host == self.host and all(
            self._places[one] != place or not self._current(one) for one in here
        ):
            here = set()
        elsewhere = _NOTHING.union(*(self._wanted.get(one, _NOTHING) for one in here - {link}))
        return (own - (elsewhere - wants)) | (other & wants)

    def _joined_well(self, link: SwitchPort, place: Place, group: Vpg, vmis: Iterable[Vmi]) -> bool:
        """Whether the VPG, this host's, is the one of the link's bond, or of the link alone."""
        bond = self._bonds.get(link.pf)
        if not self._current(link):
            return True
        if bond:
            return group.name.endswith(objects.bond_name("", self.host, bond))
        others = (vmi.at for vmi in vmis if vmi.host != self.host)
        return group.members.keys() <= {place.at}.union(*others)

    def _current(self, link: SwitchPort) -> bool:
        """Whether something is wanted there, as far as was said."""
        return not self._wanted or bool(self._wanted.get(link))

    # --- which switch ports belong together ---

    def _units(self, link: SwitchPort) -> tuple[Unit | None, dict[str, Unit]]:
        """The link's unit and all, by the name of the VPG that each would make.

        The link has none if it leads nowhere any more and nothing is wanted there. Where nothing
        is wanted a bond has no switch port: its PF may have left it.

        :raises Unplaced: if it cannot be told where the link leads, or another of its bond
        """
        wanted = self._wanted
        used = {one for one, segments in wanted.items() if segments}
        bonded = {one for one in used if one.pf in self._bonds}
        needed = {one for one in bonded if one.pf in self._bonds.get(link.pf, ())} | {link}
        self._places = {}
        for one in {link, *wanted}:
            try:
                self._places[one] = self._reader.place(one)
            except lookup.Unplaced:
                if link in used and one in needed:
                    raise
        names: dict[Place, str] = {}
        for one in sorted(bonded & self._places.keys(), key=lambda one: one.pf):
            name = objects.bond_name(self._prefix, self.host, self._bonds[one.pf])
            names.setdefault(self._places[one], name)
        members: dict[str, list[SwitchPort]] = {}
        for one, place in self._places.items():
            name = names.get(place) or objects.vpg_name(self._prefix, place)
            members.setdefault(name, []).append(one)
        units = {
            name: Unit(
                name,
                name.removeprefix(self._prefix),
                frozenset(self._places[one] for one in links),
                tuple(Evidence(one, self._places[one].at) for one in links if one in used),
                _NOTHING.union(*(wanted.get(one, _NOTHING) for one in links)),
            )
            for name, links in members.items()
        }
        own = next((name for name, links in members.items() if link in links), None)
        return (units[own] if own else None), units

    # --- making it so ---

    def _settled(self, link: SwitchPort, mine: frozenset[Segment]) -> bool:
        """Have ``mine`` open on the link and nothing stale; false: nothing can be open there.

        :raises Vanished: if an object went away meanwhile
        """
        checked(link, mine)
        unit, units = self._units(link)
        if unit is None:
            self._abandon(link)
            return False
        settling = Settling(self._reader, self._writer, self.host, link, units)
        settling.settle(unit, mine)
        if not mine and not unit.wants:
            self._abandon(link)
        return True

    def _abandon(self, link: SwitchPort) -> None:
        """Delete what this host left where the link led, if no other link of it is wanted."""
        vmis, vpgs = self._reader.own(self.host)
        groups = {vpg.uuid for vpg in vpgs if not vpg.vmis}
        for vmi in vmis:
            links = {one.link for one in vmi.evidence}
            if link in links and not any(self._wanted.get(one) for one in links):
                self._writer.delete_vmi(vmi)
                groups.update(vmi.groups)
        for uuid in sorted(groups):
            self._writer.delete_vpg(uuid)


def _credentials(options: cfg.ConfigOpts.GroupAttr) -> Credentials:
    given = {name: getattr(options, name) or "" for name in Credentials.__dataclass_fields__}
    found = Credentials(**given)
    if found.auth_url and not (found.username or found.application_credential_id):
        raise ConfigError(
            "[hook_contrail] auth_url: expected username, or application_credential_id, with it"
        )
    return found
