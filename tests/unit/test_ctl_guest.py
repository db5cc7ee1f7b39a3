# SPDX-License-Identifier: Apache-2.0
"""``sriovctl port attach`` and ``detach``, on the libvirt that libvirt itself brings for tests."""

import pytest

from sriov_agent.core.state import Interface
from tests.unit.test_sriovctl import ID, MAC, VF, Host, one_sentence

URI = "test:///default"


@pytest.fixture
def libvirt():
    return pytest.importorskip("libvirt", reason="libvirt-python is not here: see make test")


@pytest.fixture
def host(tmp_path, libvirt):
    host = Host(tmp_path)
    with host.config.open("a") as file:
        file.write(f"[libvirt]\nuri = {URI}\n")
    host.create("--id", ID, "--mac", MAC, "web1")
    return host


@pytest.fixture
def written(host):
    host.files.read()
    host.files.write(ID, Interface(vf=VF, mac=MAC, vlan=15))
    return host


@pytest.mark.parametrize("verb", ["attach", "detach"])
def test_without_a_libvirt_the_option_is_named(tmp_path, verb):
    host = Host(tmp_path)
    host.create("--id", ID, "web1")
    status, _, err = host("port", verb, "web1", "test")
    assert status == 1
    one_sentence(err, "[libvirt] uri is empty", "qemu:///system")


@pytest.mark.lab
@pytest.mark.parametrize("verb", ["attach", "detach"])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["web2", "test"], ["port 'web2'", "no such port"]),
        (["web1", "\x1b[2J</name>"], [r"domain '\x1b[2J</name>'", "virsh -c test:///default list"]),
    ],
)
def test_what_is_not_there_is_named(written, verb, arguments, named):
    status, out, err = written("port", verb, *arguments)
    assert (status, out) == (1, "")
    one_sentence(err, *named)


@pytest.mark.lab
def test_a_port_without_xml_says_where_to_look(host):
    status, _, err = host("port", "attach", "web1", "test")
    assert status == 1
    one_sentence(err, ID, "no interface XML yet", "sriovctl port show")


@pytest.mark.lab
def test_a_host_without_an_iommu_says_what_to_do(written):
    status, _, err = written("port", "attach", "web1", "test")
    assert status == 1
    one_sentence(err, "domain test", VF, "no IOMMU", "intel_iommu=on", "macvtap")


@pytest.mark.lab
def test_a_macvtap_needs_no_iommu_and_what_libvirt_refuses_is_said(written):
    written.files.write(ID, Interface(vf=VF, mac=MAC, vlan=15, netdev="ens1v2"))
    status, _, err = written("port", "attach", "--live", "web1", "test")
    assert status == 1
    one_sentence(err, "domain test", VF, "libvirt refuses")


@pytest.mark.lab
def test_a_domain_that_does_not_have_it_says_so(written):
    status, _, err = written("port", "detach", "web1", "test")
    assert status == 1
    one_sentence(err, "domain test", VF)


@pytest.mark.lab
def test_a_domain_that_does_not_run_cannot_be_changed_live(written, libvirt):
    connection = libvirt.open(URI)
    connection.defineXML(
        "<domain type='test'><name>off</name><memory>1</memory><os><type>hvm</type></os></domain>"
    )
    try:
        status, _, err = written("port", "attach", "--live", "web1", "off")
    finally:
        connection.lookupByName("off").undefine()
        connection.close()
    assert status == 1
    one_sentence(err, "domain off", "not running", "--live")
