# SPDX-License-Identifier: Apache-2.0
"""Every error of the agent, one tree; each branch says who can mend it.

::

    SriovAgentError
    ├── InvalidField       whoever sent the value: an API user, an event, a command line
    ├── ConfigError        the operator: a configuration option
    ├── Unavailable        the other side did not answer; what it knows is unknown, not empty
    │   └── Pending        ... yet: it was asked, and who asked is told when it does
    └── Refused            the other side answered no
        └── Unsupported    ... and will never answer yes: the NIC or driver lacks it
"""


class SriovAgentError(Exception):
    """Base of all errors raised on purpose by this package."""


class InvalidField(SriovAgentError):
    """A value that cannot be accepted.

    :param field: name of the field, as its sender knows it (``mac_address``)
    :param value: the value as received; shown escaped and shortened
    :param reason: what an acceptable value is
    """

    def __init__(self, field: str, value: object, reason: str) -> None:
        self.field = field
        self.value = value
        self.reason = reason
        super().__init__(f"{field} {printable(value)}: {reason}")


class ConfigError(SriovAgentError):
    """An option whose value cannot work; the message names the option."""


class Unavailable(SriovAgentError):
    """The kernel, a daemon, a file or a peer could not be asked."""


class Pending(Unavailable):
    """It was asked, and has not answered yet.

    :param before: what came of it when the same was asked before, if that failed
    """

    ENDING = ", and not answered yet"

    def __init__(self, before: str = "") -> None:
        super().__init__(f"{before}; asked again{self.ENDING}" if before else f"asked{self.ENDING}")


class Refused(SriovAgentError):
    """The kernel, a daemon or a peer understood the request and turned it down."""


class Unsupported(Refused):
    """The device cannot do it, whatever the request."""


def printable(value: object, limit: int = 80) -> str:
    """``value`` on one line for logs and terminals: escaped, at most ``limit`` characters.

    Text from the wire may hold control characters, terminal escapes or markup.
    """
    text = repr(value) if not isinstance(value, str) else repr(value)[1:-1]
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return f"'{text}'" if isinstance(value, str) else text
