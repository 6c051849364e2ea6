"""Compare two logs of the same images: the same labels, the confidences within one step of an INT8 output.

    scripts/same_answers.py HERE.jsonl THERE.jsonl

Exits 1 where they differ, one line per image.
"""

import json
import sys
from pathlib import Path

STEP = 1 / 256


def answers(path: str) -> dict[str, tuple[str, float]]:
    records = map(json.loads, Path(path).read_text().splitlines())
    return {record["image_path"]: (record["label"], record["confidence"]) for record in records}


def main() -> None:
    here, there = answers(sys.argv[1]), answers(sys.argv[2])
    wrong = 0
    for name in sorted(here.keys() | there.keys()):
        (label, confidence), (other, found) = here.get(name, ("-", 0.0)), there.get(name, ("-", 0.0))
        same = label == other != "-" and abs(confidence - found) <= STEP + 1e-6
        wrong += not same
        verdict = "same" if same else "DIFFERENT"
        print(f"{name:24} {label:20} {confidence:.4f}  {other:20} {found:.4f}  {verdict}")
    print(f"{len(here) - wrong} of {len(here)} the same")
    sys.exit(bool(wrong) or not here)


if __name__ == "__main__":
    main()
