# SPDX-License-Identifier: Apache-2.0
"""What is right and wrong with a host, and what mends it: pure checks over what was read.

Each check is a function from facts to findings. A fact that could not be read is ``None`` or comes
with why, and is *unknown*, which is neither right nor wrong.
"""

import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from sriov_agent.core.model import Pf
from sriov_agent.exceptions import printable

#: Bits of the capabilities that the agent needs. Source: ``include/uapi/linux/capability.h``.
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}

#: How far this host's clock may be off, in seconds: Neutron gives an agent up after 75 (default
#: ``agent_down_time``), tokens and signatures are judged by the minute.
SKEW_WARNING, SKEW_ERROR = 2.0, 30.0

#: Heartbeats that may be missed before Neutron gives the agent up (``agent_down_time``).
_MISSED = 2.5


class State(enum.StrEnum):
    """What a check came to; ``unknown`` where nothing tells."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    UNKNOWN = "unknown"


class Finding(Struct, frozen=True):
    """One line: what was looked at, what was found, and the command that mends it."""

    check: str
    state: State
    found: str
    mend: str = ""


Findings = Iterable[Finding]


class Process(Struct, frozen=True, kw_only=True):
    """A process: ``capabilities`` are the effective ones as a bit mask (``CapEff``)."""

    pid: int
    user: int
    capabilities: int


def exit_status(findings: Findings) -> int:
    """0: nothing is wrong, 1: there are warnings, 2: there are errors."""
    states = {finding.state for finding in findings}
    return 2 if State.ERROR in states else 1 if State.WARNING in states else 0


def iommu(groups: int, command_line: str, vendor: str) -> Finding:
    """Whether VFs can be passed through.

    :param groups: how many IOMMU groups the kernel has
    :param command_line: the kernel's
    :param vendor: of the CPU, as ``/proc/cpuinfo`` has it
    """
    if groups:
        return Finding("iommu", State.OK, f"on, {groups} groups")
    wanted = "amd_iommu=on" if "AMD" in vendor else "intel_iommu=on"
    if wanted in command_line.split():
        why, mend = f"off, though {wanted} is given", "switch VT-d or AMD-Vi on in the firmware"
    else:
        why = "off: no guest can have a VF by vfio"
        mend = f"add {wanted} iommu=pt to GRUB_CMDLINE_LINUX in /etc/default/grub; update-grub"
        mend += "; reboot"
    return Finding("iommu", State.ERROR, why, mend)


def pf(found: Pf) -> Iterator[Finding]:
    """Whether the PF and each member of its bond can carry anything."""
    for uplink in found.uplinks():
        check = f"{uplink.netdev} link"
        if not uplink.up:
            yield Finding(check, State.ERROR, "down", f"ip link set {uplink.netdev} up")
        elif not uplink.carrier:
            mend = f"look at cable and switch port; ethtool {uplink.netdev}"
            yield Finding(check, State.ERROR, "up, no carrier", mend)
        else:
            yield Finding(check, State.OK, "up, with carrier")


def vfs(found: Pf) -> Finding:
    """Whether the PF has VFs, and any left."""
    check = f"{found.netdev} vfs"
    if not found.vfs:
        path = f"/sys/class/net/{found.netdev}/device/sriov_numvfs"
        why = f"none of {found.total_vfs}"
        if not found.total_vfs:
            return Finding(check, State.ERROR, why, "switch SR-IOV on in the NIC's firmware")
        return Finding(check, State.ERROR, why, f"echo {min(found.total_vfs, 8)} > {path}")
    free = sum(not vf.held_by for vf in found.vfs)
    return Finding(
        check, State.OK, f"{len(found.vfs)} of {found.total_vfs}, {free} of them in nobody's use"
    )


def persistent(found: Pf, writers: Mapping[str, str]) -> Finding:
    """Whether something makes the VFs again at a boot, as far as files tell.

    :param writers: what files of the host that have to do with VFs hold, by path
    """
    check = f"{found.netdev} persistent"
    name = re.compile(rf"(?<![\w.:-])({re.escape(found.netdev)}|{found.address})(?![\w-]|\.\w)")
    naming = [path for path, text in writers.items() if name.search(text)]
    if naming:
        return Finding(check, State.OK, f"made at boot by {', '.join(naming)}")
    if writers:
        said = f"{', '.join(writers)} make VFs, whether those of this PF is not said there"
        return Finding(check, State.UNKNOWN, said)
    number = len(found.vfs) or min(found.total_vfs, 8)
    rule = (
        f'ACTION=="add", SUBSYSTEM=="net", KERNELS=="{found.address}", '
        f'ATTR{{device/sriov_numvfs}}="{number}"'
    )
    return Finding(
        check,
        State.WARNING,
        "nothing was found that makes VFs at boot",
        f"echo '{rule}' >> /etc/udev/rules.d/70-sriov.rules",
    )


def driver(found: Pf, name: str, lacking: Iterable[str]) -> Finding:
    """Which VF settings the NIC lacks.

    :param name: of the PF's driver
    :param lacking: settings that were refused when a port asked for them
    """
    check = f"{found.netdev} driver"
    if lacks := ", ".join(sorted({*lacking, *found.unsupported})):
        mend = "leave these settings of ports at their defaults, or use another NIC"
        return Finding(check, State.WARNING, f"{name}, lacks {lacks}", mend)
    return Finding(check, State.OK, f"{name}, which refused no setting so far")


def firmware_lldp(found: Pf) -> Iterator[Finding]:
    """Whether the NIC's firmware swallows LLDP frames."""
    for uplink in found.uplinks():
        check = f"{uplink.netdev} firmware lldp"
        if uplink.firmware_lldp:
            yield Finding(check, State.ERROR, "its agent takes the frames", uplink.firmware_lldp)
        else:
            yield Finding(check, State.OK, "none, or off")


def lldp(
    found: Pf, cabling: Mapping[str, Mapping[str, Any]], *, needed: bool, by: str
) -> Iterator[Finding]:
    """Where the PF and each member of its bond is cabled, and since when that is heard.

    :param cabling: ``switch, switch_port, reason, neighbors`` by uplink
    :param needed: whether the fabric is opened by what LLDP says
    :param by: who heard it
    """
    for uplink in found.uplinks():
        check, answer = f"{uplink.netdev} lldp", cabling.get(uplink.address)
        if answer is None:
            mend = "sriov-lldp-discover --all"
            yield Finding(check, State.UNKNOWN, f"{by} did not listen", mend)
        elif not answer["switch"]:
            state = State.ERROR if needed else State.WARNING
            mend = "apt-get install lldpd; switch LLDP on for the switch port; lldpcli update"
            if answer["reason"].startswith("ambiguous"):
                mend = "name the fabric's switches in [lldp] allowed_switches"
            elif "sriovctl lldp accept" in answer["reason"]:
                mend = f"sriovctl lldp accept {uplink.address}"
            yield Finding(check, state, answer["reason"], mend)
        else:
            where = f"{printable(answer['switch'])} port {printable(answer['switch_port'])}"
            ages = [n["age"] for n in answer["neighbors"] if n["age"] is not None]
            since = f", unchanged for {duration(min(ages))}" if ages else ""
            yield Finding(check, State.OK, f"{where}{since}, by {by}")


def heartbeat(running: bool, counters: Mapping[str, int], interval: float, now: float) -> Finding:
    """Whether Neutron answers the agent's reports.

    :param counters: the agent's: ``heartbeats``, ``heartbeats.ignored``, and
        ``heartbeats.answered_at``, in seconds of Unix time
    :param interval: ``[agent] report_interval``, in seconds
    """
    check, at = "neutron heartbeat", counters.get("heartbeats.answered_at")
    if not running:
        return Finding(check, State.UNKNOWN, "the agent does not run")
    if at is not None and now - at <= interval * _MISSED:
        return Finding(check, State.OK, f"answered {duration(max(now - at, 0))} ago")
    if counters.get("heartbeats.ignored"):
        why = "ignored: this host's clock is behind neutron-server's start"
        return Finding(check, State.ERROR, why, "systemctl enable --now chrony")
    why = "never answered" if at is None else f"not answered for {duration(now - at)}"
    return Finding(
        check, State.ERROR, why, "openstack network agent list; journalctl -u sriov-agent"
    )


def physical_networks(mapped: Iterable[str], known: frozenset[str] | None, why: str) -> Finding:
    """Whether Neutron has networks on the physical networks that are mapped.

    :param known: those of Neutron's networks, ``None`` with ``why`` where that cannot be asked
    """
    check, wanted = "physical networks", sorted(set(mapped))
    if known is None:
        return Finding(check, State.UNKNOWN, why)
    lacking = [name for name in wanted if name not in known]
    if not lacking:
        return Finding(check, State.OK, f"Neutron has networks on {', '.join(wanted)}")
    names = ", ".join(sorted(map(printable, known))) or "none"
    return Finding(
        check,
        State.WARNING,
        f"no network of Neutron is on {', '.join(lacking)}; they are on {names}",
        f"openstack network create --provider-network-type vlan "
        f"--provider-physical-network {lacking[0]} NAME",
    )


def libvirt(socket: str) -> Finding:
    """Whether libvirt listens; ``socket``: where, "" for nowhere."""
    if socket:
        return Finding("libvirt", State.OK, f"listens on {socket}")
    return Finding(
        "libvirt", State.WARNING, "no socket of it was found", "systemctl enable --now libvirtd"
    )


def vfio(loaded: bool) -> Finding:
    """Whether VFs can be bound to vfio-pci."""
    if loaded:
        return Finding("vfio", State.OK, "vfio-pci is loaded")
    mend = "modprobe vfio-pci; echo vfio-pci > /etc/modules-load.d/vfio.conf"
    return Finding("vfio", State.WARNING, "vfio-pci is not loaded", mend)


def clock(skew: float | None, by: str, synchronized: bool | None) -> Finding:
    """Whether this host's clock is right.

    :param skew: seconds by which it is ahead of ``by``; ``None`` where nobody else was asked
    :param synchronized: what the kernel says of NTP, ``None`` where it says nothing
    """
    mend = "systemctl enable --now chrony"
    if skew is not None:
        off = abs(skew)
        state = State.ERROR if off > SKEW_ERROR else State.WARNING
        side = "ahead of" if skew > 0 else "behind"
        if off > SKEW_WARNING:
            return Finding("clock", state, f"{duration(off)} {side} {by}", mend)
        return Finding("clock", State.OK, f"as {by} has it, to the second")
    if synchronized is None:
        return Finding("clock", State.UNKNOWN, "nothing tells")
    if synchronized:
        return Finding("clock", State.OK, "synchronized, the kernel says")
    return Finding("clock", State.WARNING, "not synchronized, the kernel says", mend)


def other_agent(pids: Sequence[int]) -> Finding:
    """Whether neutron-sriov-nic-agent runs here too: two would set the same VFs."""
    if not pids:
        return Finding("other agent", State.OK, "none runs")
    listed = ", ".join(map(str, pids))
    mend = "systemctl disable --now neutron-sriov-agent neutron-sriov-nic-agent"
    return Finding("other agent", State.ERROR, f"neutron-sriov-nic-agent, pid {listed}", mend)


def agent(process: Process | None, raw: bool) -> Iterator[Finding]:
    """Whether the agent runs, and may do what it has to.

    :param raw: whether it reads LLDP frames itself
    """
    if process is None:
        yield Finding("agent", State.WARNING, "does not run", "systemctl enable --now sriov-agent")
        yield Finding("agent rights", State.UNKNOWN, "the agent does not run")
        return
    yield Finding("agent", State.OK, f"runs, pid {process.pid}")
    needed = ["CAP_NET_ADMIN", *(["CAP_NET_RAW"] if raw else [])]
    lacking = [name for name in needed if not process.capabilities >> CAPABILITIES[name] & 1]
    if lacking:
        file, directory = "system/sriov-agent.service", "system"
        if "CAP_NET_ADMIN" not in lacking:
            file, directory = "lldp-raw.conf", "system/sriov-agent.service.d"
        mend = f"install -m 644 -D -t /etc/systemd/{directory} /opt/sriov-agent/etc/systemd/{file}"
        mend += "; systemctl daemon-reload; systemctl restart sriov-agent"
        why = f"user {process.user} lacks {', '.join(lacking)}"
        yield Finding("agent rights", State.ERROR, why, mend)
    else:
        yield Finding("agent rights", State.OK, f"user {process.user} has {', '.join(needed)}")


def duration(seconds: float) -> str:
    """``42 s``, ``7 min``, ``3 h``, ``5 d``."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.0f} s"
