"""The broker's password: read from its file, kept out of everything shown."""

import re

from dropsight.config.tree import Mqtt
from dropsight.errors import ConfigError

_USER_INFO = re.compile(r"(?<=://)([^:@/]*):.*@", re.DOTALL)


def password(mqtt: Mqtt) -> str | None:
    """The text of `password_file` without its last line end, None where there is none; raises ConfigError."""
    if mqtt.password_file is None:
        return None
    try:
        text = mqtt.password_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        fault = f"mqtt.password_file: {mqtt.password_file} cannot be read ({reason})"
        raise ConfigError([f"{fault}; put the password there, readable for the user of dropsight"]) from error
    return text.removesuffix("\n")


def redacted_url(url: str) -> str:
    """The URL with *** for its password."""
    return _USER_INFO.sub(r"\1:***@", url)
