# SPDX-License-Identifier: Apache-2.0
"""The status page: the picture, and what of each port is unmet, in one self-contained HTML page."""

import base64
import hashlib
from xml.etree import ElementTree

from sriov_agent.core.topology import DrawnPort, Topology
from sriov_agent.draw.svg import STYLE, element
from sriov_agent.draw.words import port_name, shown, vlans

_STYLE = (
    """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 1104px; padding: 16px; background: Canvas; color: CanvasText;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: light) { body { background: #ffffff; color: #1f2328; } }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #f0f6fc; } }
h1 { font-size: 20px; margin: 8px 24px; }
svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; margin: 8px 24px; width: calc(100% - 48px); }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid #80808055;
  vertical-align: top; overflow-wrap: anywhere; }
#stale { margin: 8px 24px; color: #cf222e; font-weight: 600; }
@media (prefers-color-scheme: dark) { #stale { color: #f85149; } }
"""
    + STYLE
)

#: Asks for the page anew and takes over what is another; nothing is drawn for what is the same.
_SCRIPT = """
"use strict";
const stale = document.getElementById("stale");
async function refresh() {
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = document.querySelector("main"), then = page.querySelector("main");
    if (now.innerHTML !== then.innerHTML) now.replaceWith(document.adoptNode(then));
    stale.hidden = true;
  } catch (error) {
    stale.hidden = false;
  }
}
setInterval(refresh, 2000);
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


#: The page's own style and script, and asking for itself; nothing else, and nobody frames it.
POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(topology: Topology) -> str:
    """The page; to be served with :data:`POLICY`."""
    html = ElementTree.Element("html", {"lang": "en"})
    head = ElementTree.SubElement(html, "head")
    ElementTree.SubElement(head, "meta", {"charset": "utf-8"})
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    ElementTree.SubElement(head, "meta", viewport)
    _text(head, "title", f"{shown(topology.host)}: SR-IOV ports")
    _text(head, "style", _STYLE)
    body = ElementTree.SubElement(html, "body")
    gone = _text(body, "p", "The agent does not answer: what is below is what it said last.")
    gone.attrib.update({"id": "stale", "hidden": "hidden", "role": "status"})
    main = ElementTree.SubElement(body, "main")
    _text(main, "h1", f"SR-IOV ports of {shown(topology.host)}")
    main.append(element(topology))
    main.append(_ports(topology))
    _text(body, "script", _SCRIPT)
    return "<!doctype html>\n" + ElementTree.tostring(html, "unicode", method="html") + "\n"


def _ports(topology: Topology) -> ElementTree.Element:
    table = ElementTree.Element("table")
    names = ElementTree.SubElement(ElementTree.SubElement(table, "thead"), "tr")
    for name in ("Port", "State", "VLAN", "What is unmet"):
        _text(names, "th", name)
    rows = ElementTree.SubElement(table, "tbody")
    for port in topology.ports():
        row = ElementTree.SubElement(rows, "tr")
        for text in _cells(port):
            _text(row, "td", shown(text, 1000))
    return table


def _cells(port: DrawnPort) -> tuple[str, ...]:
    return port_name(port), port.state, vlans(port.vlans), "; ".join(port.unmet)


def _text(parent: ElementTree.Element, tag: str, text: str) -> ElementTree.Element:
    made = ElementTree.SubElement(parent, tag)
    made.text = text
    return made
