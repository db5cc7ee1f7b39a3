# SPDX-License-Identifier: Apache-2.0
"""The picture of a host in several languages; each is a pure function of the same data."""
