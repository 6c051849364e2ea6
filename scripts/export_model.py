r"""Export one of six architectures to Keras, SavedModel and TFLite, with its normalisation beside each.

python scripts/export_model.py --arch MobileNetV2 --classes 3 --weights mine.weights.h5 \\
        --labels names.txt --representative photos/ --formats int8 keras -o models
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from architectures import ARCHITECTURES, SIZE, weighted
from crops import photos_in, random_crops
from exporting import FORMATS, Usage, export


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--arch", required=True, choices=ARCHITECTURES)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--weights", type=Path, help=".weights.h5 or .keras; without it they are random")
    parser.add_argument("--labels", type=Path, help="one name per line, in class order")
    parser.add_argument("--representative", type=Path, help="a folder of photos; int8 and uint8 need it")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["keras", "saved_model", "float32"])
    parser.add_argument("-o", "--output", type=Path, default=Path("models"))
    arguments = parser.parse_args()
    if arguments.labels and len(arguments.labels.read_text().splitlines()) != arguments.classes:
        parser.error(f"{arguments.labels} does not hold {arguments.classes} names")
    architecture = ARCHITECTURES[arguments.arch]
    mean, std = np.array(architecture.mean, np.float32), np.array(architecture.std, np.float32)
    pictures = photos_in(arguments.representative) if arguments.representative else []
    crops = random_crops(pictures, size=SIZE) if pictures else []
    if not crops and {"int8", "uint8"} & set(arguments.formats):
        parser.error("int8 and uint8 need --representative, a folder of photos such as the camera will take")
    model = weighted(arguments.arch, arguments.classes, arguments.weights)
    usage = Usage(architecture.mean, architecture.std, arguments.labels)
    normalized = [(crop - mean) / std for crop in crops]
    exported = export(model, arguments.output, usage, representative=normalized, formats=arguments.formats)
    for path in exported.values():
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
