# SPDX-License-Identifier: Apache-2.0
"""As whom Keystone is asked for a token, in each group that needs one."""

from oslo_config import cfg

KEYSTONE_USER_OPTS = (
    cfg.StrOpt("username", help="User whom Keystone knows."),
    cfg.StrOpt("password", secret=True, help="The user's password."),
    cfg.StrOpt("project_name", help="Project that the token is for."),
    cfg.StrOpt("user_domain_name", default="Default", help="The user's domain."),
    cfg.StrOpt("project_domain_name", default="Default", help="The project's domain."),
    cfg.StrOpt("application_credential_id", help="Instead of user, password and project."),
    cfg.StrOpt("application_credential_secret", secret=True, help="The credential's secret."),
)
