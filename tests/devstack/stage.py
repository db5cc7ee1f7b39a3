# SPDX-License-Identifier: Apache-2.0
"""DevStack's scripts around the plugin, in a box: with DevStack's own functions or stand-ins."""

import sys
from pathlib import Path

from tests.devstack.box import HERE, ROOT, Box

SAMPLES = ROOT / "devstack"
DEST = "/opt/stack"
#: a repository of its own with the files as they are here, whether they are committed or not
CHECKOUT = """
set -e
mkdir "$1"
cd "$0"
git ls-files -z -co --exclude-standard | tar -c --null --ignore-failed-read -T - | tar -x -C "$1"
cd "$1"
git init -q
git add -A
git -c user.name=stack -c user.email=stack@localhost commit -qm checkout
chown -R stack:stack "$1"
"""
#: what local.conf says of this host, before anything else
HOST = ["HOST_IP=127.0.0.1", f"DEVSTACK_VENV={DEST}/venv", "ENABLED_SERVICES=rabbit,q-svc,n-cpu"]
#: of the package, with which the first stack installs it, so that no other needs to
EXTRAS = "openstack,contrail,fabric"
CONF = "/etc/sriov-agent/sriov-agent.conf"
MANAGER_CONF = "/etc/sriov-agent/sriov-device-manager.conf"
ML2_CONF = "/etc/neutron/plugins/ml2/ml2_conf.ini"
#: what clean.sh leaves on purpose: packages, checkouts and their caches
KEPT = (
    *(
        f"{DEST}/{name}"
        for name in ("devstack", "requirements", "sriov-agent", "venv", ".gitconfig")
    ),
    *("/usr/", "/var/lib/apt", "/var/lib/dpkg", "/etc/ld.so.cache", str(ROOT)),
)
#: directories in which units were
OF_UNITS = {"/etc/systemd", "/etc/systemd/system", "/etc/systemd/system/multi-user.target.wants"}


class Stage:
    """One host on which DevStack is run.

    :param devstack: a checkout of it with one of openstack/requirements beside it, or None for the
        stand-ins
    """

    def __init__(self, directory, devstack=None, **given):
        beside = Path(devstack or ".").parent / "requirements"
        if devstack and not beside.exists():
            raise FileNotFoundError(f"no checkout of openstack/requirements at {beside}")
        (directory / "box").mkdir()
        self.devstack = devstack
        self.installed = False
        self.box = Box(directory / "box", **{"network": bool(devstack), **given})
        self.do = self.box.do
        try:
            self._prepare(beside)
        except BaseException:
            self.close()
            raise
        self.before = self.box.written()

    def _prepare(self, requirements):
        self.do("sh", "-c", CHECKOUT, ROOT, f"{DEST}/sriov-agent")
        if self.devstack:
            for name, source in (("devstack", self.devstack), ("requirements", requirements)):
                self.do("cp", "-r", source, f"{DEST}/{name}")
                self.do("chown", "-R", "stack:stack", f"{DEST}/{name}")
            # DevStack's venv shows the distribution's packages. This one fits no cryptography of
            # today; in a whole DevStack, what nova requires stands before it.
            self.do("rm", "-rf", "/usr/lib/python3/dist-packages/OpenSSL")
        else:
            self.do("mkdir", f"{DEST}/devstack", user="stack")
            self.do("ln", "-s", sys.prefix, f"{DEST}/venv", user="stack")

    def configure(self, sample="local.conf.sample", before=(), after=(), without=(), more=()):
        """Write local.conf: a sample of the plugin's, with more settings before and after its own.

        :param without: what the lines begin with that it is to lack
        :param more: lines at its end
        """
        lines = (SAMPLES / sample).read_text().splitlines()
        lines = [line for line in lines if not line.startswith(tuple(without) or "\0")]
        start = lines.index("[[local|localrc]]") + 1
        end = next((n for n in range(start, len(lines)) if lines[n].startswith("[[")), len(lines))
        host = HOST
        if self.devstack:
            host = [*HOST, "OFFLINE=True" if self.installed else f"SRIOV_AGENT_EXTRAS={EXTRAS}"]
        lines[start:end] = [*host, *before, *lines[start:end], *after]
        write = ["sh", "-c", 'printf %s "$TEXT" >"$0"', f"{DEST}/devstack/local.conf"]
        self.do(*write, user="stack", env={"TEXT": "\n".join([*lines, *more, ""])})

    def run(self, mode):
        """What became of stack.sh, unstack.sh or clean.sh."""
        return self.box.run("bash", str(HERE / "stage.sh"), mode, user="stack")

    def stack(self):
        self._done("stack")
        self.installed = True

    def unstack(self):
        self._done("unstack")

    def clean(self):
        self._done("clean")

    def _done(self, mode):
        done = self.run(mode)
        said = self.box.run("tail", "-c", "3000", "/run/log").stdout
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:] + said

    def ini(self, path):
        """The options of a file by their sections, each a list of its values."""
        sections, options = {}, {}
        for line in self.box.read(path).splitlines():
            if line.startswith("["):
                options = sections.setdefault(line.strip("[]"), {})
            elif " = " in line and not line.startswith("#"):
                name, value = line.split(" = ", 1)
                options.setdefault(name, []).append(value)
        return sections

    def unit(self, service):
        """What the unit of a service says of itself."""
        return self.ini(f"/etc/systemd/system/devstack@{service}.service")["Service"]

    def active(self, service):
        shown = self.box.run("systemctl", "is-active", f"devstack@{service}").stdout
        return shown == "active\n"

    def left(self):
        """What differs from before DevStack was run, but for what it leaves on purpose."""
        written = self.box.written() - self.before - OF_UNITS - {"/srv", "/var", "/var/lib"}
        return {path for path in written if not path.startswith(KEPT)}

    def close(self):
        self.box.close()
