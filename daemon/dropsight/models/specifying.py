"""A model as its backends say what it is: its input, its answers, what each of them means."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from dropsight.models.describing import Description, OwnFacts, describe
from dropsight.models.groups import find_groups
from dropsight.models.image_input import ImageInput
from dropsight.models.label_files import labels_in, unnamed
from dropsight.models.outputs import Chosen, Output, choose
from dropsight.models.overrides import ModelOverrides
from dropsight.models.sidecar import Sidecar, read_sidecar
from dropsight.models.spec import HeadSpec, ModelSpec
from dropsight.models.thresholds import thresholds_of


class FileFacts(msgspec.Struct, frozen=True):
    """What a file is, and what computes it."""

    format: str
    backend: str
    quantization: str
    digest: str


def specify(
    path: Path,
    said: ModelOverrides,
    *,
    file: FileFacts,
    image: ImageInput,
    outputs: Sequence[Output],
    own: OwnFacts,
) -> tuple[ModelSpec, list[int]]:
    """Choose among the outputs and describe the model; return the numbers of those, the main answer's first.

    Raises ModelError where the facts do not fit each other, or leave open what its answer is.
    """
    sidecar = read_sidecar(path) or Sidecar()
    chosen = choose(path, said, sidecar, outputs)
    main = chosen[0].output
    found = describe(
        path,
        msgspec.structs.replace(said, labels=chosen[0].labels or said.labels),
        tensor=image.tensor,
        image=image,
        classes=main.classes,
        answer=main,
        own=own,
    )
    bare = msgspec.structs.replace(_of_one_answer(path, file, image, main, found), outputs=len(outputs))
    return _with_meanings(bare, said, sidecar, chosen, found), [each.number for each in chosen]


def _of_one_answer(
    path: Path, file: FileFacts, image: ImageInput, main: Output, found: Description
) -> ModelSpec:
    return ModelSpec(
        name=path.stem,
        path=path,
        format=file.format,
        backend=file.backend,
        quantization=file.quantization,
        digest=file.digest,
        input=image.tensor,
        output=main.tensor,
        activation=main.activation,
        labels=found.labels,
        labels_from=found.labels_from,
        normalization=found.normalization,
        normalization_from=found.normalization_from,
        temperature=found.temperature,
        golden=found.golden,
        layout=image.layout,
        layout_from=image.layout_from,
        taken=image.taken,
        size_from=image.size_from,
        color_order=found.color_order,
        color_order_from=found.color_order_from,
        framing=found.framing,
        framing_from=found.framing_from,
    )


def _with_meanings(
    spec: ModelSpec, said: ModelOverrides, sidecar: Sidecar, chosen: Sequence[Chosen], found: Description
) -> ModelSpec:
    """Add its heads, and what follows from their classes' probabilities: presence, groups, unknown, sets."""
    heads = _heads_of(chosen, found)
    labels = [head.labels for head in heads] or [found.labels]
    wanted = {str(name): least for name, least in sidecar.thresholds.items()} | said.thresholds
    answers = [(each.output, names) for each, names in zip(chosen, labels, strict=True)]
    thresholds, without_effect = thresholds_of(spec.path, wanted, answers)
    groups = find_groups(spec.path, said, sidecar, found.names, multi_label=bool(thresholds[0]))
    return msgspec.structs.replace(
        spec,
        heads=tuple(
            msgspec.structs.replace(head, thresholds=each)
            for head, each in zip(heads, thresholds, strict=False)
        ),
        thresholds=thresholds[0],
        groups=groups.groups,
        groups_from=groups.source,
        unknown=sidecar.unknown,
        sets=sidecar.prediction_set,
        faults=(*found.names.faults, *without_effect, *groups.faults),
    )


def _heads_of(chosen: Sequence[Chosen], main: Description) -> tuple[HeadSpec, ...]:
    """Describe each of several heads, the first of which is the main answer; none where there are none."""
    heads: list[HeadSpec] = []
    start = 0
    for each in chosen if chosen[0].name else ():
        labels, labels_from = main.labels, main.labels_from
        if heads:
            labels, labels_from = _labels_of_head(each)
        stop = start + each.output.columns
        heads.append(
            HeadSpec(
                name=each.name,
                output=each.output.tensor,
                activation=each.output.activation,
                labels=labels,
                labels_from=labels_from,
                columns=(start, stop),
            )
        )
        start = stop
    return tuple(heads)


def _labels_of_head(head: Chosen) -> tuple[tuple[str, ...], str]:
    if head.labels is None:
        return unnamed(head.output.classes), "default"
    return labels_in(head.labels, head.output.classes), str(head.labels)
