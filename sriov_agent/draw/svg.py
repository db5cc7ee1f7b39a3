# SPDX-License-Identifier: Apache-2.0
"""The picture as SVG: the host with its PFs on the left, the switches on the right."""

from xml.etree import ElementTree

from sriov_agent.core.topology import DrawnPf, DrawnPort, Topology
from sriov_agent.draw.words import port_name, shown, usage, vlans

#: Light, and dark where the reader's screen is. Only classes are used: a page may forbid the rest.
STYLE = """
.topology { --bg: #ffffff; --box: #f6f8fa; --inner: #ffffff; --edge: #d0d7de; --text: #1f2328;
  --dim: #59636e; --met: #1a7f37; --unmet: #cf222e; --releasing: #9a6700; --cable: #0969da;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { .topology { --bg: #0d1117; --box: #151b23;
  --inner: #0d1117; --edge: #3d444d; --text: #f0f6fc; --dim: #9198a1; --met: #3fb950;
  --unmet: #f85149; --releasing: #d29922; --cable: #4493f8; } }
.topology .bg { fill: var(--bg); }
.topology .box { fill: var(--box); stroke: var(--edge); }
.topology .inner { fill: var(--inner); stroke: var(--edge); }
.topology text { fill: var(--text); font-size: 13px; }
.topology .title { font-size: 16px; font-weight: 600; }
.topology .name { font-weight: 600; }
.topology .dim { fill: var(--dim); font-size: 12px; }
.topology .end { text-anchor: end; }
.topology .cable { fill: none; stroke: var(--cable); stroke-width: 2.5; }
.topology .plug { fill: var(--cable); }
.topology .dark { stroke: var(--unmet); stroke-dasharray: 4 4; }
.topology .vf { stroke: var(--edge); fill: none; }
.topology .vf.held { fill: var(--edge); }
.topology .vf.met, .topology .vf.unplugged { fill: var(--met); stroke: none; }
.topology .vf.unmet { fill: var(--unmet); stroke: none; }
.topology .vf.releasing { fill: var(--releasing); stroke: none; }
.topology text.met, .topology text.unplugged { fill: var(--met); }
.topology text.unmet { fill: var(--unmet); }
.topology text.releasing { fill: var(--releasing); }
.topology .mark { stroke: none; }
"""

_KNOWN = frozenset({"met", "unplugged", "unmet", "releasing", "held", "free"})

_MARGIN, _GAP = 24, 18
_HOST_WIDTH, _SWITCH_X, _SWITCH_WIDTH = 664, 828, 252
_WIDTH = _SWITCH_X + _SWITCH_WIDTH + _MARGIN
_ROW = 26
#: VFs of a row, each a square.
_SQUARE, _STEP, _PER_ROW = 11, 15, 39

Element = ElementTree.Element


def svg(topology: Topology) -> str:
    """The picture, standing alone."""
    root = element(topology)
    style = Element("style")
    style.text = STYLE
    root.insert(0, style)
    return ElementTree.tostring(root, "unicode") + "\n"


def element(topology: Topology) -> Element:
    """The picture for a page that has the style already."""
    return _Drawing(topology).root


class _Drawing:
    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.root = Element(
            "svg",
            {"xmlns": "http://www.w3.org/2000/svg", "class": "topology", "role": "img"},
        )
        title = ElementTree.SubElement(self.root, "title")
        title.text = f"SR-IOV ports of {shown(topology.host)} and the switch ports they hang on"
        background = self._add("rect", "bg", x=0, y=0, width=_WIDTH)
        #: Where the cable of each link leaves the host.
        self.cables: list[tuple[str, str, DrawnPf, int]] = []
        bottom = max(self._host(), self._switches()) + _MARGIN
        background.set("height", str(bottom))
        self.root.set("viewBox", f"0 0 {_WIDTH} {bottom}")

    def _host(self) -> int:
        """Draw the host; where it ends."""
        box = self._add("rect", "box", x=_MARGIN, y=_MARGIN, width=_HOST_WIDTH, rx=10)
        y = _MARGIN + 28
        self._text(self.topology.host, _MARGIN + 18, y, "title")
        y += _GAP
        for pf in self.topology.pfs:
            y = self._pf(pf, y) + _GAP
        if not self.topology.pfs:
            self._text("no PF was seen yet", _MARGIN + 18, y + 8, "dim")
            y += _ROW + _GAP
        if self.topology.elsewhere:
            self._text("on no PF", _MARGIN + 18, y + 12, "dim")
            y += _ROW
            for port in self.topology.elsewhere:
                y = self._port(port, _MARGIN + 34, y)
            y += _GAP
        box.set("height", str(y - _MARGIN))
        return y

    def _pf(self, pf: DrawnPf, top: int) -> int:
        left, width = _MARGIN + 18, _HOST_WIDTH - 36
        box = self._add("rect", "inner", x=left, y=top, width=width, rx=8)
        x, right, y = left + 16, left + width - 16, top + 24
        self._text(pf.netdev, x, y, "name")
        self._text(f"{pf.address} · {pf.physical_network}", x + 110, y, "dim", limit=48)
        self._text(usage(pf), right, y, "dim end")
        for index, state in enumerate(pf.vfs):
            at = {
                "x": x + index % _PER_ROW * _STEP,
                "y": y + 14 + index // _PER_ROW * _STEP,
                "width": _SQUARE,
                "height": _SQUARE,
                "rx": 2,
            }
            square = self._add("rect", f"vf {_known(state)}", **at)
            ElementTree.SubElement(square, "title").text = f"VF {index}: {shown(state)}"
        y += 14 + -(-len(pf.vfs) // _PER_ROW) * _STEP + 8
        for port in pf.ports:
            y = self._port(port, x, y)
        for link in pf.links:
            if link.switch:
                self.cables.append((link.switch, link.switch_port, pf, top + 20))
            else:
                said = (
                    link.reason if link.uplink in link.reason else f"{link.uplink}: {link.reason}"
                )
                self._text(said, x, y + 14, "unmet", limit=80)
                self._line(left + width, top + 20, left + width + 60, "dark")
                y += _ROW
        box.set("height", str(y + 6 - top))
        return y + 6

    def _port(self, port: DrawnPort, x: int, y: int) -> int:
        state = _known(port.state)
        self._add("circle", f"vf mark {state}", cx=x + 5, cy=y + 10, r=5)
        name = self._text(port_name(port), x + 18, y + 14, "", limit=36 if not port.name else 31)
        ElementTree.SubElement(name, "title").text = shown("; ".join(port.unmet) or port.id, 500)
        self._text(vlans(port.vlans), x + 312, y + 14, "dim", limit=22)
        vf = "no VF" if port.vf_index is None else f"VF {port.vf_index}"
        self._text(vf, x + 470, y + 14, "dim")
        self._text(port.state, _MARGIN + _HOST_WIDTH - 34, y + 14, f"{state} end")
        return y + _ROW

    def _switches(self) -> int:
        """Draw the switches, each about as high as its first cable leaves the host."""
        bottom = _MARGIN
        by_switch: dict[str, list[tuple[str, DrawnPf, int]]] = {}
        for switch, port, pf, y in self.cables:
            by_switch.setdefault(switch, []).append((port, pf, y))
        for switch, cables in by_switch.items():
            top = max(bottom, cables[0][2] - 62)
            height = 46 + 46 * len(cables)
            self._add("rect", "box", x=_SWITCH_X, y=top, width=_SWITCH_WIDTH, height=height, rx=10)
            self._text(switch, _SWITCH_X + 18, top + 26, "title", limit=24)
            for n, (port, pf, y) in enumerate(cables):
                at = top + 58 + 46 * n
                self._text(port, _SWITCH_X + 18, at, "name", limit=28)
                says = vlans(pf.vlans) if pf.vlans else "no VLAN"
                self._text(says, _SWITCH_X + 18, at + 18, "dim", limit=36)
                self._cable(y, at + 2)
            bottom = top + height + _GAP
        return bottom - _GAP

    def _cable(self, y: int, to: int) -> None:
        x, end = _MARGIN + _HOST_WIDTH - 18, _SWITCH_X
        middle = (_MARGIN + _HOST_WIDTH + end) // 2
        path = f"M {x} {y} C {middle} {y} {middle} {to} {end} {to}"
        self._add("path", "cable", d=path)
        for cx, cy in ((x, y), (end, to)):
            self._add("circle", "plug", cx=cx, cy=cy, r=5)

    def _line(self, x: int, y: int, to: int, kind: str) -> None:
        self._add("path", f"cable {kind}", d=f"M {x} {y} L {to} {y}")

    def _text(self, text: str, x: int, y: int, kind: str, limit: int = 60) -> Element:
        found = self._add("text", kind, x=x, y=y)
        found.text = shown(text, limit)
        return found

    def _add(self, tag: str, kind: str, **attributes: object) -> Element:
        given = {name: str(value) for name, value in attributes.items()}
        return ElementTree.SubElement(self.root, tag, {"class": kind, **given} if kind else given)


def _known(state: str) -> str:
    return state if state in _KNOWN else "free"
