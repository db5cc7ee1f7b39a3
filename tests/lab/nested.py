# SPDX-License-Identifier: Apache-2.0
"""libvirtd in the lab guest, and guests in it that are small enough to boot by emulation twice."""

import contextlib
import lzma
import os
import re
import socket
import subprocess
import time
from pathlib import Path

from tools.demo.witness import run

#: What QEMU and libvirtd find no use for in the lab: confinement, and a daemon for logs.
QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
remember_owner = 0
"""
LIBVIRTD_CONF = 'auth_unix_rw = "none"\nunix_sock_group = "root"\nlog_outputs = "2:file:{log}"\n'
URI = "qemu:///system"
MODULES = ("failover", "net_failover", "virtio_net", "igbvf")
START_SECONDS = 600
BOOT_SECONDS = 1800
ANSWER_SECONDS = 600

#: A netdev that comes is set up at once, with an address made of the last octet of its MAC.
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod $module; done
while :; do
    for netdev in /sys/class/net/e*; do
        read -r mac <$netdev/address && read -r flags <$netdev/flags || continue
        [ $((flags & 1)) = 0 ] || continue
        ip address add 198.51.100.$((0x${mac##*:}))/24 dev ${netdev##*/}
        ip link set ${netdev##*/} up
    done 2>/dev/null
    sleep 1
done &
exec <>/dev/ttyS0 >&0 2>&0
stty -echo
echo '~up~'
while read -r line; do eval "$line"; done
"""
#: Of the kernel's start what a guest of a few minutes can do without: near half of its time.
LEFT_OUT = (
    "load_system_certificate_list jent_mod_init bpf_tcp_ca_kfunc_init bpf_dummy_struct_ops_init"
    " bpf_kfunc_init bpf_prog_test_run_init genpd_debug_init i8042_init init_encrypted"
    " crypto_kdf108_init cec_init init_ima trace_eval_init ftrace_check_for_weak_functions"
    " init_user_buckets init_msg_buckets"
).split()
CMDLINE = (
    "console=ttyS0 rdinit=/init quiet panic=-1 ipv6.disable=1 no_timer_check nokaslr rodata=off"
    " mitigations=off cryptomgr.notests=1 audit=0 lsm=capability tsc=reliable lpj=4000000"
    f" initcall_blacklist={','.join(LEFT_OUT)}"
)
#: By icount a guest's time is what it has executed. By the clock, a guest that is emulated by an
#: emulated machine would have its next timer tick before it is done with the last one.
DOMAIN = """\
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>160</memory>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{directory}/vmlinux</kernel>
    <initrd>{directory}/initramfs</initrd>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/></features>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='unix'><source mode='bind' path='{directory}/{name}.serial'/></serial>
{interfaces}
  </devices>
  <qemu:commandline>
    <qemu:arg value='-icount'/>
    <qemu:arg value='shift=6'/>
  </qemu:commandline>
</domain>
"""


def _decompressed_kernel(image, to):
    """The kernel as an ELF file, which QEMU starts by PVH: nothing is left to decompress."""
    data = image.read_bytes()
    payload = data[data.index(b"\x28\xb5\x2f\xfd") :]
    with to.open("wb") as file:
        subprocess.run(  # what follows the payload is not zstd's, of which it complains
            ["zstd", "-dcq"], input=payload, stdout=file, stderr=subprocess.DEVNULL, check=False
        )
    assert to.read_bytes()[:4] == b"\x7fELF"


def _initramfs(directory, to):
    root = directory / "root"
    for name in ("bin", "dev", "proc", "sys", "modules"):
        (root / name).mkdir(parents=True)
    (root / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "init").write_text(INIT)
    for program in ("bin/busybox", "init"):
        (root / program).chmod(0o755)
    for number, name in enumerate(MODULES):
        path = Path(run("modinfo", "-n", name).strip())
        (root / f"modules/{number}.ko").write_bytes(lzma.decompress(path.read_bytes()))
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with to.open("wb") as file:
        subprocess.run(
            ["busybox", "cpio", "-o", "-H", "newc"],
            input=names.encode(),
            cwd=root,
            stdout=file,
            stderr=subprocess.DEVNULL,
            check=True,
        )


class Libvirt:
    """libvirtd and what its guests boot, in a directory of the lab's memory."""

    def __init__(self, directory):
        self.directory = directory
        self.process = None
        directory.mkdir(parents=True)
        images = Path.home().glob(".cache/sriov-agent-lab/kernel-*/boot/vmlinuz-*")
        image = next(image for image in images if image.name.endswith(os.uname().release))
        _decompressed_kernel(image, directory / "vmlinux")
        _initramfs(directory, directory / "initramfs")
        Path("/etc/libvirt/qemu.conf").write_text(QEMU_CONF)
        log = directory / "libvirtd.log"
        (directory / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(log=log))

    def start(self):
        """Start libvirtd, and wait until it answers."""
        run("modprobe", "vfio-pci")
        self.process = subprocess.Popen(
            ["libvirtd", "--config", self.directory / "libvirtd.conf"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(
            ["virsh", "-c", URI, "list"], capture_output=True, check=False
        ).returncode:
            assert self.process.poll() is None, (self.directory / "libvirtd.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)

    def kill(self):
        """End libvirtd as a crash would; its guests run on."""
        self.process.kill()
        self.process.wait()

    def start_domain(self, name, interfaces="", *options):
        """Define a domain and start it, with virsh's own options; its console."""
        xml = DOMAIN.format(
            name=name, directory=self.directory, cmdline=CMDLINE, interfaces=interfaces
        )
        file = self.directory / f"{name}.xml"
        file.write_text(xml)
        self.virsh("define", file)
        self.virsh("start", name, *options)
        return Console(self.directory / f"{name}.serial")

    def virsh(self, *arguments):
        return run("virsh", "-c", URI, *map(str, arguments), within=START_SECONDS)

    def stop(self):
        """End every guest and what was defined, and libvirtd."""
        for name in self.virsh("list", "--name").split():
            self.virsh("destroy", name)
        for name in self.virsh("list", "--all", "--name").split():
            self.virsh("undefine", name)
        self.process.terminate()
        self.process.wait()


class Console:
    """What a guest does with lines on its serial port: run them."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.read = b""

    def wait_until_up(self):
        self._until("~up~", BOOT_SECONDS)

    def do(self, command):
        """(exit status, what it printed)"""
        self.socket.sendall(f"{command}; echo ~$?~\n".encode())
        said = self._until(r"~(\d+)~", ANSWER_SECONDS)
        return int(said[1]), said.string[: said.start()]

    def pings(self, address):
        return self.do(f"ping -c 3 -W 2 {address}")[0] == 0

    def _until(self, pattern, seconds):
        deadline = time.monotonic() + seconds
        self.socket.settimeout(1)
        while True:
            text = self.read.decode(errors="replace")
            found = re.search(pattern, text)
            if found:
                self.read = text[found.end() :].encode()
                return found
            assert time.monotonic() < deadline, f"no {pattern!r} in {text[-2000:]!r}"
            with contextlib.suppress(TimeoutError):
                more = self.socket.recv(4096)
                assert more, f"the guest has ended: {text[-2000:]!r}"
                self.read += more
