# SPDX-License-Identifier: Apache-2.0
"""The command line of virtme-ng and QEMU that boots the guest: its NICs, wires and ports."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from needs import Found

BUILD = Path(__file__).resolve().parents[2] / "build"

MEMORY_MIB = 2048
#: from here on the VFs' BARs are above 4 GiB, where QEMU's igb has a dead VF mailbox
MEMORY_LIMIT_MIB = 2816
assert MEMORY_MIB < MEMORY_LIMIT_MIB

#: as many as were run
MAX_PFS = 4

HOSTNAME = "compute1"
OVERLAYS = ("/etc", "/lib", "/home", "/opt", "/srv", "/usr", "/var", "/tmp")
#: modules that udev would load for the CPU or the chipset, and that no test uses
UNUSED_MODULES = (
    "kvm_amd kvm_intel psmouse iTCO_wdt i6300esb pcspkr serio_raw i2c_i801 lpc_ich evdev button"
    " qemu_fw_cfg aesni_intel ghash_clmulni_intel crct10dif_pclmul crc32_pclmul crc32c_intel"
    " sha512_ssse3 sha256_ssse3 sha1_ssse3"
).split()


@dataclass(frozen=True)
class Options:
    """How the guest is to be.

    :ivar environment: variables for the command
    :ivar rwdirs: directories, besides build/, that it writes through to the machine
    :ivar pfs: how many PFs there are, from 1 to MAX_PFS
    :ivar topology: whether the VFs, the leaves and the tenants are built
    :ivar user_net: whether the machine's loopback is reachable at 10.0.2.2
    """

    environment: dict[str, str] = field(default_factory=dict)
    rwdirs: Sequence[Path] = ()
    pfs: int = 2
    topology: bool = True
    user_net: bool = False


def network(pfs: int, user_net: bool) -> Iterator[str]:
    """QEMU's arguments for PFs, each on one wire with the port of a leaf switch."""
    yield from ("-device", "intel-iommu,caching-mode=on,intremap=on")
    for n in range(1, pfs + 1):
        yield from ("-device", f"pcie-root-port,id=rp{n},bus=pcie.0,chassis={n},slot={n}")
        yield from ("-netdev", f"hubport,id=pf{n},hubid={n}")
        yield from ("-device", f"igb,mac=52:54:00:aa:00:0{n},netdev=pf{n},bus=rp{n}")
        yield from ("-netdev", f"hubport,id=leaf{n},hubid={n}")
        yield from ("-device", f"virtio-net-pci,mac=52:54:00:bb:00:0{n},netdev=leaf{n}")
    if user_net:
        yield from ("-netdev", "user,id=user")
        yield from ("-device", "virtio-net-pci,mac=52:54:00:cc:00:01,netdev=user")


def cached_files() -> Iterator[str]:
    """QEMU's arguments for this machine's files once more: virtme's own cannot be cached."""
    yield from ("-fsdev", "local,id=cached,path=/,security_model=none,readonly=on,multidevs=remap")
    yield from ("-device", "virtio-9p-pci,fsdev=cached,mount_tag=cached")


def ports(descriptors: dict[str, int]) -> Iterator[str]:
    """QEMU's arguments for virtio ports that write to open file descriptors."""
    yield from ("-device", "virtio-serial-pci,id=lab")
    for name, descriptor in descriptors.items():
        yield from ("-chardev", f"file,id=lab.{name},path=/proc/self/fd/{descriptor}")
        yield from ("-device", f"virtserialport,bus=lab.0,name=lab.{name},chardev=lab.{name}")


def virtme_run(found: Found, options: Options, session: Sequence[str]) -> Iterator[str]:
    """The command line that boots; QEMU's own arguments may follow it.

    :param session: what init is to start, as arguments of virtme-run
    """
    yield from (str(found.virtme_run), "--kimg", str(found.kernel), "--mods", "auto")
    yield from ("--name", HOSTNAME, "--memory", f"{MEMORY_MIB}M")
    # As many as the machine has, and the guest's CPUs would wait for each other's time slices.
    yield from ("--cpus", str(max(1, min(4, (os.cpu_count() or 1) // 2))))
    # virtiofsd outlives a QEMU that is killed; microvm has no PCIe root ports.
    yield from ("--force-9p", "--disable-microvm")
    for overlay in OVERLAYS:
        if Path(overlay).is_dir():
            yield from ("--overlay-rwdir", overlay)
    for rwdir in (BUILD, *options.rwdirs):
        yield from ("--rwdir", str(rwdir))
    for kernel_option in (
        "intel_iommu=on",
        "iommu=pt",
        # A busy machine can be too slow for that test, and the kernel would panic.
        "no_timer_check",
        "loglevel=5",
        f"modprobe.blacklist={','.join(UNUSED_MODULES)}",
    ):
        yield from ("--kopt", kernel_option)
    machine = "q35,sata=off,smbus=off,i8042=off"
    if found.accelerator == "tcg":
        yield "--disable-kvm"
    else:
        machine += ",kernel-irqchip=split"  # what intremap=on asks of KVM; not run
    yield from (
        *session,
        "--qemu-opts",
        "-machine",
        machine,
        # They are hundreds, one for each queue, and looked at whenever QEMU's main loop wakes.
        *("-global", "virtio-pci.ioeventfd=off"),
        *cached_files(),
        *network(options.pfs, options.user_net),
    )
