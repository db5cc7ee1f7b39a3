# SPDX-License-Identifier: Apache-2.0
from importlib import metadata

project = "sriov-agent"
author = "sriov-agent contributors"
project_copyright = author
release = metadata.version("sriov-agent")
version = release

extensions = [
    "openstackdocstheme",
    "oslo_config.sphinxconfiggen",
    "oslo_config.sphinxext",
    "sphinx.ext.autodoc",
]
config_generator_config_file = [
    ("../../etc/oslo-config-generator/sriov-agent.conf", "_static/sriov-agent"),
    ("../../etc/oslo-config-generator/sriov-device-manager.conf", "_static/sriov-device-manager"),
]

html_theme = "openstackdocs"
openstackdocs_repo_name = "sriov-agent"
openstackdocs_auto_name = False
openstackdocs_use_storyboard = False
html_title = project
html_static_path = ["_static"]
html_show_copyright = False
