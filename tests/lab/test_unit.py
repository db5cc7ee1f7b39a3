# SPDX-License-Identifier: Apache-2.0
"""The agent as its unit starts it, without root and in its sandbox, on real VFs and lldpd."""

import http.server
import json
import subprocess
import threading

import pytest

from tests.booted import ROOT, booted
from tests.lab.agent import WAIT_SECONDS
from tools.demo import witness

pytestmark = pytest.mark.systemd

FABRIC = ROOT / "tools/lab/guest/leaf-fabric"
CONFIG = "/etc/sriov-agent/sriov-agent.conf"
DROP_IN = "/etc/systemd/system/sriov-agent.service.d/lldp-raw.conf"
OPERATOR = {"user": "daemon", "groups": ["sriov-agent"]}
FLOOR_VLAN, VLAN = 1, 15
MAC = "02:aa:00:00:00:31"


class Fabric(http.server.BaseHTTPRequestHandler):
    """The lab's fabric, which takes root, behind the hook ``webhook``, which does not."""

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        done = subprocess.run([FABRIC], input=asked, capture_output=True, check=False)
        self.send_response(200 if done.returncode == 0 else 500)
        self.end_headers()
        self.wfile.write(done.stdout or done.stderr)

    def log_message(self, *_):
        """Nothing is said."""


@pytest.fixture(scope="module")
def fabric():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fabric)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A systemd in the guest, with its network devices and its lldpd."""
    options = ["--bind=/run/lldpd.socket", "--capability=CAP_NET_ADMIN,CAP_NET_RAW"]
    with booted(tmp_path_factory.mktemp("machine"), *options) as machine:
        machine.install("install.rst")
        yield machine


@pytest.mark.parametrize("source", ["lldpd", "raw"])
def test_a_port_is_wired_and_released_without_root(machine, pf, fabric, source):
    machine.write(
        CONFIG,
        "[DEFAULT]\nhost = compute1\n[agent]\nretry_max = 2\n"
        f"[sriov_nic]\nphysical_device_mappings = physnet2:{pf['pci']}\n"
        f"[lldp]\nsources = {source}\n"
        f"[fabric]\nhook = webhook\n[hook_webhook]\nurl = {fabric}\ntimeout = 60\n",
        "root:sriov-agent",
        "640",
    )
    if source == "raw":
        machine.write(DROP_IN, (ROOT / "etc/systemd/lldp-raw.conf").read_text())
    machine.run("systemctl", "daemon-reload")
    machine.start("sriov-agent")
    try:
        port = json.loads(
            machine.run(
                *("sriovctl", "port", "create", "-f", "json", "--physical-network", "physnet2"),
                *("--vlan", VLAN, "--mac", MAC, "--trust", "--max-tx-rate", 500),
                *("--wait", WAIT_SECONDS, "first"),
                **OPERATOR,
            )
        )
        assert (port["state"], port["switch"], port["switch_port"]) == ("met", pf["leaf"], "swp1")
        seen = witness.vf(pf["netdev"], port["vf_index"])
        assert (seen["address"], seen["vlan"], seen["trust"]) == (MAC, VLAN, True)
        assert seen["rate"]["max_tx"] == 500
        assert witness.open_vlans(pf["leaf"], pf["port"]) == {FLOOR_VLAN, VLAN}

        found = {
            row["check"]: row
            for row in json.loads(machine.run("sh", "-c", "sriovctl doctor -f json; true"))
        }
        rights = {"lldpd": "has CAP_NET_ADMIN", "raw": "has CAP_NET_ADMIN, CAP_NET_RAW"}
        assert found["agent rights"]["state"] == "ok"
        assert found["agent rights"]["found"].endswith(rights[source])
        assert "user 0" not in found["agent rights"]["found"]

        machine.run("sriovctl", "port", "delete", "--wait", WAIT_SECONDS, "first", **OPERATOR)
        seen = witness.vf(pf["netdev"], port["vf_index"])
        assert (seen["address"] != MAC, seen["vlan"], seen["trust"]) == (True, 0, False)
        assert witness.open_vlans(pf["leaf"], pf["port"]) == {FLOOR_VLAN}
    finally:
        said = machine.journal("sriov-agent")
        machine.run("systemctl", "stop", "sriov-agent")
        print(said)
