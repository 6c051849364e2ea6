"""`dropsight retire`."""

from pathlib import Path

from dropsight.commands.settings import find_config, settings
from dropsight.errors import SinkError
from dropsight.names import as_shown
from dropsight.service.camera_keeper import NAME, load
from dropsight.sinks.mqtt.broker import Broker
from dropsight.sinks.mqtt.event_names import EventNames
from dropsight.sinks.mqtt.former_names import FormerName, FormerNames
from dropsight.sinks.mqtt.identity import guest_id
from dropsight.sinks.mqtt.retiring import OnlineError
from dropsight.sinks.mqtt.retiring import retire as take_back


def retire(file: Path | None, *, device: str | None) -> None:
    """Remove this device, and every former name of it, from the broker; raises SinkError.

    What the broker keeps of one name is no reason to keep the others.
    """
    config = settings(find_config(file))
    mqtt, state = config.mqtt, config.store.path.parent
    if mqtt is None:
        print("mqtt is null, so there is no broker; to name a former one: DROPSIGHT_MQTT__URL=mqtt://HOST")
        return
    current = FormerName(device or config.device, mqtt.base_topic, mqtt.discovery_prefix)
    names = dict.fromkeys((current, *(() if device else FormerNames(state).all())))
    cameras, events = load(state / NAME), EventNames((), current.topics, state).known()
    shown, faults = Broker.of(mqtt).shown, []
    for name in names:
        try:
            client_id = guest_id(mqtt, state)
            taken = take_back(mqtt, name, client_id=client_id, cameras=cameras, events=events)
        except OnlineError as error:
            faults.append(str(error))
            continue
        print(f"removed {taken.messages} retained messages of {name.topics.root} from {shown}")
        for topic, reason in taken.refused.items():
            print(as_shown(f"may not publish to {topic}, and sees no retained message there: {reason}"))
        faults += [
            f"the broker did not remove the retained message {topic}: {why}"
            for topic, why in taken.left.items()
        ]
    if faults:
        raise SinkError("\n".join(faults))
