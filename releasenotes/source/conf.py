# SPDX-License-Identifier: Apache-2.0
import logging

logging.getLogger("reno").setLevel(logging.WARNING)

project = "sriov-agent release notes"
author = "sriov-agent contributors"
extensions = ["openstackdocstheme", "reno.sphinxext"]
html_theme = "openstackdocs"
openstackdocs_repo_name = "sriov-agent"
openstackdocs_auto_name = False
html_title = project
html_show_copyright = False
