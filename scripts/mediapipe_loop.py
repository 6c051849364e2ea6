"""MediaPipe's ImageClassifier over a folder, one image after the other; for a Python that has MediaPipe.

mediapipe_loop.py MODEL FOLDER COUNT: prints JSON.
"""

import json
import sys
import time
from pathlib import Path

import mediapipe as mp
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions


def main() -> None:
    model, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    options = ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model), max_results=5)
    paths = sorted(folder.iterdir())[:count]
    with ImageClassifier.create_from_options(options) as classifier:
        classifier.classify(mp.Image.create_from_file(str(paths[0])))
        began = time.perf_counter()
        for path in paths:
            classifier.classify(mp.Image.create_from_file(str(path)))
        seconds = time.perf_counter() - began
    print(json.dumps({"images": len(paths), "seconds": seconds}))


if __name__ == "__main__":
    main()
