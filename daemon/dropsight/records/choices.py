"""How pictures and clips are to be read, in the words that a config, a model and a record share."""

from typing import Literal

import msgspec


class Normalization(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """(pixel - mean) / std on 0..255 pixels; one value for all channels, or one a channel in its order."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


Layout = Literal["NHWC", "NCHW"]
"""Of a model's input: images, height, width, channels, or channels before height and width."""

ColorOrder = Literal["RGB", "BGR"]
"""Of a model's three channels."""

Resize = Literal["crop", "stretch", "letterbox", "cover"]
"""How a picture of any shape becomes one of the model's; cover is several, see `images.framing.squares`."""

SampleBy = Literal["auto", "keyframes", "every"]
"""How frames of a clip are chosen; auto takes keyframes where they are close enough."""

Aggregate = Literal["mean", "max", "vote", "top_k_mean", "ema"]
"""How answers of a clip's frames become one; see `dropsight.inference.aggregating.aggregate`."""

Depth = Literal["scale", "percentile"]


class Framing(msgspec.Struct, frozen=True):
    """How a picture becomes one of a model's size; `central` is the share of its sides that a crop keeps."""

    resize: Resize = "crop"
    central: float = 0.875


USUAL_FRAMING = Framing()
