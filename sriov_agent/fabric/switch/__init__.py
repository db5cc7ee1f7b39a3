# SPDX-License-Identifier: Apache-2.0
"""Switches, by driver: read which VLANs ports carry, and change them in one transaction."""
