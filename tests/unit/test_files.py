# SPDX-License-Identifier: Apache-2.0
"""Interface XML files in a real directory."""

import os
import tempfile
from pathlib import Path

import pytest

from sriov_agent.core.state import Interface
from sriov_agent.exceptions import Unavailable
from sriov_agent.libvirt import xml
from sriov_agent.libvirt.files import InterfaceFiles
from tests.topology import PF_A, binding, interface, port_id

ONE = interface(binding(1), PF_A, 0)
TWO = interface(binding(2), PF_A, 1)


@pytest.fixture
def files(tmp_path):
    files = InterfaceFiles(tmp_path / "interfaces")
    assert files.read() == {}
    return files


@pytest.fixture
def readable_by_none():
    """A directory that is there and cannot be listed, whatever user runs the tests."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        inner = Path(directory) / "interfaces"
        inner.mkdir()
        inner.chmod(0o300)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)
        try:
            yield inner
        finally:
            os.seteuid(was)
            inner.chmod(0o700)


def names(files):
    return {path.name for path in files.directory.iterdir()}


def test_what_is_written_is_read_back(files):
    files.write(port_id(1), ONE)
    files.write(port_id(2), TWO)

    assert files.read() == {port_id(1): ONE, port_id(2): TWO}
    assert files.path(port_id(1)).read_text() == xml.render(ONE)
    assert files.path(port_id(1)).stat().st_mode & 0o777 == 0o644
    assert names(files) == {f"{port_id(1)}.xml", f"{port_id(2)}.xml"}


def test_a_file_is_replaced(files):
    files.write(port_id(1), ONE)
    changed = Interface(vf=ONE.vf, mac=ONE.mac, vlan=0)
    files.write(port_id(1), changed)
    assert files.read() == {port_id(1): changed}


def test_a_file_is_removed_and_may_be_removed_again(files):
    files.write(port_id(1), ONE)
    files.remove(port_id(1))
    files.remove(port_id(1))
    assert files.read() == {}
    assert names(files) == set()


@pytest.mark.parametrize(
    "content", [b"", b"<interface", xml.render(ONE).encode()[:-1], b"\xff\xfe", b"\x00" * 99]
)
def test_a_file_that_the_agent_did_not_write_so_is_there_but_says_nothing(files, content):
    files.write(port_id(2), TWO)
    files.path(port_id(1)).write_bytes(content)
    assert files.read() == {port_id(1): None, port_id(2): TWO}


@pytest.mark.parametrize(
    "name",
    [
        "web1.xml",
        f"{port_id(1)}.xml.bak",
        f"{port_id(1)}.txt",
        f"{port_id(1)}",
        "0000ABCD-0000-4000-8000-000000000001.xml",
        "tmpabcdef.tmp",
    ],
)
def test_other_files_are_not_looked_at(files, name):
    (files.directory / name).write_text(xml.render(ONE))
    assert files.read() == {}


def test_a_directory_that_cannot_be_made_is_unknown(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "interfaces"):
        files = InterfaceFiles(path)
        with pytest.raises(Unavailable, match="interface files in"):
            files.read()
        with pytest.raises(Unavailable, match=port_id(1)):
            files.write(port_id(1), ONE)


def test_a_directory_that_cannot_be_listed_is_unknown_and_not_empty(readable_by_none):
    with pytest.raises(Unavailable, match="Permission denied"):
        InterfaceFiles(readable_by_none).read()


def test_a_write_that_fails_leaves_nothing_behind(files):
    files.path(port_id(1)).mkdir()
    with pytest.raises(Unavailable, match=port_id(1)):
        files.write(port_id(1), ONE)
    assert names(files) == {f"{port_id(1)}.xml"}


def test_what_cannot_be_removed_is_told(files):
    files.path(port_id(1)).mkdir()
    with pytest.raises(Unavailable, match=port_id(1)):
        files.remove(port_id(1))


def test_what_a_write_that_was_killed_left_is_no_interface(files):
    (files.directory / "tmp1.tmp").write_text("<inter")
    files.write(port_id(1), ONE)
    assert files.read() == {port_id(1): ONE}
