"""Where to look in cameras' pictures: what parts of one may be."""

from collections.abc import Iterator

from dropsight.config.layers import Fault
from dropsight.config.tree import CameraSight, Config

MOST_CROPS = 16
LEAST_SIDE = 0.01


def broken_crops(config: Config) -> Iterator[Fault]:
    for camera, settings in config.cameras.by_name.items():
        yield from _crops(camera, settings)


def _crops(camera: str, settings: CameraSight) -> Iterator[Fault]:
    above = ("cameras", camera, "crops")
    if len(settings.crops) > MOST_CROPS:
        yield Fault(above, f"has {len(settings.crops)}, each classified by itself; give at most {MOST_CROPS}")
    for name, (left, top, right, bottom) in settings.crops.items():
        if not name.strip() or not name.isprintable():
            yield Fault((*above, name), "has no name to be told by; give it one such as door")
        for first, last, start, end in (("left", "right", left, right), ("top", "bottom", top, bottom)):
            if end - start < LEAST_SIDE:
                text = f"has its {last} at {end:g} and its {first} at {start:g}, which leaves nothing to see"
                yield Fault((*above, name), f"{text}; give [left, top, right, bottom] from the upper left")
