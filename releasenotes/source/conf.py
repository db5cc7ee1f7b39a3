# SPDX-License-Identifier: Apache-2.0
import logging

logging.getLogger("reno").setLevel(logging.WARNING)

project = "sriov-agent release notes"
author = "sriov-agent contributors"
extensions = ["reno.sphinxext"]
html_theme = "furo"
html_title = project
html_show_copyright = False
