# SPDX-License-Identifier: Apache-2.0
"""What the device manager knows and must not forget."""
