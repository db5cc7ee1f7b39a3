# SPDX-License-Identifier: Apache-2.0
"""The picture of a host, in each language, and in a real browser."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from sriov_agent.core.model import Cabling, Segment
from sriov_agent.core.report import PortReport, PortState, Report
from sriov_agent.core.topology import topology
from sriov_agent.draw.page import POLICY, page
from sriov_agent.draw.svg import svg
from sriov_agent.draw.text import dot, mermaid
from sriov_agent.draw.words import shown, vlans
from sriov_agent.store import Store
from sriov_agent.web import Page, Web
from tests.browser import CHROMIUM, Browser
from tests.topology import (
    CABLING,
    LEAF_A,
    PF_A,
    PF_B,
    PF_C,
    binding,
    claim,
    neighbor,
    pf,
    port_id,
    switch_port,
    vf,
)
from tests.unit.test_sriovctl import HOSTILE, Host

EVIL = "</text><script>document.title='evil'</script>\"'\\]]>--><img src=x onerror=alert(1)>\x1b[2J"


def entry(number, state, **given):
    return PortReport(port_id=port_id(number), state=state, **given)


def reported(tmp_path, name="leaf1"):
    """A report as the record gives it back."""
    at = switch_port(PF_A)
    cabled = Cabling(
        switch_port=type(at)(
            pf=PF_A, chassis_id=at.chassis_id, port_id=at.port_id, system_name=name
        ),
        neighbors=(neighbor(),),
    )
    report = Report(
        ports={
            port_id(1): entry(
                1, PortState.MET, claim=claim(1, PF_A, 0), switch_ports=(LEAF_A,), connected=True
            ),
            port_id(2): entry(
                2, PortState.UNMET, claim=claim(2, PF_A, 2), unmet=(f"VLAN 16 not open on {name}",)
            ),
            port_id(3): entry(3, PortState.RELEASING, claim=claim(3, PF_B, 1)),
            port_id(4): entry(4, PortState.UNMET, unmet=("no free VF",)),
        },
        pfs={
            PF_A: pf(PF_A, vf(PF_A, 3, held_by="netdev is up")),
            PF_B: pf(PF_B, carrier=False),
            PF_C: pf(PF_C),
        },
        cabling={**CABLING, PF_A: cabled, PF_B: Cabling(reason=f"no carrier on {name}")},
    )
    store = Store(tmp_path / "drawn.db")
    store.save(report, {})
    return store


def drawn(tmp_path, name="leaf1", host="compute1"):
    store = reported(tmp_path, name)
    bindings = {
        port_id(1): binding(1, name="web1"),
        port_id(2): binding(2, name=name, vlan=0, trunk=(Segment(16), Segment(17))),
        port_id(4): binding(4, vlan=0),
        port_id(5): binding(5),
    }
    return topology(host, store.pfs(), store.status(), store.lldp(), bindings)


def test_the_picture_is_what_the_record_holds(tmp_path):
    found = drawn(tmp_path)
    first, second, third = found.pfs
    assert first.vfs == ("met", "free", "unmet", "held")
    assert [(p.name, p.state, p.vlans, p.vf_index) for p in first.ports] == [
        ("web1", "met", (15,), 0),
        ("leaf1", "unmet", (16, 17), 2),
    ]
    assert first.vlans == (15, 16, 17)
    assert [(link.switch, link.switch_port) for link in first.links] == [("leaf1", "swp1")]
    assert (second.carrier, second.links[0].reason) == (False, "no carrier on leaf1")
    assert [(p.id, p.vlans) for p in second.ports] == [(port_id(3), None)]
    assert third.ports == ()
    assert [(p.id, p.state) for p in found.elsewhere] == [
        (port_id(4), "unmet"),
        (port_id(5), "new"),
    ]


def test_before_the_first_pass_there_is_a_host(tmp_path):
    nothing = topology("compute1", {}, {}, {}, {})
    for draw in (svg, mermaid, dot, page):
        assert "compute1" in draw(nothing)
    assert nothing.as_json() == {"host": "compute1", "pfs": (), "elsewhere": ()}


def test_every_language_says_the_same(tmp_path):
    found = drawn(tmp_path)
    for draw in (svg, mermaid, dot, page):
        text = draw(found)
        for word in ("compute1", "ens1", "ens2", "leaf1", "swp1", "leaf2", "web1", "VLANs 16, 17"):
            assert word in text, (draw, word)
        assert port_id(4) in text


def test_hostile_names_are_only_text_in_svg(tmp_path):
    for name in (EVIL, HOSTILE):
        root = ElementTree.fromstring(svg(drawn(tmp_path, name, host=name)))
        tags = {element.tag.partition("}")[2] for element in root.iter()}
        assert tags == {"svg", "title", "style", "rect", "text", "circle", "path"}
        assert any(shown(name, 24) == element.text for element in root.iter())


def test_hostile_names_are_only_text_in_html(tmp_path):
    class Scripts(HTMLParser):
        found = ()

        def handle_starttag(self, tag, attributes):
            self.found = (*self.found, tag)

    parser = Scripts()
    parser.feed(page(drawn(tmp_path, EVIL, host=EVIL)))
    assert parser.found.count("script") == 1
    assert "img" not in parser.found


@pytest.mark.parametrize("name", [EVIL, HOSTILE, 'a"]; end', "end", "#35;", "%%{init}%%"])
def test_hostile_names_are_only_text_in_mermaid(tmp_path, name):
    for line in mermaid(drawn(tmp_path, name, host=name)).splitlines():
        labels = re.findall(r'"([^"]*)"', line)
        assert line.count('"') == 2 * len(labels)
        for label in labels:
            plain = re.sub(r"#[0-9]+;|<br/>", "", label)
            assert re.fullmatch(r"[A-Za-z0-9 .,:/_+-]*", plain)


def test_hostile_names_are_only_text_in_dot(tmp_path):
    for name in (EVIL, HOSTILE, "a\\", 'a\\"'):
        text = dot(drawn(tmp_path, name, host=name))
        outside = re.sub(r'"(?:[^"\\\n]|\\.)*"', "", text)
        assert re.fullmatch(r"[a-z0-9A-Z_{}\[\]=,;\s-]*", outside), outside


def test_graphviz_takes_it(tmp_path):
    if not shutil.which("dot"):
        pytest.skip("there is no Graphviz")
    text = dot(drawn(tmp_path, EVIL))
    subprocess.run(["dot", "-Tsvg"], input=text, text=True, check=True, capture_output=True)


def test_what_is_too_wide_is_cut():
    assert shown("abc", 3) == "abc"
    assert shown("abcd", 3) == "ab…"
    assert shown("漢字漢字", 5) == "漢字…"
    assert shown("", 3) == ""
    assert (vlans(None), vlans((0,)), vlans((15,))) == ("", "untagged", "VLAN 15")


class TestCommand:
    @pytest.mark.parametrize("language", ["svg", "mermaid", "dot", "json"])
    def test_each_language_is_printed(self, tmp_path, language):
        host = Host(tmp_path)
        host.create("--vlan", "15", "web1")
        assert "web1" in host.do("topology", "-f", language)

    def test_it_is_json_and_goes_to_a_file(self, tmp_path):
        host = Host(tmp_path)
        path = tmp_path / "host.json"
        assert host.do("topology", "--format", "json", "--output", str(path)) == ""
        assert json.loads(path.read_text())["host"] == "compute1"
        status, _, err = host("topology", "--output", str(tmp_path))
        assert (status, "--output" in err) == (1, True)


@pytest.mark.browser
class TestBrowser:
    @pytest.fixture
    def browser(self, tmp_path):
        if not CHROMIUM:
            pytest.skip("there is no Chromium: apt-get install chromium")
        browser = Browser(tmp_path / "browser")
        yield browser
        browser.close()

    @pytest.fixture
    def shown(self, tmp_path):
        """The page as it is served; what it shows may be changed."""

        class Shown:
            topology = drawn(tmp_path)
            asked = 0

            def page(self):
                self.asked += 1
                html = page(self.topology).encode()
                return Page(html, "text/html; charset=utf-8", policy=POLICY)

        shown = Shown()
        shown.web = Web("127.0.0.1", 0, {"/": shown.page})
        shown.web.start()
        yield shown
        shown.web.stop()

    def test_it_follows_what_changes_and_keeps_what_does_not(self, browser, shown, tmp_path):
        browser.open(f"http://127.0.0.1:{shown.web.port}/")
        assert browser.value("document.querySelector('svg').getBoundingClientRect().width") > 500
        assert "no free VF" in browser.value("document.querySelector('table').innerText")
        browser.value("document.querySelector('main').kept = true; 1")
        before = shown.asked
        while shown.asked < before + 2:
            browser.until("true")
        assert browser.value("document.querySelector('main').kept")

        shown.topology = drawn(tmp_path, EVIL)
        browser.until("document.querySelector('table').innerText.includes('onerror')")
        assert browser.value("document.title") == "compute1: SR-IOV ports"
        assert browser.value("document.querySelectorAll('script, img').length") == 1
        assert browser.value("document.getElementById('stale').hidden")
        assert browser.complaints() == []

        shown.web.stop()
        browser.until("!document.getElementById('stale').hidden")

    def test_it_is_light_or_dark_as_the_reader_has_it(self, browser, shown):
        browser.open(f"http://127.0.0.1:{shown.web.port}/")
        found = []
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            browser.do("Emulation.setEmulatedMedia", features=[feature])
            found.append(
                [
                    browser.value("getComputedStyle(document.body).backgroundColor"),
                    browser.value("getComputedStyle(document.querySelector('svg .bg')).fill"),
                    browser.value("getComputedStyle(document.querySelector('svg text')).fill"),
                ]
            )
        assert found == [
            ["rgb(255, 255, 255)", "rgb(255, 255, 255)", "rgb(31, 35, 40)"],
            ["rgb(13, 17, 23)", "rgb(13, 17, 23)", "rgb(240, 246, 252)"],
        ]
        assert browser.complaints() == []

    def test_nothing_that_was_not_the_pages_own_runs(self, browser, shown):
        browser.open(f"http://127.0.0.1:{shown.web.port}/")
        browser.value(
            "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
            "document.body.append(s); 1"
        )
        assert browser.value("window.ran === undefined")
