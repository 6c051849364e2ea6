"""`dropsight retire`."""

from pathlib import Path

from dropsight.commands.settings import find_config, settings
from dropsight.daemon.watching import NAME, load
from dropsight.sinks.broker import Broker
from dropsight.sinks.identity import guest_id
from dropsight.sinks.names import Name, Names
from dropsight.sinks.retiring import retire as take_back


def retire(file: Path | None, *, device: str | None) -> None:
    """Take this device, and every former name of it, from the broker; raises SinkError."""
    config = settings(find_config(file))
    mqtt, state = config.mqtt, config.store.path.parent
    if mqtt is None:
        print("mqtt is null, so there is no broker; one of earlier days: DROPSIGHT_MQTT__URL=mqtt://HOST")
        return
    current = Name(device or config.device, mqtt.base_topic, mqtt.discovery_prefix)
    names = dict.fromkeys((current, *(() if device else Names(state).all())))
    cameras = load(state / NAME)
    for name in names:
        count = take_back(mqtt, name, client_id=guest_id(mqtt, state), cameras=cameras)
        print(f"took {count} retained messages of {name.topics.root} from {Broker.of(mqtt).shown}")
