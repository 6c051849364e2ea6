"""Whether a broker gives all clients of a username one client id: each login throws out the one before."""

from dropsight.config import Mqtt
from dropsight.errors import ConfigError, SinkError
from dropsight.sinks.mqtt.brief_connection import BriefConnection
from dropsight.sinks.mqtt.connection import Connection

ONE_ID = (
    "the broker gives all clients of a username one client id (Mosquitto's use_username_as_clientid), so each"
    " login ends the connection before: give dropsight a username that nobody else has; images over MQTT"
    " have connections of their own and are lost meanwhile: with these, turn that setting off"
)
# So long the first has to last by itself, and within so long it is gone once the second is there.
ALONE_SECONDS, GONE_SECONDS = 0.3, 0.5


def has_one_id_for_all(settings: Mqtt, client_id: str, *, credential: str | None = None) -> bool:
    """Log in by two client ids at once, and tell whether just the first is thrown out.

    False also where that cannot be told, as by a broker that lets in no such ids.
    """
    try:
        with BriefConnection(settings, client_id=f"{client_id}-1", credential=credential) as first:
            if _is_lost(first.connection, within=ALONE_SECONDS):
                return False
            with BriefConnection(settings, client_id=f"{client_id}-2", credential=credential) as second:
                is_gone = _is_lost(first.connection, within=GONE_SECONDS)
                return is_gone and not _is_lost(second.connection, within=0.0)
    except (ConfigError, SinkError):
        return False


def _is_lost(connection: Connection, *, within: float) -> bool:
    try:
        connection.acknowledged(timeout=within)
    except SinkError:
        return True
    return False
