"""`dropsight check`."""

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import msgspec

from dropsight import installing
from dropsight.children import available_bytes
from dropsight.classify.work import Engine
from dropsight.commands import sightings
from dropsight.commands.event_checks import check_events, check_notify, say_rules
from dropsight.commands.model_checks import check_device, check_image, check_kernels, open_model
from dropsight.commands.mute_places import answered, places_of, refuse_mute, unmounted
from dropsight.commands.places import Reserved, reserved
from dropsight.commands.replaying import print_replay
from dropsight.commands.runner import Runner, runner_of
from dropsight.commands.settings import find_config, settings, system_file
from dropsight.commands.verdicts import Verdict, running_status, say
from dropsight.config import (
    Config,
    Mqtt,
    Watch,
    Web,
    host_and_port,
    open_to_all,
    password,
    stored_password,
    stored_urls,
    token,
)
from dropsight.config.environment import unknown_variables
from dropsight.config.rules import keys_without_effect
from dropsight.errors import ConfigError, DropsightError, SinkError, StoreError, reason
from dropsight.inference.planning import Plan
from dropsight.inference.wording import without_effect
from dropsight.intake.inboxes import ignored, passed_by, too_large_for_memory, try_folders
from dropsight.intake.mute_inboxes import MuteInboxes
from dropsight.sinks.mqtt.permissions import try_broker
from dropsight.sinks.mqtt.refusals import BrokerRefusedError
from dropsight.sinks.sections import wanted
from dropsight.sources.asking import try_topics
from dropsight.video.decoder import lacks_pyav
from dropsight.web.extra import is_installed

_SERVICE_SHARE = 0.6


def check(
    file: Path | None, *, picture: Path | None, replay: Sequence[Path] | None, as_json: bool = False
) -> int:
    """Print one line per finding; return 0 if all is well, 2 for the config or its folders, else 1.

    Root tests what `run` needs as the user who runs it; nothing is created but the picture of what is seen.
    """
    if as_json and not replay:
        raise ConfigError(["--json needs --replay LOG: the other findings are lines"])
    # Who runs it may not write where root may.
    if picture:
        sightings.check_kind(picture)
    with reserved(picture) if picture else nullcontext() as drawing:
        return _check(file, drawing, replay, as_json=as_json)


def _check(
    file: Path | None, drawing: Reserved | None, replay: Sequence[Path] | None, *, as_json: bool
) -> int:
    logging.disable(logging.WARNING)  # what is found is printed
    file = find_config(file)
    config = settings(file)
    is_service = file is not None and file.absolute() == system_file().absolute()
    credential = stored_password() if is_service else None
    urls = {name: stored_urls(name) for name in config.notify} if is_service else {}
    refuse_mute([config.store.path.parent])
    runner = runner_of(config.store.path.parent, is_service=is_service)
    told = str(file or "defaults")
    if os.geteuid() == 0 and not runner.is_me:
        runner.become()
        told += f", checked as the user {runner.name}"
        config = settings(file)
    if replay:
        if not as_json:
            say("ok", "config", told)
            say_rules(config)
        print_replay(config, replay, as_json=as_json)
        return 0
    say("ok", "config", told)
    for text in (*unknown_variables(os.environ), *keys_without_effect(config)):
        say("warn", "config", text)
    return _Check(file, config, runner, urls, is_service=is_service).all(credential, drawing)


class _Check:
    def __init__(
        self,
        file: Path | None,
        config: Config,
        runner: Runner,
        urls: Mapping[str, str | None],
        *,
        is_service: bool,
    ) -> None:
        self._file, self._config, self._runner, self._is_service = file, config, runner, is_service
        self._urls = urls
        self._verdict = Verdict()

    def all(self, credential: str | None, drawing: Reserved | None) -> int:
        if self._is_service and not self._runner.is_me:
            who = self._runner.name
            say(
                "warn",
                "user",
                f"the rest is not checked as the user {who} of the service: sudo dropsight check",
            )
        refuse_mute(places_of(self._config))
        mute = MuteInboxes()
        self._config = mute.answering(self._config)
        with self._verdict.part("folders"):
            answered(self._folders, what="a folder in an inbox")
        with self._verdict.part("folders"):
            if mute.any:
                raise StoreError(str(mute))
        engine = self._opened()
        if self._config.events or self._config.problem_events:
            with self._verdict.part("events"):
                check_events(self._file, self._config, engine)
        if engine:
            self._classifying(engine, drawing)
        with self._verdict.part("broker"):
            self._broker(credential)
        if topics := {each.mqtt: each.path for each in self._config.watch if each.mqtt is not None}:
            with self._verdict.part("arrivals"):
                self._arrivals(topics, credential)
        for each in wanted(msgspec.structs.replace(self._config, notify={})):
            if each.check:
                with self._verdict.part(each.mark.name):
                    say("ok", each.mark.name, each.check())
        with self._verdict.part("notify"):
            check_notify(self._config, self._urls, self._verdict, file=self._file)
        with self._verdict.part("web"):
            self._web()
        if self._config.video:
            lack = lacks_pyav()
            say("warn" if lack else "ok", "clips", lack or "read by PyAV")
        for fault in open_to_all(self._config):
            say("warn", "secrets", fault)
        return self._verdict.code

    def _opened(self) -> Engine | None:
        with self._verdict.part("model"):
            return open_model(self._config)
        return None

    def _classifying(self, engine: Engine, drawing: Reserved | None) -> None:
        with self._verdict.part("kernels"):
            check_kernels(engine)
        with self._verdict.part("runs on"):
            check_device(self._config, engine)
        if idle := without_effect(engine.plan.spec, self._config.inference):
            say("warn", "unknown", idle)
        with self._verdict.part("image"):
            check_image(engine)
        with self._verdict.part("sees"):
            self._sees(engine.plan, drawing)

    def _folders(self) -> None:
        missing, awaited = try_folders(self._config)
        inboxes = [watch.path for watch in self._config.watch]
        made = [str(path) for path in missing if path not in inboxes]
        told = [", ".join(there)] if (there := [str(path) for path in inboxes if path not in awaited]) else []
        told += [f"run creates {', '.join(made)}"] if made else []
        if told:
            say("ok", "folders", "; ".join(told))
        for text in passed_by(self._config):
            say("ok", "folders", text)
        found = ignored(self._config)
        for text in found.lines_of_links():
            say("ok", "folders", text)
        # The unit's MemoryHigh, of what is left to whoever checks.
        memory = int(available_bytes() * _SERVICE_SHARE) if self._is_service else available_bytes()
        for text in (*unmounted(self._config), *too_large_for_memory(self._config, memory), *found.lines()):
            say("warn", "folders", text)
        for watch in self._config.watch:
            if watch.burst_seconds:
                say("ok", "folders", _bursts(watch, top_k=self._config.inference.top_k))
        for fault in awaited.values():
            text = "run waits for its disk to be mounted, or for permission"
            say("warn", "folders", f"{fault}; {text}")
        for inbox in inboxes:
            if inbox in missing:
                say("warn", "folders", f"{inbox} does not exist: run creates it ({missing[inbox]})")

    def _sees(self, plan: Plan, drawing: Reserved | None) -> None:
        try:
            last = partial(sightings.last_pictures, self._config)
            pictures = answered(last, what="a camera's last picture")
        except OSError as error:
            say("warn", "sees", f"{self._config.log.path}: cannot be read: {reason(error)}")
            return
        for text in sightings.in_words(plan, pictures):
            say("ok", "sees", text)
        for text in sightings.doubts(plan, pictures):
            say("warn", "sees", text)
        if drawing and not pictures:
            none = "no camera's picture is on record yet; drop one, and dropsight run --once"
            raise DropsightError(f"{drawing.path}: nothing to draw on: {none}")
        if drawing:
            drawing.write(sightings.draw(drawing.path, plan, pictures))
            say("ok", "sees", f"drawn in {drawing.path}")

    def _broker(self, credential: str | None) -> None:
        mqtt = self._config.mqtt
        if mqtt is None:
            say("ok", "broker", "none: mqtt is null")
            return
        try:
            found = try_broker(
                mqtt,
                self._config.device,
                state=self._config.store.path.parent,
                credential=credential,
                events=bool(self._config.events or self._config.problem_events),
                bursts=any(each.burst_seconds for each in self._config.watch),
            )
        except BrokerRefusedError as error:
            raise DropsightError(f"{error}{self._hint(mqtt, credential)}") from error
        except SinkError as error:
            if not isinstance(error.__cause__, ConnectionRefusedError | socket.gaierror):
                raise
            way_out = "start the broker, name another in mqtt.url, or none: mqtt: null"
            raise DropsightError(f"{error}; {way_out}") from error
        for doubt in found.doubts:
            say("warn", "broker", doubt)
        if found.refused:
            raise DropsightError("\n".join(found.refused))
        say("ok", "broker", found.spoken)

    def _arrivals(self, inboxes: Mapping[str, Path], credential: str | None) -> None:
        """Images over MQTT; rules by client id may yet differ for the daemon's own."""
        if self._config.mqtt is None:
            return
        found = try_topics(
            self._config.mqtt, inboxes, state=self._config.store.path.parent, credential=credential
        )
        for topics, inbox in inboxes.items():
            if found[topics] is None:
                folder = inbox.joinpath(*(level for level in topics.split("/") if level == "+"))
                say("ok", "arrivals", f"images on {topics} go into {folder}/")
        if refused := [
            f"the broker denied the subscription to {each}: {no}" for each, no in found.items() if no
        ]:
            raise DropsightError("\n".join(refused))

    def _hint(self, mqtt: Mqtt, credential: str | None) -> str:
        if not self._is_service or os.geteuid() == 0 or credential or password(mqtt):
            return ""
        return "; a password in systemd's credential store is readable by root only: sudo dropsight check"

    def _web(self) -> None:
        web = self._config.web
        if web is None:
            say("ok", "web", "none: web is null")
            return
        asks = "requires the token" if token(web) else "requires no token"
        if not is_installed():
            told = f"none: {installing.with_extra('web')}"
            if web != Web():
                raise DropsightError(f"{web.listen}: {told}, or web: null")
            say("ok", "web", told)
            return
        # It takes asyncio along.
        from dropsight.web.serving import try_address

        try:
            try_address(web.listen)
        except DropsightError:
            if not self._is_ours(web):
                raise
            asks = f"where the running dropsight listens, {asks}"
        say("ok", "web", f"{web.listen}, {asks}")

    def _is_ours(self, web: Web) -> bool:
        """Whether it is the running daemon that has the address."""
        running = running_status(self._config)
        _, port = host_and_port(web.listen)
        return bool(running and running.dashboard and running.dashboard.endswith(f":{port}/"))


def _bursts(watch: Watch, *, top_k: int) -> str:
    close = f"photos of a camera that follow one another within {watch.burst_seconds:g} s"
    made = "get one more record together, when as long has passed since the last of them"
    return f"{watch.path}: {close} {made}; it is made from the {top_k} classes that each record names"
