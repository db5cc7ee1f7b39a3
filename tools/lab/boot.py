# SPDX-License-Identifier: Apache-2.0
"""Boots the guest, runs a command or a shell in it, and brings back how that ended."""

import compileall
import contextlib
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from needs import Found
from qemu import BUILD, Options, ports, virtme_run

LAB = BUILD / "lab"
GUEST = Path(__file__).resolve().parent / "guest"


class GuestFailed(Exception):
    """The guest, not the command in it, failed; the message says at which step."""


#: what the guest goes on with after it reported the word
STEP_AFTER = {b"booted": "building the topology", b"ready": "running the command"}


class Report:
    """What the guest reports, line by line: how far it is, and how the command ended."""

    def __init__(self) -> None:
        self.step = "booting"
        self.reason = ""
        self.status: int | None = None
        self._rest = b""

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, _, rest = line.partition(b" ")
            if word == b"exit":
                self.status = int(rest)
            elif word == b"failed":
                self.reason = f": {rest.decode(errors='replace')}"
            else:
                self.step = STEP_AFTER[word]

    def flush(self) -> None:
        """Nothing is held back."""

    @property
    def ended(self) -> bool:
        return self.status is not None or bool(self.reason)

    def exit_status(self) -> int:
        """The command's.

        :raises GuestFailed: it has none
        """
        if self.status is None:
            raise GuestFailed(f"the guest failed while {self.step}{self.reason}")
        return self.status


def unchanged(*, interactive: bool) -> list[Path]:
    """Directories whose files stay as they are while the guest runs, so that it may cache them.

    In a shell's guest the project is tried while it is changed.
    """
    usr = Path("/usr")
    result = [usr / "bin", usr / "sbin", *usr.glob("lib/*-linux-gnu"), *usr.glob("lib/python3*")]
    result += {Path(sys.base_prefix), Path(sys.prefix)} - {usr}
    if not interactive:
        project = BUILD.parent
        names = (path.name for path in project.iterdir() if path.is_dir() and path != BUILD)
        result += [project / name for name in sorted(names) if not name.startswith(".")]
    return result


def compile_sources() -> None:
    """Each command in the guest would compile them again: it cannot write where they are."""
    for package in ("sriov_agent", "tests"):
        compileall.compile_dir(BUILD.parent / package, quiet=2)


@contextlib.contextmanager
def job(options: Options, command: Sequence[str], *, interactive: bool) -> Iterator[Path]:
    """A directory in build/ that tells the guest what to do, removed afterwards."""
    settings = {
        "pfs": str(options.pfs),
        "topology": "1" * options.topology,
        "user_net": "1" * options.user_net,
        "interactive": "1" * interactive,
        "unchanged": f"({shlex.join(map(str, unchanged(interactive=interactive)))})",
    }
    search = [str(GUEST), f"{sys.prefix}/bin", os.environ.get("PATH", os.defpath)]
    environment = {
        "HOME": str(Path.home()),
        "LANG": "C.UTF-8",
        "XDG_CACHE_HOME": "/run/sriov-lab/cache",
        "TERM": os.environ.get("TERM", "dumb"),
        "PATH": os.pathsep.join([*search, "/usr/local/sbin", "/usr/sbin", "/sbin"]),
        **options.environment,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += [f"cd {shlex.quote(str(Path.cwd()))} || exit", f"exec {shlex.join(command)}"]
    path = Path(tempfile.mkdtemp(prefix="run-", dir=LAB))
    try:
        (path / "settings").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        (path / "command").write_bytes(os.fsencode("\n".join(lines)))
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def console_log() -> Iterator[IO[bytes]]:
    """A file for the guest's console, kept only if the guest fails."""
    LAB.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix="console-", suffix=".log", dir=LAB)
    keep = False
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as log:
            yield log
    except GuestFailed as error:
        keep = True
        raise GuestFailed(f"{error}; its console is in {name}") from error
    finally:
        if not keep:
            Path(name).unlink(missing_ok=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills virtme-run and the QEMU that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def booting(
    arguments: Iterable[str],
    directory: Path,
    *,
    stderr: int,
    stdin: int | None = None,
    stdout: int | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """virtme-run in a session of its own, with its temporary files in ``directory``.

    It is killed at the end, and so is QEMU.
    """
    process = subprocess.Popen(
        list(arguments),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(directory)},
    )
    try:
        yield process
    finally:
        kill(process)


def run(found: Found, options: Options, command: Sequence[str], timeout: float) -> int:
    """Runs a command in the guest and returns its exit status.

    :param timeout: seconds, from now
    :raises GuestFailed: it did not get as far as an exit status
    """
    deadline = time.monotonic() + timeout
    compile_sources()
    report = Report()
    with (
        console_log() as log,
        job(options, command, interactive=False) as path,
        selectors.DefaultSelector() as selector,
    ):
        sinks = {
            "stdout": sys.stdout.buffer,
            "stderr": sys.stderr.buffer,
            "report": report,
            "console": log,
        }
        ends: dict[str, int] = {}
        for name, sink in sinks.items():
            read_end, ends[name] = os.pipe()
            selector.register(read_end, selectors.EVENT_READ, sink)
        console = ends.pop("console")
        # A virtio port has one writer at a time: whoever opens /dev/stderr gets another.
        reopened = {f"dev_{name}": ends[name] for name in ("stdout", "stderr")}
        start = shlex.join([str(GUEST / "start"), str(path)])
        session = ["--show-boot-console", "--script-sh", start]
        arguments = [*virtme_run(found, options, session), *ports(ends | reopened)]
        with booting(
            arguments,
            path,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            pass_fds=list(ends.values()),
        ) as process:
            for end in (console, *ends.values()):
                os.close(end)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise GuestFailed(f"the {timeout:g} s ran out while {report.step}")
                for key, _ in ready:
                    data = os.read(key.fd, 65536)
                    if data:
                        key.data.write(data)
                        key.data.flush()
                    else:
                        selector.unregister(key.fd)
                        os.close(key.fd)
                if report.ended:
                    kill(process)
        return report.exit_status()


def shell(found: Found, options: Options) -> int:
    """Gives the terminal to a shell in the guest and returns its exit status.

    :raises GuestFailed: there was no shell
    """
    bash = ["bash", "--rcfile", str(GUEST / "bashrc")]
    terminal = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
    with console_log() as log, job(options, bash, interactive=True) as path:
        session = ["--disable-monitor", "--shell", str(GUEST / "start")]
        session += ["--kopt", f"sriov_lab_job={path}"]
        try:
            arguments = virtme_run(found, options, session)
            with booting(arguments, path, stderr=log.fileno()) as process:
                process.wait()
        finally:
            if terminal:
                termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, terminal)
        report = Report()
        with contextlib.suppress(FileNotFoundError):
            report.write((path / "report").read_bytes())
        return report.exit_status()
