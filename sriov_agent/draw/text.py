# SPDX-License-Identifier: Apache-2.0
"""The picture as a Mermaid flowchart and as a DOT graph."""

from sriov_agent.core.topology import DrawnPort, Topology
from sriov_agent.draw.words import port_name, shown, usage, vlans

#: All that stands for itself in a Mermaid label; the rest is written by its number.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:/_-+")

_COLOURS = {"met": "#1f883d", "unplugged": "#1f883d", "unmet": "#cf222e", "releasing": "#9a6700"}
_OTHER_COLOUR = "#57606a"


def mermaid(topology: Topology) -> str:
    """A flowchart, from the ports by their PFs to the switches."""

    def label(*texts: str) -> str:
        lines = ("".join(map(_entity, shown(text))) for text in texts if text)
        return f'"{"<br/>".join(lines)}"'

    def port(drawn: DrawnPort, node: str) -> str:
        return f"{node}({label(port_name(drawn), drawn.state, vlans(drawn.vlans))})"

    switches = _switches(topology)
    lines = ["flowchart LR", f"  subgraph host[{label(topology.host)}]"]
    styles: list[str] = []
    for n, pf in enumerate(topology.pfs):
        lines.append(f"    pf{n}[{label(pf.netdev, pf.address, usage(pf))}]")
        for m, drawn in enumerate(pf.ports):
            lines.append(f"    {port(drawn, f'port{n}_{m}')} --- pf{n}")
            styles.append(f"  style port{n}_{m} stroke:{_colour(drawn)}")
    for m, drawn in enumerate(topology.elsewhere):
        lines.append(f"    {port(drawn, f'elsewhere{m}')}")
        styles.append(f"  style elsewhere{m} stroke:{_colour(drawn)}")
    lines.append("  end")
    for n, (switch, names) in enumerate(switches.items()):
        lines.append(f"  subgraph switch{n}[{label(switch)}]")
        lines += [f"    switch{n}_{m}[{label(name)}]" for m, name in enumerate(names)]
        lines.append("  end")
    for n, pf in enumerate(topology.pfs):
        for m, link in enumerate(pf.links):
            if link.switch:
                node = _node(switches, link.switch, link.switch_port)
                says = label(vlans(pf.vlans) if pf.vlans else "no VLAN")
                lines.append(f"  pf{n} ===|{says}| {node}")
            else:
                lines.append(f"  pf{n} -.- dark{n}_{m}({label(link.reason)})")
    return "\n".join([*lines, *styles]) + "\n"


def dot(topology: Topology) -> str:
    """A graph for Graphviz."""

    def label(*texts: str) -> str:
        escaped = (shown(t).replace("\\", "\\\\").replace('"', '\\"') for t in texts if t)
        return '"' + "\\n".join(escaped) + '"'

    def port(drawn: DrawnPort, node: str) -> str:
        says = label(port_name(drawn), drawn.state, vlans(drawn.vlans))
        return f'    {node} [label={says}, style=rounded, color="{_colour(drawn)}"];'

    switches = _switches(topology)
    lines = [
        "graph sriov {",
        "  rankdir=LR;",
        '  node [shape=box, fontname="sans-serif"];',
        "  subgraph cluster_host {",
        f"    label={label(topology.host)};",
    ]
    for n, pf in enumerate(topology.pfs):
        lines.append(f"    pf{n} [label={label(pf.netdev, pf.address, usage(pf))}];")
        for m, drawn in enumerate(pf.ports):
            lines += [port(drawn, f"port{n}_{m}"), f"    port{n}_{m} -- pf{n};"]
    lines += [port(drawn, f"elsewhere{m}") for m, drawn in enumerate(topology.elsewhere)]
    lines.append("  }")
    for n, (switch, names) in enumerate(switches.items()):
        lines += [f"  subgraph cluster_switch{n} {{", f"    label={label(switch)};"]
        lines += [f"    switch{n}_{m} [label={label(name)}];" for m, name in enumerate(names)]
        lines.append("  }")
    for n, pf in enumerate(topology.pfs):
        for m, link in enumerate(pf.links):
            if link.switch:
                node = _node(switches, link.switch, link.switch_port)
                says = label(vlans(pf.vlans) if pf.vlans else "no VLAN")
                lines.append(f"  pf{n} -- {node} [penwidth=2, label={says}];")
            else:
                lines.append(f"  dark{n}_{m} [shape=plaintext, label={label(link.reason)}];")
                lines.append(f"  pf{n} -- dark{n}_{m} [style=dashed];")
    return "\n".join([*lines, "}"]) + "\n"


def _switches(topology: Topology) -> dict[str, list[str]]:
    """The ports of each switch that something hangs on."""
    found: dict[str, list[str]] = {}
    for pf in topology.pfs:
        for link in pf.links:
            names = found.setdefault(link.switch, []) if link.switch else []
            if link.switch_port not in names:
                names.append(link.switch_port)
    return found


def _node(switches: dict[str, list[str]], switch: str, port: str) -> str:
    return f"switch{list(switches).index(switch)}_{switches[switch].index(port)}"


def _colour(port: DrawnPort) -> str:
    return _COLOURS.get(port.state, _OTHER_COLOUR)


def _entity(character: str) -> str:
    return character if character in _PLAIN else f"#{ord(character)};"
