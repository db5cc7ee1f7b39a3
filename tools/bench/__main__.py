# SPDX-License-Identifier: Apache-2.0
"""``make bench``: how fast the agent's own steps are, as ratios to a peer in the same run.

Ratios are medians of pairs measured in turn, since machines drift; seconds are only shown.
"""

import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from sriov_agent.core.intent import intent
from sriov_agent.core.model import RELEASED, Pf, Vf
from sriov_agent.core.plan import plan
from sriov_agent.core.state import Bindings, Observed, PortBinding
from sriov_agent.host import rtnl

ROOT = Path(__file__).resolve().parents[2]


def compare(what: str, ours: Callable[[], object], peer: str, theirs: Callable[[], object]) -> None:
    """Print the median seconds of both and the median ratio of 15 pairs."""
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(15)]
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{what:44} {mine * 1000:9.2f} ms   {peer:38} {other * 1000:9.2f} ms   x {ratio:.2f}")


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def link_message(vfs: int) -> bytes:
    """An ``RTM_NEWLINK`` message as the kernel sends it for a PF with so many VFs."""

    def attribute(kind: int, payload: bytes) -> bytes:
        length = len(payload) + 4
        return struct.pack("=HH", length & 0xFFFF, kind) + payload + bytes(-length % 4)

    def vf(index: int) -> bytes:
        return attribute(
            1,
            attribute(1, struct.pack("=I32s", index, bytes([2, 0, 0, 0, index >> 8, index & 255])))
            + attribute(2, struct.pack("=III", index, 15, 0))
            + attribute(6, struct.pack("=III", index, 0, 0))
            + attribute(3, struct.pack("=II", index, 0))
            + attribute(4, struct.pack("=II", index, 1))
            + attribute(5, struct.pack("=II", index, 0))
            + attribute(9, struct.pack("=II", index, 0)),
        )

    body = struct.pack("=BxHiII", 0, 1, 2, 0x11043, 0) + attribute(3, b"enp59s0f0\0")
    body += attribute(21, struct.pack("=I", vfs))
    body += attribute(22, b"".join(map(vf, range(vfs))))
    return struct.pack("=IHHII", len(body) + 16, 16, 0, 1, 0) + body


def read_by_pyroute2(message: bytes) -> object:
    """The same message by the library's own decoder, every attribute of every VF looked at."""
    link = ifinfmsg(message)
    link.decode()
    return [vf["attrs"] for _, vf in link.get_attr("IFLA_VFINFO_LIST")["attrs"]]


def reading() -> None:
    """Decode one PF's VFs."""
    message = link_message(256)
    compare(
        "read 256 VFs of a PF",
        lambda: rtnl.read_link(message),
        "pyroute2's decoder",
        lambda: read_by_pyroute2(message),
    )
    whole = link_message(1024)
    assert len(rtnl.read_link(whole).all_vfs()) == 1024
    compare(
        "read 1024 VFs of a PF",
        lambda: rtnl.read_link(whole),
        "read 256 VFs of a PF",
        lambda: rtnl.read_link(message),
    )


def deciding() -> None:
    """Give VFs to ports and plan, for a host that is full."""

    def host(ports: int) -> tuple[Bindings, Observed]:
        pf = "0000:3b:00.0"
        vfs = tuple(
            Vf(address=f"0000:3b:{2 + i // 8:02x}.{i % 8}", pf=pf, index=i, settings=RELEASED)
            for i in range(ports)
        )
        whole = Pf(address=pf, netdev="p", physical_network="physnet2", carrier=True, vfs=vfs)
        bindings = [
            PortBinding(
                port_id=f"00000000-0000-4000-8000-{i:012x}",
                mac=f"02:00:00:00:00:{i:02x}",
                vlan=15,
                physical_network="physnet2",
            )
            for i in range(ports)
        ]
        by_id = {binding.port_id: binding for binding in bindings}
        return Bindings(ports=by_id), Observed(pfs={pf: whole})

    few, many = host(64), host(240)

    def decide(bindings: Bindings, observed: Observed) -> None:
        plan(intent(bindings, observed), observed)

    compare(
        "decide for 240 new ports at once",
        lambda: decide(*many),
        "decide for 64 new ports at once",
        lambda: decide(*few),
    )


def main() -> int:
    """Measure on this machine, then in the lab guest."""
    reading()
    deciding()
    sys.stdout.flush()
    lab = [sys.executable, str(ROOT / "tools/lab"), "run", "--"]
    return subprocess.run(
        [*lab, sys.executable, str(ROOT / "tools/bench/guest.py")], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
