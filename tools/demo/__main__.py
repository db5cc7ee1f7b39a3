# SPDX-License-Identifier: Apache-2.0
"""``make demo``: boots the lab and tells in it how a port-create event becomes a pinging VF.

Exit status 0 only if every step was observed. Leaves ``report.json`` and the port's interface
XML in ``build/demo``.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "build/demo"
CHECKS = (
    "ping-fails-before",
    "event-consumed",
    "vf-allocated",
    "vf-programmed",
    "xml-valid",
    "lldp-resolved",
    "fabric-opened",
    "ping-passes",
    "tag-seen",
    "released",
    "ping-fails-after",
)
TIMEOUT_SECONDS = 900


def main() -> int:
    """Run the story in the guest; 0 if all of :data:`CHECKS` were seen, else 1 or the lab's."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for old in (*OUTPUT.glob("*.xml"), OUTPUT / "report.json"):
        old.unlink(missing_ok=True)
    started = time.monotonic()
    print("Booting a machine with two SR-IOV NICs on two switches ...", flush=True)
    lab = [sys.executable, str(ROOT / "tools/lab"), "run", "--timeout", str(TIMEOUT_SECONDS)]
    story = [sys.executable, str(ROOT / "tools/demo/story.py"), str(OUTPUT)]
    status = subprocess.run([*lab, "--", *story], cwd=ROOT, check=False).returncode
    report = OUTPUT / "report.json"
    if not report.exists():
        print(f"The story was not told: exit status {status} of the lab.", file=sys.stderr)
        return status or 1
    checks = json.loads(report.read_text("utf-8"))["checks"]
    missing = [name for name in CHECKS if not any(c["name"] == name and c["ok"] for c in checks)]
    seconds = time.monotonic() - started
    seen = len(CHECKS) - len(missing)
    print(f"\n{seen} of {len(CHECKS)} steps seen, {seconds:.0f} s in all. {report}")
    if missing:
        print(f"Not seen: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else status


if __name__ == "__main__":
    sys.exit(main())
