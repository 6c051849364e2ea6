"""Models that answer another question than what an image shows: refused by what they are."""

from pathlib import Path

import pytest

from daemons import dropsight
from dropsight.errors import ModelError
from dropsight.models.backends import open_model
from dropsight.models.overrides import ModelOverrides
from tiny_tflite import Tensor, tiny

IMAGE: Tensor = ("float32", (1, 32, 32, 3))
CLASSES: Tensor = ("float32", (1, 10))
DETECTIONS: list[Tensor] = [
    ("float32", (1, 10, 4)),
    ("float32", (1, 10)),
    ("float32", (1, 10)),
    ("float32", (1,)),
]
# Of MediaPipe's face detection: boxes and scores of as many anchors.
ANCHORS: list[Tensor] = [("float32", (1, 896, 16)), ("float32", (1, 896, 1))]


def refusal(tmp_path: Path, content: bytes, said: ModelOverrides | None = None) -> str:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        open_model(path, said=said)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    return told.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("operator", "told"),
    [
        (
            "edgetpu-custom-op",
            "compiled for the Edge TPU: give the .tflite from before the compiler, or set model.delegate",
        ),
        (
            "ethos-u",
            "compiled for an Ethos-U processor: give the .tflite from before Vela, its compiler, or set",
        ),
        (
            "TFLite_Detection_PostProcess",
            "not an image classifier, but an object detector (boxes, and what is in them): give a model",
        ),
    ],
)
def test_a_model_with_operators_of_others_is_refused_by_what_they_are(
    tmp_path: Path, operator: str, told: str
) -> None:
    """By the operator, whatever the file is called."""
    assert refusal(tmp_path, tiny([("uint8", (1, 32, 32, 3))], [CLASSES], operator)).startswith(told)


def test_an_operator_that_nobody_knows_is_named(tmp_path: Path) -> None:
    told = refusal(tmp_path, tiny([IMAGE], [CLASSES], "Landmarks2TransformMatrix"))
    assert told.startswith("it has operators that TFLite lacks (Landmarks2TransformMatrix): made for")


@pytest.mark.parametrize(
    ("wanted", "likeness"),
    [
        (("int32", (1, 128)), "it looks like a model for text"),
        (("string", (1,)), "it takes strings: texts, or images that are still encoded"),
        (("float32", (15600,)), "it looks like a model for sound (a waveform)"),
        (("float32", (1, 16000)), "it looks like a model for sound (a waveform)"),
        (("float32", (1, 44100)), "it looks like a model for sound (a waveform)"),
        (("float32", (1, 5, 64, 64, 3)), "it looks like a model for clips of several frames"),
        (("float32", (1, 4)), "if these are the pixels of an image, give model.input_size: [height, width]"),
        (("float32", (1, 96, 64)), "if these are the pixels of an image, give model.input_size"),
    ],
)
def test_what_takes_no_image_is_refused_by_what_it_looks_like(
    tmp_path: Path, wanted: Tensor, likeness: str
) -> None:
    told = refusal(tmp_path, tiny([wanted], [CLASSES]))
    assert told.startswith("not an image classifier: its input is ")
    assert likeness in told


@pytest.mark.parametrize(
    ("answer", "likeness"),
    [
        (("float32", (1, 65, 65, 21)), "an answer for each place of the image, as segmentation"),
        (("float32", (1, 64, 64, 1)), "an answer for each place of the image, as segmentation"),
        (("float32", (1, 21, 65, 65)), "an answer for each place of the image, as segmentation"),
        (("float32", (1, 84, 100)), "rows of numbers, as object detectors (YOLO) and pose models have them"),
        (("float32", (1, 1, 17, 3)), "rows of numbers, as object detectors (YOLO) and pose models have them"),
    ],
)
def test_what_answers_with_no_classes_is_refused_by_what_it_looks_like(
    tmp_path: Path, answer: Tensor, likeness: str
) -> None:
    told = refusal(tmp_path, tiny([IMAGE], [answer]))
    assert told.startswith(
        f"not an image classifier: its output is {list(answer[1])}, not [batch, classes]: "
    )
    assert likeness in told


@pytest.mark.parametrize("outputs", [DETECTIONS, ANCHORS])
def test_an_object_detector_is_told_by_what_its_outputs_have_in_common(
    tmp_path: Path, outputs: list[Tensor]
) -> None:
    told = refusal(tmp_path, tiny([IMAGE], outputs))
    assert told.startswith("not an image classifier, but an object detector (boxes, and what is in them)")


def test_outputs_that_cannot_be_told_apart_are_listed_with_what_they_look_like(tmp_path: Path) -> None:
    content = tiny([IMAGE], [CLASSES, ("float32", (1, 8, 8, 32))])
    told = refusal(tmp_path, content)
    assert "0 out0 [1, 10] (10 numbers without an activation: scores, an embedding or a measure); " in told
    assert "1 out1 [1, 8, 8, 32] (an answer for each place of the image, " in told
    assert "its output is [1, 8, 8, 32] of output 1" in refusal(tmp_path, content, ModelOverrides(output=1))
    (tmp_path / "m.yaml").write_text("output: 0")
    assert len(open_model(tmp_path / "m.tflite").spec.labels) == 10


def test_a_model_of_several_inputs_is_refused_with_their_shapes(tmp_path: Path) -> None:
    tokens: Tensor = ("int32", (1, 384))
    told = refusal(tmp_path, tiny([tokens, tokens, tokens], [CLASSES]))
    assert told.startswith("not an image classifier: 3 inputs, not one: in0 [1, 384], in1 [1, 384], in2 [")


@pytest.mark.slow
def test_a_refusal_is_one_line_of_the_command(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny([IMAGE], [CLASSES], "edgetpu-custom-op"))
    done = dropsight("inspect", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"dropsight: {path}: compiled for the Edge TPU: give the .tflite ")
    assert len(done.stderr.splitlines()) == 1
