# SPDX-License-Identifier: Apache-2.0
"""Who may import whom. The rules are the data at the top; a new part of the package needs one."""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "sriov_agent"

ADAPTERS = frozenset({"hook", "host", "libvirt", "sources", "store"})

#: what a daemon shows of itself
OBSERVED = frozenset({"metrics", "systemd"})

#: part of the package -> the other parts it may import; exceptions are for everybody
MAY_IMPORT: Mapping[str, frozenset[str]] = {
    "exceptions": frozenset(),
    "backoff": frozenset(),
    "messaging": frozenset(),
    "secret": frozenset(),
    "core": frozenset(),
    "control": frozenset(),
    "counters": frozenset({"core"}),
    "metrics": frozenset({"core", "web"}),
    "systemd": frozenset(),
    "web": frozenset(),
    "database": frozenset(),
    "conf": frozenset({"core"}),
    "ovsdb": frozenset(),
    "taps": frozenset({"core"}),
    "fabric": frozenset(
        {
            "backoff",
            "conf",
            "control",
            "core",
            "counters",
            "database",
            "messaging",
            "ovsdb",
            "secret",
        }
        | OBSERVED
    ),
    "draw": frozenset({"core"}),
    "hook": frozenset({"core", "messaging", "secret"}),
    "host": frozenset({"core", "ovsdb"}),
    "libvirt": frozenset({"core"}),
    "reconciler": frozenset({"core"}),
    "sources": frozenset({"core", "counters", "database", "messaging"}),
    "store": frozenset({"core", "database"}),
    "vpp": frozenset({"core"}),
    "vpp_api": frozenset({"vpp"}),
    "picture": frozenset({"core", "sources", "store"}),
    "parts": ADAPTERS | {"conf", "core", "counters", "taps"},
    "service": ADAPTERS
    | OBSERVED
    | {"backoff", "conf", "control", "core", "counters", "draw", "parts", "picture", "reconciler"}
    | {"web"},
    "cmd": ADAPTERS
    | {"conf", "control", "core", "counters", "fabric", "messaging", "parts", "service"}
    | {"draw", "picture", "vpp", "vpp_api"},
}

#: what frozen data is made with, for every part
PLAIN = "msgspec"

#: parts that import no other library than the standard one and PLAIN
NO_LIBRARIES = (
    "backoff",
    "control",
    "core",
    "counters",
    "database",
    "draw",
    "exceptions",
    "ovsdb",
    "reconciler",
    "store",
    "systemd",
    "taps",
    "vpp",
    "web",
)

#: a library known to more than one module -> the modules that may know it
LIBRARY_HOMES: Mapping[str, tuple[str, ...]] = {
    "cliff": ("sriov_agent.cmd.ctl.*",),
    "keystoneauth1": ("sriov_agent.hook.contrail.client", "sriov_agent.sources.neutron"),
    "lxml": (
        "sriov_agent.fabric.switch.junos",
        "sriov_agent.fabric.switch.netconf",
        "sriov_agent.fabric.switch.openconfig",
    ),
    "oslo_config": (
        "sriov_agent.cmd.*",
        "sriov_agent.conf",
        "sriov_agent.conf.*",
        "sriov_agent.fabric.parts",
        "sriov_agent.fabric.service",
        "sriov_agent.fabric.state.loader",
        "sriov_agent.hook.*",
        "sriov_agent.messaging",
        "sriov_agent.parts",
        "sriov_agent.service",
        "sriov_agent.sources.notifications",
        "sriov_agent.sources.ml2.*",
    ),
    "oslo_log": ("sriov_agent.cmd.agent", "sriov_agent.cmd.device_manager"),
    "stevedore": ("sriov_agent.fabric.switch.loader", "sriov_agent.hook.loader"),
    "oslo_messaging": (
        "sriov_agent.fabric.rpc",
        "sriov_agent.hook.rpc",
        "sriov_agent.messaging",
        "sriov_agent.sources.ml2.rpc",
        "sriov_agent.sources.notifications",
    ),
}


def violations(root: Path) -> list[str]:
    """What the modules of the package at ``root`` import against the rules, one sentence each."""
    found = []
    homes = defaultdict(set)
    for module, imported in sorted(_imports(root)):
        top, _, rest = imported.partition(".")
        if top == root.name:
            found += _inner(module, _part(module), rest.partition(".")[0])
        elif top not in {PLAIN, *sys.stdlib_module_names}:
            homes[top].add(module)
    for library, modules in sorted(homes.items()):
        found += _outer(library, sorted(modules))
    return found


def _inner(module: str, importer: str, imported: str) -> Iterator[str]:
    if importer not in MAY_IMPORT:
        yield f"{module}: no rule says what {importer} may import"
    elif imported not in {importer, "exceptions"} | MAY_IMPORT[importer]:
        yield f"{module}: {importer} may not import {imported or 'the package itself'}"


def _outer(library: str, modules: list[str]) -> Iterator[str]:
    for module in modules:
        if _part(module) in NO_LIBRARIES:
            yield f"{module}: only the standard library may be imported, not {library}"
    patterns = LIBRARY_HOMES.get(library)
    if patterns:
        for module in modules:
            if not any(fnmatchcase(module, pattern) for pattern in patterns):
                yield f"{module}: {library} is known to {', '.join(patterns)} alone"
    elif len(modules) > 1:
        yield f"{library} is imported by {', '.join(modules)}: one module may know it"


def _part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _imports(root: Path) -> Iterator[tuple[str, str]]:
    """(module, what it imports), both with their full dotted names."""
    files = {path: _name(root, path) for path in root.rglob("*.py")}
    names = set(files.values())
    for path, module in files.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((module, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parents = package.split(".")
                    kept = parents[: len(parents) - node.level + 1]
                    base = ".".join([*kept, *filter(None, [base])])
                for alias in node.names:
                    member = f"{base}.{alias.name}"
                    yield module, member if member in names else base


def _name(root: Path, path: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_the_package_keeps_the_rules():
    assert (PACKAGE / "core" / "model.py").exists()
    found = violations(PACKAGE)
    assert not found, "\n".join(["", *found])


def test_a_tree_that_breaks_every_rule_is_seen_to(tmp_path):
    tree = {
        "__init__.py": "",
        "exceptions.py": "",
        "core/__init__.py": "",
        "core/model.py": "import json\nimport pyroute2\nfrom sriov_agent.host import netlink\n",
        "core/plan.py": "from . import model\nfrom .model import Vf\nfrom .. import exceptions\n",
        "host/__init__.py": "",
        "host/netlink.py": "from pyroute2 import IPRoute\nfrom sriov_agent import hook\n",
        "host/lldp.py": "import cliff.lister\n",
        "hook/__init__.py": "from ..host.netlink import Netlink\n",
        "service.py": "import sriov_agent.host.netlink\nfrom sriov_agent.cmd import agent\n",
        "cmd/__init__.py": "",
        "cmd/agent.py": "from oslo_config import cfg\nfrom sriov_agent import service, unheard\n",
        "extra.py": "from sriov_agent.core import model\n",
    }
    root = tmp_path / "sriov_agent"
    for name, text in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert violations(root) == [
        "sriov_agent.cmd.agent: cmd may not import the package itself",
        "sriov_agent.core.model: core may not import host",
        "sriov_agent.extra: no rule says what extra may import",
        "sriov_agent.hook: hook may not import host",
        "sriov_agent.host.netlink: host may not import hook",
        "sriov_agent.service: service may not import cmd",
        "sriov_agent.host.lldp: cliff is known to sriov_agent.cmd.ctl.* alone",
        "sriov_agent.core.model: only the standard library may be imported, not pyroute2",
        "pyroute2 is imported by sriov_agent.core.model, sriov_agent.host.netlink: "
        "one module may know it",
    ]
