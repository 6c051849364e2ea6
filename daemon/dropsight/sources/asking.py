"""Whether a broker allows a subscription: tried without touching the daemon's session."""

from collections.abc import Collection, Mapping
from pathlib import Path

from dropsight.config import Mqtt
from dropsight.errors import SinkError
from dropsight.sinks.mqtt.brief_connection import BriefConnection
from dropsight.sinks.mqtt.identity import guest_id
from dropsight.sinks.mqtt.incoming import Incoming
from dropsight.sinks.mqtt.one_id import ONE_ID, has_one_id_for_all
from dropsight.sources.arrivals import SUFFIX


def try_topics(
    settings: Mqtt, topics: Collection[str], *, state: Path, credential: str | None = None
) -> Mapping[str, str | None]:
    """Return for each filter why the broker does not let us subscribe to it, None where it does.

    Raises SinkError where it does not let us in, is lost, or ends our connections one for the other.
    """
    # By the very name, our clean session would take the place of the daemon's, with what waits in it.
    client_id = f"{guest_id(settings, state)}{SUFFIX}-check"
    with BriefConnection(settings, client_id=client_id, credential=credential) as visit:
        found = {each: visit.listen(each, _no_matter) for each in topics}
    if has_one_id_for_all(settings, client_id, credential=credential):
        raise SinkError(ONE_ID)
    return found


def _no_matter(_: Incoming) -> None:
    pass
