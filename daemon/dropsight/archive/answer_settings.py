"""What decides a model's answers and is not in its bytes: labels, groups, how pictures are prepared."""

from hashlib import blake2b

import msgspec

from dropsight.models.spec import ModelSpec


def settings_of(spec: ModelSpec, *, sets: bool = False) -> str:
    """Return a digest that is the same wherever these are; with `sets`, also those of prediction sets."""
    decisive = (
        spec.labels,
        spec.groups,
        spec.thresholds,
        [(head.name, head.labels, head.columns, head.thresholds) for head in spec.heads],
        spec.temperature,
        spec.normalization,
        spec.color_order,
        spec.framing,
        spec.layout,
        spec.input.shape,
        *((spec.sets,) if sets else ()),
    )
    return blake2b(msgspec.json.encode(decisive, enc_hook=float), digest_size=8).hexdigest()
