# SPDX-License-Identifier: Apache-2.0
"""The messages of ``messages.txt``, in the JSON that VPP itself tells of its messages."""

import itertools
import re
from pathlib import Path

BASE = {"u8", "u16", "u32", "i32", "bool", "string"}
_ENTRY = re.compile(r"(?P<head>[^:]+):(?P<fields>.*)")


def read():
    """One API file, as it is listed in the answer to ``get_api_json``."""
    api = {"types": [], "messages": [], "unions": [], "enums": [], "aliases": {}, "services": {}}
    for entry in _entries():
        found = _ENTRY.fullmatch(entry)
        (kind, name, *rest), fields = found["head"].split(), _fields(found["fields"])
        match kind:
            case "alias":
                ((type_, length),) = fields
                given = {"length": int(length)} if length else {}
                api["aliases"][name] = {"type": _type(type_)} | given
            case "enum":
                members = [[member, int(value)] for member, value in fields]
                api["enums"].append([name, *members, {"enumtype": rest[0]}])
            case "union" | "type":
                api[f"{kind}s"].append([name, *map(_typed, fields)])
            case "request":
                number, answer = rest
                stream = {"stream": True} if answer.endswith("*") else {}
                api["services"][name] = {"reply": answer.rstrip("*")} | stream
                api["messages"].append(_message(name, number, ["client_index", "context"], fields))
            case "answer":
                api["messages"].append(_message(name, rest[0], ["context"], fields))
    return api


def _entries():
    lines = (Path(__file__).parent / "messages.txt").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    starts = [n for n, line in enumerate(lines) if not line.startswith("  ")]
    for start, end in itertools.pairwise([*starts, len(lines)]):
        yield " ".join(line.strip() for line in lines[start:end])


def _fields(text):
    """(type, name) of each; an alias has the length of its type for a name."""
    found = []
    for field in filter(None, map(str.strip, text.split(","))):
        first, _, second = field.partition(" ")
        if not second:
            first, _, second = field.rstrip("]").partition("[")
        found.append((first, second))
    return found


def _typed(field):
    type_, name = field
    type_, _, length = type_.rstrip("]").partition("[")
    type_ = _type(type_)
    if not length:
        return [type_, name]
    if length.isdigit():
        return [type_, name, int(length)]
    return [type_, name, 0, length]


def _type(name):
    return name if name in BASE else f"vl_api_{name}_t"


def _message(name, number, first, fields):
    head = [["u16", "_vl_msg_id"], *(["u32", field] for field in first)]
    return [name, *head, *map(_typed, fields), {"crc": number}]
