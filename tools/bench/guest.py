# SPDX-License-Identifier: Apache-2.0
"""The part of ``make bench`` that needs VFs: runs in the lab guest."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pyroute2 import IPRoute

from sriov_agent.core.model import RELEASED, VfSettings
from sriov_agent.host.inventory import Inventory
from sriov_agent.host.lldp.discovery import Discovery
from sriov_agent.host.lldp.lldpd import Lldpd
from sriov_agent.host.netlink import Netlink
from sriov_agent.host.sysfs import Sysfs

#: Above what any look into memory takes, below any program's start.
CACHED_SECONDS = 0.01


def seconds(call: Callable[[], object]) -> float:
    """The median of nine."""
    found = []
    for _ in range(9):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def show(what: str, ours: float, peer: str, theirs: float) -> None:
    """One row of the table."""
    print(
        f"{what:44} {ours * 1000:9.2f} ms   {peer:38} {theirs * 1000:9.2f} ms   "
        f"x {ours / theirs:.2f}",
        flush=True,
    )


def discovering() -> None:
    """The discovery script, and the least that something like it could do."""
    script = [str(Path(sys.executable).parent / "sriov-lldp-discover"), "--all"]

    def bare() -> None:
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        subprocess.run(
            ["lldpcli", "-f", "json0", "show", "neighbors"], check=True, capture_output=True
        )

    ours = seconds(lambda: subprocess.run(script, check=False, capture_output=True))
    show("sriov-lldp-discover --all", ours, "lldpcli and an interpreter's start", seconds(bare))


def looking_up() -> None:
    """Where all PFs are cabled, as the running agent looks it up for a pass."""
    found, _ = Inventory([("", name) for name in Sysfs().pf_netdevs()], Netlink()).pfs()
    lldpd = Lldpd()
    discovery = Discovery([lldpd])
    discovery.start(lambda: None)
    try:
        # Only what is watched is kept, and lldpd's watch takes a moment to begin.
        while seconds(lambda: lldpd.hear(found)) > CACHED_SECONDS:
            time.sleep(0.1)
        ours = seconds(lambda: discovery.cabling(found))
    finally:
        discovery.stop()
    bare = ["lldpcli", "-f", "json0", "show", "neighbors"]
    theirs = seconds(lambda: subprocess.run(bare, check=True, capture_output=True))
    show("the agent's look-up of all PFs", ours, "lldpcli", theirs)


def main() -> None:
    """What needs VFs."""
    setting()
    discovering()
    looking_up()


def setting() -> None:
    """MAC, VLAN and spoofchk of all VFs of a PF: one message, a call for each, a process each."""
    pf = json.loads(Path("/run/sriov-lab/topology.json").read_text())["pfs"][0]
    macs = [f"02:00:00:00:00:{index:02x}" for index in range(len(pf["vfs"]))]
    with Netlink() as netlink, IPRoute() as route:
        link = netlink.links()[pf["netdev"]]
        changes = [(i, VfSettings(mac=mac, vlan=15, spoofchk=True)) for i, mac in enumerate(macs)]

        def one_message() -> None:
            refused = netlink.set_vfs(link, changes)
            assert not refused, refused

        def a_call_each() -> None:
            for index, mac in enumerate(macs):
                vf = {"vf": index, "mac": mac, "vlan": 15, "spoofchk": 1}
                route.link("set", index=link.index, vf=[vf])

        def a_process_each() -> None:
            for index, mac in enumerate(macs):
                command = f"ip link set {pf['netdev']} vf {index} mac {mac} vlan 15 spoofchk on"
                subprocess.run(command.split(), check=True)

        ours = seconds(one_message)
        for what, call in (("a pyroute2 call each", a_call_each), ("ip each", a_process_each)):
            theirs = seconds(call)
            show("set 7 VFs of a PF", ours, what, theirs)
        netlink.set_vfs(link, [(i, RELEASED.without(["link_state"])) for i in range(len(macs))])


if __name__ == "__main__":
    main()
