# SPDX-License-Identifier: Apache-2.0
"""The wheel and the sdist, as they are built, in a virtual environment that has nothing else."""

import json
import re
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("sriov-agent", "sriov-device-manager", "sriov-lldp-discover", "sriovctl")
SECONDS = 120

NIC = "[sriov_nic]\nphysical_device_mappings = physnet2:no-such-pf\n"
SWITCH = "[device_manager]\nswitches = leaf1\n{more}[switch:leaf1]\naddress = 192.0.2.1\ndriver = "

#: What is configured, by the extra that it takes: the program, and what its file holds.
EXTRAS = {
    ("contrail", "hook"): (
        "sriov-agent",
        f"{NIC}[fabric]\nhook = contrail\n[hook_contrail]\napi_servers = http://192.0.2.1:8082\n",
    ),
    ("libvirt", "uri"): ("sriov-agent", f"{NIC}[libvirt]\nuri = qemu:///system\n"),
    ("openstack", "look-ups"): (
        "sriov-agent",
        f"{NIC}[agent]\nsource = notifications\n[neutron]\nauth_url = http://192.0.2.1:5000/v3\n",
    ),
    ("etcd", "state"): (
        "sriov-device-manager",
        SWITCH.format(more="state = etcd\n") + "ovsdb\n",
    ),
    ("fabric", "openconfig"): ("sriov-device-manager", SWITCH.format(more="") + "openconfig\n"),
    ("fabric", "junos"): ("sriov-device-manager", SWITCH.format(more="") + "junos\n"),
    ("fabric", "linux-bridge"): ("sriov-device-manager", SWITCH.format(more="") + "linux-bridge\n"),
    ("generic-switch", "driver"): (
        "sriov-device-manager",
        SWITCH.format(more="") + "generic-switch\n",
    ),
}

#: The packages that requirements lead to, by their canonical names, as the environment has them.
CLOSURE = """
import json, sys
from importlib.metadata import distribution, distributions
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

def closure(name, found):
    if name not in found:
        found.add(name)
        for line in distribution(name).requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                closure(canonical(needed.name), found)
    return found

tools = {"pip", "setuptools", "wheel"}
found = {"installed": {canonical(d.name) for d in distributions()}}
found.update((name, closure(name, set())) for name in sys.argv[1:])
print(json.dumps({name: sorted(packages - tools) for name, packages in found.items()}))
"""


def run(*command, **options):
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=600, **options
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The package index, of which all builds take what they need."""
    directory = tmp_path_factory.mktemp("index")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q"]
    asked = run(*pip, "--no-deps", "--no-cache-dir", "-d", directory, "pbr")
    if asked.returncode:
        pytest.skip(f"no package index answers: {asked.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def dist(index, tmp_path_factory):
    """The sdist, and the wheel that was built of the sdist."""
    directory = tmp_path_factory.mktemp("dist")
    built = run(sys.executable, "-m", "build", "-o", directory, ROOT)
    assert built.returncode == 0, built.stdout + built.stderr
    (sdist,), (wheel,) = directory.glob("*.tar.gz"), directory.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def bare(dist, tmp_path_factory):
    """A virtual environment with what the wheel asks for, by its directory of programs."""
    directory = tmp_path_factory.mktemp("bare")
    made = run(sys.executable, "-m", "venv", directory)
    assert made.returncode == 0, made.stderr
    pip = [directory / "bin/python", "-m", "pip", "--disable-pip-version-check"]
    installed = run(*pip, "install", "-q", dist[1])
    assert installed.returncode == 0, installed.stderr
    return directory / "bin"


def test_both_have_every_file_that_is_installed(dist):
    sdist, wheel = dist
    files = {
        str(path.relative_to(ROOT))
        for directory in ("systemd", "sysusers.d", "tmpfiles.d", "prometheus", "sriov-agent")
        for path in (ROOT / "etc" / directory).rglob("*")
        if path.is_file()
    }
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert files - packed == set()
    with zipfile.ZipFile(wheel) as archive:
        data = {Path(name).name for name in archive.namelist() if ".data/data/etc/" in name}
    assert data == {Path(name).name for name in files}


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_say_what_they_are(bare, tmp_path, program):
    shown = run(bare / program, "--help", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert program in shown.stdout
    if program != "sriov-lldp-discover":
        shown = run(bare / program, "--version", cwd=tmp_path)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert re.search(r"\d+\.\d+", shown.stdout)


def test_the_agent_runs_and_sriovctl_asks_it(bare, tmp_path):
    config = tmp_path / "sriov-agent.conf"
    config.write_text(f"[agent]\nstate_path = {tmp_path}/state\n{NIC}")
    ctl = (bare / "sriovctl", f"--config-file={config}")
    with (tmp_path / "log").open("wb") as log:
        agent = subprocess.Popen(
            [bare / "sriov-agent", f"--config-file={config}"], stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        deadline = time.monotonic() + SECONDS
        while run(*ctl, "fabric", "sync").returncode:
            assert agent.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        made = run(*ctl, "port", "create", "--physical-network", "physnet2", "--vlan", "15", "one")
        assert made.returncode == 0, made.stderr
        listed = json.loads(run(*ctl, "port", "list", "-f", "json").stdout)
        assert [port["name"] for port in listed] == ["one"]
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(SECONDS) == 0
    finally:
        agent.kill()
        agent.wait()


def test_the_documentation_counts_the_packages(bare):
    counted = run(bare / "python", "-c", CLOSURE, "sriov-agent", "oslo-messaging", "cliff")
    assert counted.returncode == 0, counted.stderr
    found = {name: set(packages) for name, packages in json.loads(counted.stdout).items()}
    others = found["installed"] - {"sriov-agent"}
    assert found["sriov-agent"] == found["installed"]
    assert others == found["oslo-messaging"] | found["cliff"] | {"msgspec"}
    page = (ROOT / "doc/source/install.rst").read_text()
    said = re.search(
        r"With Python ([\d.]+) that is (\d+) packages besides itself: (\d+) come with\s+"
        r"oslo.messaging, (\d+)\s+with cliff, which\s+is .+, and one is msgspec\.",
        page,
    )
    version, *numbers = said.groups()
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        of_oslo = found["oslo-messaging"]
        apart = [others, of_oslo, others - of_oslo - {"msgspec"}]
        assert [int(number) for number in numbers] == [len(packages) for packages in apart]


@pytest.mark.parametrize(("extra", "feature"), EXTRAS, ids="-".join)
def test_a_feature_without_its_extra_says_which(bare, tmp_path, extra, feature):
    program, text = EXTRAS[extra, feature]
    config = tmp_path / "file.conf"
    group = "[agent]" if program == "sriov-agent" else "[device_manager]"
    config.write_text(f"{text}{group}\nstate_path = {tmp_path}/state\n")
    said = run(bare / program, f"--config-file={config}", cwd=tmp_path)
    assert said.returncode == 78, said.stderr
    assert f"sriov-agent[{extra}]" in said.stderr
    assert "Traceback" not in said.stderr


def test_snmp_without_its_extra_says_so(bare, tmp_path):
    ask = (
        "from sriov_agent.host.lldp.snmp import Credentials, Snmp;"
        "print(Snmp('127.0.0.1', (), Credentials(community='public')).hear({}))"
    )
    said = run(bare / "python", "-c", ask, cwd=tmp_path)
    assert "sriov-agent[snmp]" in said.stdout + said.stderr


def test_metrics_without_its_extra_say_so(bare, tmp_path):
    """It comes with oslo.messaging now, by oslo.metrics; if ever it does not, this is said."""
    config = tmp_path / "file.conf"
    config.write_text(f"[agent]\nstate_path = {tmp_path}/state\n{NIC}[metrics]\nport = 9470\n")
    start = (
        "import sys; sys.modules['prometheus_client'] = None;"
        "from sriov_agent.cmd.agent import main; sys.exit(main())"
    )
    said = run(bare / "python", "-c", start, f"--config-file={config}", cwd=tmp_path)
    assert said.returncode == 78, said.stderr
    assert "sriov-agent[metrics]" in said.stderr


def test_vpp_without_its_extra_says_so(bare, tmp_path):
    said = run(bare / "sriovctl", "vpp", "show", cwd=tmp_path)
    assert (said.returncode, "sriov-agent[vpp]" in said.stderr) == (1, True), said.stderr


def test_every_extra_is_tried():
    """That of colours is in ``test_ctl_terminal.py``, and that of host taps in ``test_taps.py``."""
    setup = (ROOT / "setup.cfg").read_text().partition("[extras]")[2].partition("[pbr]")[0]
    declared = set(re.findall(r"^([a-z-]+) =$", setup, re.MULTILINE))
    assert declared == {extra for extra, _ in EXTRAS} | {"cli", "metrics", "snmp", "taps", "vpp"}
