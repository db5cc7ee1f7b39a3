# SPDX-License-Identifier: Apache-2.0
"""``make bench``: how fast the agent's own steps are, as ratios to a peer in the same run.

Ratios are medians of pairs measured in turn, since machines drift; seconds are only shown. Then
the agent beside neutron-sriov-nic-agent, on a real Neutron; see TESTING.rst.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from sriov_agent.core.intent import intent
from sriov_agent.core.model import RELEASED, Pf, Vf
from sriov_agent.core.plan import plan
from sriov_agent.core.state import Bindings, Observed, PortBinding
from sriov_agent.host import rtnl

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)

from tools.bench import fabric  # noqa: E402
from tools.bench.report import FABRIC, METRICS, Measured, entry, table  # noqa: E402
from tools.bench.service import Service  # noqa: E402
from tools.openstack import needs  # noqa: E402
from tools.openstack.stack import Stack  # noqa: E402

OUTPUT = ROOT / "build/bench"
PFS = 4
#: for all of it; nothing waits that long by itself
TIMEOUT_SECONDS = 5400


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


def steps() -> int:
    """The agent's own steps, on this machine, then in the lab guest; the guest's exit status."""
    reading()
    deciding()
    sys.stdout.flush()
    lab = [sys.executable, str(ROOT / "tools/lab"), "run", "--"]
    return run(*lab, sys.executable, str(ROOT / "tools/bench/guest.py"))


def run(*command: str) -> int:
    """The exit status of a command, which is ended if this process is."""
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            raise


def side_by_side(names: Sequence[str], *, ours: bool, peer: bool) -> int:
    """Both agents in one boot of the guest; 0 if there is something of every metric.

    What was measured by then is reported even if it is interrupted.
    """
    OUTPUT.mkdir(parents=True, exist_ok=True)
    found = OUTPUT / "measured.json"
    found.unlink(missing_ok=True)
    load = os.getloadavg()[0]
    status = 1
    try:
        with (
            tempfile.TemporaryDirectory(prefix="neutron-") as directory,
            Stack(Path(directory), versions_ttl=5) as stack,
            contextlib.closing(Service(stack)) as service,
        ):
            lab = [sys.executable, str(ROOT / "tools/lab"), "run", f"--pfs={PFS}", "--user-net"]
            driver = [sys.executable, "-m", "tools.bench.agents", f"--service={service.guest_url}"]
            if peer:
                driver += [f"--environment={needs.environment()}"]
            if not ours:
                driver += ["--no-ours"]
            driver += [f"--output={found}", *names]
            lab += [f"--timeout={TIMEOUT_SECONDS}", "--"]
            status = run(*lab, *driver)
            for log in stack.logs():
                (OUTPUT / f"neutron-{log.parent.name}-{log.name}").write_bytes(log.read_bytes())
    finally:
        measured = json.loads(found.read_text()) if found.exists() else {}
        complete = report(names, measured, load, ours=ours, peer=peer)
    return status or int(not complete)


def device_manager(names: Sequence[str]) -> int:
    """The device manager, on this machine; 0 if there is something of every metric."""
    load = os.getloadavg()[0]
    measured = {name: vars(found) for name, found in fabric.measure(names).items()}
    return int(not report(names, measured, load, ours=True, peer=True, file="fabric.json"))


def report(
    names: Sequence[str],
    measured: Mapping[str, Any],
    load: float,
    *,
    ours: bool,
    peer: bool,
    file: str = "report.json",
) -> bool:
    """Print the table and write the file; whether every metric was measured."""
    entries = []
    for metric in METRICS:
        if metric.name not in names:
            continue
        each = Measured(**measured.get(metric.name, {}))
        for side, wanted, samples in (("ours", ours, each.ours), ("peer", peer, each.peer)):
            if wanted and not samples and not each.errors:
                each.errors.append(f"{side}: not measured")
        entries.append(entry(metric, each))
    loads = [load, os.getloadavg()[0]]
    found = {"metrics": entries, "cpus": os.cpu_count(), "load": loads}
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / file).write_text(json.dumps(found, indent=1) + "\n")
    print(table(entries))
    print(f"load average {loads[0]:.1f} before, {loads[1]:.1f} after; {OUTPUT}/{file}")
    return not any(each["errors"] for each in entries)


def raise_exit(signum: int, _: FrameType | None) -> NoReturn:
    print(f"bench: ended by signal {signum}", file=sys.stderr)
    sys.exit(128 + signum)


def main() -> int:
    """All of it, or what the command line names."""
    names = [metric.name for metric in METRICS]
    parser = argparse.ArgumentParser(prog="bench", description="Measures the agent.")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        metavar="METRIC,...",
        help=f"some of {', '.join(names)}; default: all of them, and the agent's own steps",
    )
    parser.add_argument(
        "--no-peer", action="store_true", help="leave neutron-sriov-nic-agent out, which is slow"
    )
    parser.add_argument("--no-ours", action="store_true", help="leave this project's agent out")
    arguments = parser.parse_args()
    if unknown := set(arguments.only or ()) - set(names):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:  # as under nohup
            signal.signal(signum, raise_exit)
    chosen = arguments.only or names
    status = 0 if arguments.only else steps()
    if ours := [name for name in chosen if name.startswith(FABRIC)]:
        status = device_manager(ours) or status
    both = [name for name in chosen if not name.startswith(FABRIC)]
    if not both:
        return status
    if reason := needs.missing():
        print(f"bench: {reason}", file=sys.stderr)
        return 3
    found = side_by_side(both, ours=not arguments.no_ours, peer=not arguments.no_peer)
    return found or status


if __name__ == "__main__":
    sys.exit(main())
