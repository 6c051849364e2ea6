"""Play camera days, and count alarms with rules off and on.

    python scripts/camera_days.py                  # of the package's sample photos
    python scripts/camera_days.py PHOTOS           # a folder with a sub-folder of photos for each class
    python scripts/camera_days.py PHOTOS --halves  # choose settings on one half, and measure on the other
    python scripts/camera_days.py PHOTOS --halves --visits 1383  # so many each: firmer figures

Instead of sub-folders, an expected.csv may say each file's class (file, expected_id). Photos of places become
the cameras' empty scenes, all others are visits: three to ten pictures, nearer and farther, aside, in other
light, partly out of the picture, one in ten of something else. In between cameras take what they should not:
clouds, leaves, night, fog, blur, in runs, and single wrong pictures, of something that is not there. The
built-in model looks at all. Rules off: each answer whose best class is sure enough is an alarm, but for
places. Rules on: a rule for each thing, by its group, and each time that somebody is told is one.
"""

import argparse
import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from tqdm import tqdm

import dropsight
from camera_alarms import (
    PLACES,
    TENFOLD,
    Counts,
    Seen,
    Settings,
    World,
    chosen,
    cut,
    lost,
    showing,
    visits_of_known,
    with_rules,
    without_rules,
)
from camera_bound import claims_of, least_lost, pairs_of_nothing, pairs_of_visits
from camera_pictures import (
    EMPTY,
    HEIGHT,
    WIDTH,
    WRONG,
    Chance,
    Photo,
    Picture,
    a_day,
    drawn_scene,
    read_photo,
)
from dropsight import ImageInferenceRuntime
from dropsight.classify.resources import cores
from dropsight.config import Inference
from dropsight.errors import ImageError
from dropsight.events.rule import KEPT_SHARE
from dropsight.inference.judging import Ranking, ranked
from dropsight.inference.labelled import Labelled, labelled
from dropsight.inference.ranking import probabilities
from dropsight.inference.wording import Namer
from dropsight.models.spec import ModelSpec
from dropsight.records import ImageFacts, Latency, ModelFacts, Result, shown_confidence, timestamp

DAY = 86_400.0
EPOCH = 1_800_000_000.0
SAMPLES = Path(dropsight.__file__).parent / "samples"
COLUMNS = ("rules off", "off, groups", "rules on")


class Told(NamedTuple):
    """What people are told: by the surest class of each answer, by its surest group, by rules."""

    off: Counts
    grouped: Counts
    on: Counts


def listed(folder: Path, labels: Sequence[str]) -> list[Labelled]:
    """As an expected.csv says it, where there is one, else by sub-folders."""
    table = folder / "expected.csv"
    if not table.is_file():
        return labelled(folder, labels)
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["expected_id"]]
    return [Labelled(str(folder / row["file"]), int(row["expected_id"])) for row in rows]


def camera_days(
    chance: Chance, photos: list[Photo], scenes: list[Photo], said: argparse.Namespace
) -> Iterator[tuple[str, list[Picture]]]:
    """Yield each camera's day, in the order in which its pictures are taken; a photo is a visit or more."""
    wanted = max(said.visits or 0, len(photos))
    visits = [photos[number % len(photos)] for number in chance.permutation(wanted)]
    count = max(round(wanted / said.visits_a_day), 1)
    begun = 0
    for number, chunk in enumerate(np.array_split(np.arange(wanted), count)):
        place = number % said.cameras
        usable = [each.pixels for each in scenes[place :: said.cameras]] or [drawn_scene(chance)]
        scene = usable[number // said.cameras % len(usable)]
        today = a_day(
            chance, [visits[each] for each in chunk], photos, scene, empty=said.empty, wrong=said.wrong
        )
        base = EPOCH + number // said.cameras * DAY
        taken = [
            replace(each, at=base + each.at, visit=None if each.visit is None else begun + each.visit)
            for each in sorted(today, key=lambda each: each.at)
        ]
        yield f"camera-{place + 1}", taken
        begun += len(chunk)


def look(runtime: ImageInferenceRuntime, days: Iterator[tuple[str, list[Picture]]]) -> tuple[list[Seen], int]:
    """Ask the runtime of each picture, once; returns them in order, and how many camera days there were."""
    plan, spec = runtime.plan, runtime.spec
    plans = {
        unknown: msgspec.structs.replace(plan, namer=Namer.of(spec, Inference(unknown=unknown)))
        for unknown in ("off", "auto")
    }
    seen: list[Seen] = []
    count = 0
    for camera, taken in tqdm(days, unit=" camera days"):
        count += 1
        scores = runtime.scores([each.pixels for each in taken])
        for picture, (_, row) in zip(taken, scores, strict=True):
            if isinstance(row, ImageError):
                raise row
            likely = probabilities(row[np.newaxis], spec, 1.0)[0]
            bare = replace(picture, pixels=np.empty((0, 0, 3), np.uint8))
            name = f"{len(seen):032x}"
            records = {
                key: _record(name, camera, bare, ranked(likely, each), spec) for key, each in plans.items()
            }
            seen.append(Seen(camera, bare, records))
    return sorted(seen, key=lambda each: each.picture.at), count


def _record(name: str, camera: str, picture: Picture, answer: Ranking, spec: ModelSpec) -> Result:
    at = timestamp(picture.at)
    return Result(
        id=name,
        time=at,
        device="days",
        camera=camera,
        image_path="x.jpg",
        confidence=answer.predictions[0].confidence,
        top_5_predictions={},
        predictions=list(answer.predictions),
        **msgspec.structs.asdict(answer.wording),
        image=ImageFacts(WIDTH, HEIGHT, 1, "jpeg", at),
        model=ModelFacts(spec.name, spec.format, spec.quantization, spec.digest),
        tta=1,
        temperature=1.0,
        latency_ms=Latency(),
    )


def tell(seen: Sequence[Seen], told: Told, *, visits: int, camera_days: int) -> None:
    hours, known = camera_days * 24, visits_of_known(seen)
    _row("false alarms an hour and camera", COLUMNS)
    for kind in [*(each.__name__ for each in EMPTY), "visit", WRONG]:
        name = "a visit, of another thing" if kind == "visit" else kind
        _row(f"  {name}", [f"{each.false[kind] / hours:.3f}" for each in told])
    _row("  together", [f"{each.false.total() / hours:.3f}" for each in told])
    _row("repeats a visit", [f"{each.repeats / visits:.2f}" for each in told])
    _row("visits missed", [f"{(visits - len(each.told)) / visits:.1%}" for each in told])
    missed = [f"{len(known - each.told) / max(len(known), 1):.1%}" for each in told]
    _row(f"of {len(known)} that the model knows", missed)
    for off, name in ((told.off, "without them"), (told.grouped, "by single answers of groups")):
        print(f"{off.false.total()} false alarms {name} become {told.on.false.total()}: ", end="")
        print(f"{cut(off, told.on):.1f} times fewer")
        gone, gained = lost(off, told.on), lost(told.on, off)
        print(f"  rules find {len(gained) / visits:.1%} of visits that are not found {name},")
        print(f"  and lose {len(gone) / visits:.1%} that are ({len(gone)} of {len(off.told)}): ", end="")
        print(f"{(len(gone) - len(gained)) / visits:+.1%} missed")


def _row(name: str, values: Iterable[str]) -> None:
    print(f"{name:<34}{''.join(f'{each:>12}' for each in values)}")


def tell_mixes(off: Counts, on: Counts, hours: int) -> None:
    """Say what other cameras would have: alarms of a kind are as many as its pictures."""
    print("single wrong pictures and empty ones, of those played: false alarms an hour and camera")
    for wrong, empty in itertools.product((0.0, 0.25, 1.0, 4.0), (1.0, 3.0)):
        before, after = (
            sum(count * {"visit": 1.0, WRONG: wrong}.get(kind, empty) for kind, count in each.false.items())
            for each in (off, on)
        )
        print(
            f"  {wrong:4g} and {empty:g} times: {before / hours:.3f} become {after / hours:.3f}, "
            f"{before / max(after, 1):.1f} times fewer"
        )


def tell_bound(seen: Sequence[Seen], world: World, off: Counts, visits: int) -> None:
    """Say what no rule does better, by how many times fewer false alarms are wanted."""
    claims = claims_of(seen, world)
    there, nothing = pairs_of_visits(claims, off.told), pairs_of_nothing(claims, Settings())
    print("whatever rule judges by the two surest answers within a minute, though chosen on these very days:")
    for fewer in (5, 7, TENFOLD, 15):
        gone = least_lost(there, nothing, alarms=off.false.total() // fewer)
        print(f"  {fewer} times fewer false alarms: {gone / visits:.1%} lost or more ({gone})")


def tell_lost(seen: Sequence[Seen], world: World, gone: set[int], least: float) -> None:
    """Say what kind of visits these are."""
    shown = showing(seen, world, least)
    by_shown = Counter(min(shown[each], 3) for each in gone)
    told = ", ".join(f"{by_shown[count]} in {name}" for count, name in ((1, "one"), (2, "two"), (3, "more")))
    print(f"of these, pictures that show it with {least:.2f} or more: {told}")
    taken = Counter(each.picture.visit for each in seen if each.picture.visit is not None)
    for first, last in ((3, 4), (5, 7), (8, 10)):
        those = {visit for visit, count in taken.items() if first <= count <= last}
        print(f"  of visits of {first} to {last} pictures: {len(gone & those)} of {len(those)}")


def known(runtime: ImageInferenceRuntime, world: World, photos: list[Photo], sure: float) -> list[Photo]:
    """Tell of each whether the model is sure of what it shows, as it is."""
    results = (runtime.predict(each.pixels) for each in photos)
    return [
        replace(
            photo, known=world.thing(found.predicted_class) == photo.thing and shown_confidence(found) >= sure
        )
        for photo, found in zip(photos, results, strict=True)
    ]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, nargs="?", default=SAMPLES)
    parser.add_argument("--halves", action="store_true", help="choose settings on one, measure on the other")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--visits", type=int, default=96, help="at least; each photo is one or more")
    parser.add_argument("--visits-a-day", type=int, default=24, help="of one camera")
    parser.add_argument(
        "--empty", type=int, default=240, help="pictures of a camera's day with nothing there"
    )
    parser.add_argument("--wrong", type=int, default=24, help="single wrong pictures of a camera's day")
    parser.add_argument("--confidence", type=float, default=0.6)
    parser.add_argument("--confirm", default="2 of 3")
    parser.add_argument("--keep", type=float)
    parser.add_argument("--unknown", choices=("off", "auto"), default="off")
    parser.add_argument("--bound", action="store_true", help="say what no rule of two answers does better")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    said = options()
    chance = np.random.default_rng(said.seed)
    with ImageInferenceRuntime(threads=cores()) as runtime:
        world = World(runtime.spec)
        files = listed(said.photos, runtime.spec.labels)
        photos = [Photo(read_photo(each.path), world.thing(each.class_index)) for each in files]
        photos = [photos[number] for number in chance.permutation(len(photos))]
        scenes = [each for each in photos if each.thing in PLACES]
        things = [each for each in photos if each.thing not in PLACES]
        settings = [Settings(said.confidence, said.confirm, keep=said.keep, unknown=said.unknown)]
        things = known(runtime, world, things, said.confidence)
        if said.halves:
            half = len(things) // 2
            seen, _ = look(runtime, camera_days(chance, things[:half], scenes[::2], said))
            settings.append(chosen(seen, world, max(said.visits, half)))
            things, scenes = things[half:], scenes[1::2]
        seen, days = look(runtime, camera_days(chance, things, scenes, said))
    visits = max(said.visits, len(things))
    pictures = Counter(each.picture.kind for each in seen)
    print(f"{visits} visits of {len(things)} photos in {days} camera days, {len(seen):,} pictures:")
    print(", ".join(f"{count} {kind}" for kind, count in pictures.items()))
    off = without_rules(seen, world.by_class, said.confidence)
    grouped = without_rules(seen, world.by_group, said.confidence)
    for each in settings:
        print(f"\n{each}, rules off: {said.confidence:g}")
        told = Told(off, grouped, with_rules(seen, world, each))
        tell(seen, told, visits=visits, camera_days=days)
        tell_lost(seen, world, lost(off, told.on), _kept(each))
        tell_mixes(off, told.on, days * 24)
    if said.bound:
        tell_bound(seen, world, off, visits)


def _kept(said: Settings) -> float:
    return said.confidence * KEPT_SHARE if said.keep is None else said.keep


if __name__ == "__main__":
    main()
