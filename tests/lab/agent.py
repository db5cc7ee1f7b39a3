# SPDX-License-Identifier: Apache-2.0
"""The agent in the lab guest, on the local source, and what else can be seen of its work."""

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path

from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.service import Agent
from tests import ctl
from tests.lab.waiting import until

ROOT = Path(__file__).parents[2]
TOPOLOGY = Path("/run/sriov-lab/topology.json")
DAEMON = Path(sys.executable).parent / "sriov-agent"
WAIT_SECONDS = "600"


class Host:
    """One host's configuration, whose hook really opens VLANs on the leaves, and its sriovctl.

    :param neutron: a neutron.conf to read first; then ports come from there
    :param hook: its options, if it is another
    """

    HOOK = f"[fabric]\nhook = exec\n[hook_exec]\ncommand = {ROOT / 'tools/lab/guest/leaf-fabric'}\n"

    def __init__(self, directory, pfs, retry_seconds=2, lldp="", neutron=None, more="", hook=HOOK):
        self.directory = directory
        self.config = directory / "sriov-agent.conf"
        files = [neutron, self.config] if neutron else [self.config]
        self.options = [f"--config-file={file}" for file in files]
        self.config.write_text(
            "[DEFAULT]\nhost = compute1\n"
            f"[agent]\nstate_path = {directory}\nsource = {'ml2' if neutron else 'local'}\n"
            f"retry_min = {retry_seconds / 2}\nretry_max = {retry_seconds}\n"
            f"[sriov_nic]\nphysical_device_mappings = {','.join(f'physnet2:{p}' for p in pfs)}\n"
            f"[lldp]\n{lldp}\n{hook}{more}"
        )

    @contextlib.contextmanager
    def agent(self):
        """The agent in a thread of this process."""
        conf = options.register(cfg.ConfigOpts())
        conf(self.options)
        agent = Agent(conf)
        thread = threading.Thread(target=agent.run)
        thread.start()
        try:
            yield agent
        finally:
            agent.stop()
            thread.join()

    @contextlib.contextmanager
    def daemon(self):
        """The agent as a process; killed at the end, unless it has ended by itself."""
        with (self.directory / "agent.log").open("a") as log:
            process = subprocess.Popen([DAEMON, *self.options], stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def ctl(self, *arguments):
        """(exit status, standard output, standard error)"""
        return ctl.run(*self.options, *arguments)

    def do(self, *arguments):
        status, out, err = self.ctl(*arguments)
        assert status == 0, err
        return out

    def create(self, name, *arguments):
        command = ["port", "create", "-f", "json", "--physical-network", "physnet2"]
        return json.loads(self.do(*command, "--wait", WAIT_SECONDS, *arguments, name))

    def create_unmet(self, name, why, *arguments):
        """Add a port that cannot be met, as its creation says too, and wait until it says why."""
        command = ["port", "create", "--physical-network", "physnet2", "--wait", "1"]
        assert self.ctl(*command, *arguments, name)[0] == 1
        until(lambda: why in self.show(name)["unmet"], f"{name} does not say {why!r}")

    def delete(self, *names):
        self.do("port", "delete", "--wait", WAIT_SECONDS, *names)

    def show(self, name):
        return json.loads(self.do("port", "show", "-f", "json", name))
