# SPDX-License-Identifier: Apache-2.0
"""Metrics, health and what systemd is told; the alerts and the dashboard name what there is."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from oslo_config import cfg
from prometheus_client.parser import text_string_to_metric_families

from sriov_agent import conf as options
from sriov_agent import metrics
from sriov_agent.core.metrics import of_agent
from sriov_agent.core.model import Cabling
from sriov_agent.core.report import PortReport, PortState, Report
from sriov_agent.counters import Counters, Durations
from sriov_agent.exceptions import ConfigError, Unavailable
from sriov_agent.fabric.measured import Measured, families
from sriov_agent.fabric.model import PortStatus
from sriov_agent.service import Agent
from sriov_agent.systemd import Systemd
from sriov_agent.web import Page, Web
from tests.fakes.managed_switch import ManagedSwitch
from tests.topology import CABLING, PF_A, PF_B, claim, pf, port_id, vf

ETC = Path(__file__).parents[2] / "etc/prometheus"
#: Where the package prometheus, or what was unpacked of it, has it.
PROMTOOL = shutil.which("promtool") or os.environ.get("PROMTOOL", "")
PATIENCE = 60

REPORT = Report(
    ports={
        port_id(1): PortReport(port_id=port_id(1), state=PortState.MET, claim=claim(1, PF_A, 0)),
        port_id(2): PortReport(port_id=port_id(2), state=PortState.UNMET, unmet=("no VF",)),
    },
    pfs={PF_A: pf(PF_A, vf(PF_A, 1, held_by="netdev is up")), PF_B: pf(PF_B, carrier=False)},
    cabling={**CABLING, PF_B: Cabling(reason="ambiguous LLDP neighbors: 'a', 'b'")},
    unmet=("VLAN 7 still open",),
)


def of_an_agent(report=REPORT, counters=None):
    times = Durations()
    for seconds in (0.02, 0.3, 100.0):
        times.add(seconds)
    given = {"retries": 4, "fabric.failed": 2, "heartbeats.answered_at": 7, **(counters or {})}
    return of_agent(report, given, 1, times.snapshot(), times.snapshot())


def of_a_manager():
    switch = Measured(ManagedSwitch({"swp1": [999]}))
    switch.apply(["swp1"], lambda seen: {})
    switch.switch.down = True
    with pytest.raises(Unavailable):
        switch.read(["swp1"])
    status = PortStatus(
        switch="leaf1",
        port="swp1",
        seen=frozenset({1}),
        tried=frozenset({1, 2, 3}),
        refused={3: "no"},
    )
    return families({"leaf1": switch}, [status], {"requests": 5})


def read(given):
    """Every sample of the text by (name, its labels' values in the order of their names)."""
    text = metrics.exposition(lambda: given)().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_agent_is_measured():
    found = read(of_an_agent())
    assert found["sriov_agent_ports", "met"] == 1
    assert found["sriov_agent_ports", "unmet"] == 1
    assert found["sriov_agent_ports", "releasing"] == 0
    assert found["sriov_agent_vfs_free", "ens1", PF_A, "physnet2"] == 2
    assert found["sriov_agent_vfs_used", "ens1", PF_A, "physnet2"] == 2
    assert found["sriov_agent_pf_carrier", "ens2", PF_B, "physnet2"] == 0
    assert found["sriov_agent_lldp_ambiguous", PF_B] == 1
    assert found["sriov_agent_lldp_ambiguous", PF_A] == 0
    assert found[("sriov_agent_retries_total",)] == 4
    assert found[("sriov_agent_fabric_failures_total",)] == 2
    assert found["sriov_agent_last_timestamp_seconds", "heartbeats.answered"] == 7
    assert found["sriov_agent_pass_seconds_bucket", "0.05"] == 1
    assert found["sriov_agent_pass_seconds_bucket", "60.0"] == 2
    assert found["sriov_agent_pass_seconds_bucket", "+Inf"] == 3
    assert found[("sriov_agent_event_lag_seconds_count",)] == 3


def test_a_device_manager_is_measured():
    found = read(of_a_manager())
    assert found["sriov_device_manager_transaction_seconds_count", "leaf1"] == 1
    assert found["sriov_device_manager_failures_total", "leaf1"] == 1
    assert found["sriov_device_manager_drift_vlans", "leaf1"] == 1
    assert found["sriov_device_manager_counts_total", "requests"] == 5


def test_a_name_from_outside_stays_within_its_label():
    hostile = 'ens1"} 1\nsriov_agent_unmet 99\n#\\'
    report = Report(pfs={PF_A: pf(PF_A, netdev=hostile)})
    found = read(of_an_agent(report))
    assert found["sriov_agent_vfs_free", hostile, PF_A, "physnet2"] == 4
    assert found[("sriov_agent_unmet",)] == 0


def test_without_the_library_the_extra_is_named():
    program = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from sriov_agent import metrics\n"
        "assert metrics.observed('127.0.0.1', None, list, str) is None\n"
        "metrics.observed('127.0.0.1', 9470, list, str)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    ).stderr
    assert said.splitlines()[-1] == (
        "sriov_agent.exceptions.ConfigError: [metrics] port needs prometheus_client: "
        "pip install 'sriov-agent[metrics]'"
    )


def named():
    """Every metric that the alerts and the dashboard ask for, with where."""
    texts = {path.name: path.read_text() for path in ETC.iterdir()}
    return {
        (file, name)
        for file, text in texts.items()
        for name in re.findall(r"\bsriov_(?:agent|device_manager)_[a-z_]+", text)
    }


def test_the_alerts_and_the_dashboard_name_what_there_is():
    there = {name for name, *_ in read([*of_an_agent(), *of_a_manager()])}
    assert named()
    assert {(file, name) for file, name in named() if name not in there} == set()
    dashboard = json.loads((ETC / "sriov-agent.dashboard.json").read_text())
    shown = {name for file, name in named() if file.endswith(".json")}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown} >= {
        *("sriov_agent_ports", "sriov_agent_vfs_free", "sriov_agent_vfs_used"),
        *("sriov_agent_pass_seconds", "sriov_agent_event_lag_seconds"),
        *("sriov_agent_retries_total", "sriov_agent_lldp_ambiguous"),
        *("sriov_agent_fabric_failures_total", "sriov_device_manager_transaction_seconds"),
    }


@pytest.mark.promtool
class TestPromtool:
    @pytest.fixture(autouse=True)
    def _there(self):
        if not PROMTOOL:
            pytest.skip("there is no promtool: apt-get install prometheus, or set PROMTOOL")

    def run(self, *arguments, stdin=""):
        said = subprocess.run(
            [PROMTOOL, *arguments], input=stdin, capture_output=True, text=True, check=False
        )
        return said.returncode, said.stdout + said.stderr

    def test_it_takes_the_alerts(self):
        status, said = self.run("check", "rules", ETC / "sriov-agent.rules.yml")
        assert (status, "FAILED" in said) == (0, False), said

    def test_it_takes_the_metrics(self):
        text = metrics.exposition(lambda: [*of_an_agent(), *of_a_manager()])().decode()
        status, said = self.run("check", "metrics", stdin=text)
        assert (status, said) == (0, "")

    def test_it_takes_the_questions_of_the_dashboard(self, tmp_path):
        dashboard = json.loads((ETC / "sriov-agent.dashboard.json").read_text())
        asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        rules = [{"record": f"x{n}", "expr": expr} for n, expr in enumerate(asked)]
        path = tmp_path / "rules.yml"
        path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        status, said = self.run("check", "rules", path)
        assert (status, f"{len(asked)} rules found" in said) == (0, True), said


class TestWeb:
    @pytest.fixture
    def web(self):
        def broken():
            raise ValueError

        web = Web("127.0.0.1", 0, {"/a": lambda: Page(b"a", "text/x"), "/broken": broken})
        web.start()
        yield web
        web.stop()

    def get(self, web, path, host=None):
        request = urllib.request.Request(f"http://127.0.0.1:{web.port}{path}")
        if host:
            request.add_header("Host", host)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def test_a_page_is_served_with_a_strict_policy(self, web):
        status, headers, body = self.get(web, "/a?b=c")
        assert (status, body, headers["Content-Type"]) == (200, b"a", "text/x")
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in headers

    def test_what_is_not_there_or_fails_says_so(self, web):
        assert self.get(web, "/b")[0] == 404
        status, _, body = self.get(web, "/broken")
        assert (status, b"ValueError" in body) == (500, False)

    @pytest.mark.parametrize(
        ("host", "status"),
        [("localhost:1", 200), ("[::1]:1", 200), ("127.0.0.2", 200), ("evil.example", 403)],
    )
    def test_a_name_that_was_made_to_lead_here_is_refused(self, web, host, status):
        assert self.get(web, "/a", host)[0] == status

    def test_an_address_that_is_taken_is_named(self, web):
        with pytest.raises(ConfigError, match=r"\[metrics\] listen 127.0.0.1 and port"):
            Web("127.0.0.1", web.port, {}).start()


class TestSystemd:
    @pytest.fixture
    def told(self, tmp_path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(str(tmp_path / "notify"))
            listening.settimeout(PATIENCE)
            yield listening

    def environment(self, told, **more):
        return {"NOTIFY_SOCKET": told.getsockname(), **more}

    def test_it_is_told_line_by_line(self, told):
        systemd = Systemd(self.environment(told))
        systemd.tell(READY=1, STATUS="7 ports\nREADY=0")
        assert told.recv(4096) == b"READY=1\nSTATUS=7 ports READY=0"
        systemd.stopping()
        assert told.recv(4096) == b"STOPPING=1"

    def test_the_watchdog_hears_of_a_healthy_service_alone(self, told):
        environment = self.environment(told, WATCHDOG_USEC="20000", WATCHDOG_PID=str(os.getpid()))
        well = threading.Event()
        systemd = Systemd(environment)
        systemd.ready(lambda: "" if well.is_set() else "stuck")
        assert told.recv(4096) == b"READY=1"
        assert told.recv(4096) == b"STATUS=stuck"
        well.set()
        while (said := told.recv(4096)) == b"STATUS=stuck":
            pass
        assert said == b"WATCHDOG=1"
        systemd.stopping()

    def test_nobody_is_told_where_systemd_did_not_start_it(self):
        Systemd({}).tell(READY=1)
        Systemd({"NOTIFY_SOCKET": "/nowhere/at/all"}).tell(READY=1)


def test_a_running_agent_shows_itself(tmp_path):
    path = tmp_path / "sriov-agent.conf"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path.write_text(
        f"[DEFAULT]\nhost = compute1\n[agent]\nstate_path = {tmp_path}/state\n"
        "[sriov_nic]\nphysical_device_mappings = physnet2:no-such-pf\n[lldp]\nsources = lldpd\n"
        f"[metrics]\nport = {port}\nstatus_page = true\n"
    )
    conf = options.register(cfg.ConfigOpts())
    conf([f"--config-file={path}"])
    agent = Agent(conf, Counters())
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        agent.reconcile_now()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            assert b'sriov_agent_counts_total{what="passes"}' in answer.read()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=PATIENCE) as answer:
            assert answer.read() == b"ok\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as answer:
            assert b"SR-IOV ports of compute1" in answer.read()
            assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]
    finally:
        agent.stop()
        thread.join()
