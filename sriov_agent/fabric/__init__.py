# SPDX-License-Identifier: Apache-2.0
"""The device manager: from what every host wants to what switches carry."""
