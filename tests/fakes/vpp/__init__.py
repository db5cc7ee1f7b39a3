# SPDX-License-Identifier: Apache-2.0
"""A VPP as its API socket shows it, for machines that have none: it switches no packets.

It keeps what it is told, and refuses what the source of VPP 26.06 refuses, with the same numbers;
the tests of ``tests/contract/test_vpp.py`` run on a real VPP as well, where there is one.
``python -m tests.fakes.vpp SOCKET`` starts it.
"""
