# SPDX-License-Identifier: Apache-2.0
"""Derives a backports source from the apt sources that a machine has. Pure; no host is named.

A source is a dict of deb822 fields; their names are in the spelling of sources.list(5).
"""

import re
from collections.abc import Iterable, Iterator, Mapping

Source = dict[str, str]

#: options of the one-line format that have another name in deb822
DEB822_NAME = {"arch": "Architectures", "lang": "Languages", "target": "Targets"}


def deb822(text: str) -> Iterator[Source]:
    """The sources of a ``.sources`` file. Values keep their continuation lines."""
    source: Source = {}
    field = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if source:
                yield source
            source = {}
        elif line[0].isspace():
            source[field] += f"\n{line}"
        else:
            name, _, value = line.partition(":")
            field = name.strip().title().replace("Uris", "URIs")
            source[field] = value.strip()


def one_line(text: str) -> Iterator[Source]:
    """The sources of a ``.list`` file."""
    for line in text.splitlines():
        match = re.match(r"\s*(deb(?:-src)?)\s+(?:\[([^]]*)\]\s+)?(\S+)\s+([^#]+)", line)
        if match:
            kind, options, uri, rest = match.groups()
            suite, *components = rest.split()
            source = {
                "Types": kind,
                "URIs": uri,
                "Suites": suite,
                "Components": " ".join(components),
            }
            for option in (options or "").split():
                name, _, value = option.partition("=")
                source[DEB822_NAME.get(name, name.title())] = value.replace(",", " ")
            yield source


def sources(files: Mapping[str, str]) -> list[Source]:
    """The enabled binary sources of all files that apt would read, given as name -> content."""
    found: list[Source] = []
    for name in sorted(files):
        if name.endswith(".sources"):
            found += deb822(files[name])
        elif name.endswith(".list"):
            found += one_line(files[name])
    return [
        source
        for source in found
        if "deb" in source.get("Types", "").split()
        and source.get("Enabled", "yes").lower() not in {"no", "false", "off", "0"}
    ]


def suites(known: Iterable[Source]) -> set[str]:
    return {suite for source in known for suite in source.get("Suites", "").split()}


def archives(source: Source) -> set[str]:
    return {uri.rstrip("/") for uri in source.get("URIs", "").split()}


def backports(known: list[Source], codename: str) -> str | None:
    """A ``.sources`` file for the suite CODENAME-backports of the distribution's own archive.

    Others may serve a suite of that name too; the distribution's also serves CODENAME-updates or
    is signed by its archive's key ring.

    :returns: None if no archive of ``codename`` is known
    """
    with_updates: set[str] = set()
    for source in known:
        if f"{codename}-updates" in source.get("Suites", "").split():
            with_updates |= archives(source)
    candidates = [
        source
        for source in known
        if codename in source.get("Suites", "").split()
        and "main" in source.get("Components", "").split()
    ]
    candidates.sort(
        key=lambda source: (
            bool(archives(source) & with_updates),
            "archive-keyring" in source.get("Signed-By", ""),
        ),
        reverse=True,
    )
    if not candidates:
        return None
    source = {
        **candidates[0],
        "Types": "deb",
        "Suites": f"{codename}-backports",
        "Components": "main",
    }
    return "".join(f"{field}: {value}\n" for field, value in source.items()).replace(": \n", ":\n")
