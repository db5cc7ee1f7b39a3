# SPDX-License-Identifier: Apache-2.0
"""What can be seen of the agent's work without asking it: iproute2, the leaf's bridge, ping."""

import json
import subprocess
from typing import Any


def run(*command: str, within: float = 180.0) -> str:
    """Standard output of a command that must succeed; ``within`` is in seconds.

    :raises RuntimeError: with what it said, if it does not
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=within, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def pings(netns: str, address: str) -> bool:
    """Whether the namespace reaches the address, by three tries."""
    command = ["ip", "netns", "exec", netns, "ping", "-c", "3", "-i", "0.3", "-W", "1", address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def vfs(pf_netdev: str) -> list[dict[str, Any]]:
    """The VFs of a PF as ``ip link`` shows them; VLAN and its priority as ``vlan`` and ``qos``."""
    (link,) = json.loads(run("ip", "-j", "link", "show", "dev", pf_netdev))
    found = []
    for vf in link["vfinfo_list"]:
        (vlan,) = vf.get("vlan_list") or [{}]
        found.append({**vf, "vlan": vlan.get("vlan", 0), "qos": vlan.get("qos", 0)})
    return found


def vf(pf_netdev: str, index: int) -> dict[str, Any]:
    """One of them."""
    return next(vf for vf in vfs(pf_netdev) if vf["vf"] == index)


def open_vlans(leaf: str, port: str) -> set[int]:
    """VLANs open on a leaf's port, as its bridge says."""
    listed = json.loads(run("ip", "netns", "exec", leaf, "bridge", "-j", "vlan", "show"))
    entries = next(entry["vlans"] for entry in listed if entry["ifname"] == port)
    return {vlan["vlan"] for vlan in entries}
