"""Scores to ranked predictions."""

from math import exp, sqrt

import numpy as np
import pytest
from msgspec.structs import replace

from dropsight.inference.ranking import merge, predictions, probabilities, softmax
from dropsight.models.backends import open_model
from dropsight.models.spec import Activation, ModelSpec, TensorSpec

SPEC = open_model("builtin:efficientnet_lite0").spec


def ending_in(activation: Activation, *, scale: float = 0.0, temperature: float = 1.0) -> ModelSpec:
    output = TensorSpec("out", (1, 2), np.dtype(np.float32), scale)
    return replace(SPEC, activation=activation, output=output, temperature=temperature)


def scores(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def test_softmax_of_large_logits_does_not_overflow() -> None:
    assert softmax(scores(1000, 1000)).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("activation", ["none", "softmax", "logistic"])
def test_at_the_least_temperature_that_there_is_the_likeliest_class_has_all(activation: Activation) -> None:
    """The limit of softmax(x / T) for T to 0; T itself is 0 in 32 bits."""
    with np.errstate(over="ignore"):
        found = probabilities(scores(0.75, 0.25), ending_in(activation), 1e-308)
    assert found.tolist() == [[1.0, 0.0]]


def test_logits_are_divided_by_the_temperature() -> None:
    found = probabilities(scores(2.0, 0.0), ending_in("none"), 2.0)
    assert found[0, 0] == pytest.approx(exp(1) / (exp(1) + 1))


def test_the_temperature_of_config_and_sidecar_multiply() -> None:
    found = probabilities(scores(4.0, 0.0), ending_in("none", temperature=2.0), 2.0)
    assert found[0, 0] == pytest.approx(exp(1) / (exp(1) + 1))


def test_probabilities_of_an_integer_model_are_never_renormalised() -> None:
    spec = ending_in("softmax", scale=1 / 256)
    assert probabilities(scores(0.25, 0.25), spec, 1.0).tolist() == [[0.25, 0.25]]


def test_a_softmax_is_tempered_through_its_logarithms() -> None:
    found = probabilities(scores(0.8, 0.2), ending_in("softmax"), 2.0)
    assert found[0, 0] == pytest.approx(2 / 3)


def test_zeros_of_an_integer_softmax_share_what_is_left_up_to_half_a_step() -> None:
    spec = ending_in("softmax", scale=1 / 256)
    found = probabilities(scores(0.75, *[0.0] * 500), spec, 2.0)
    share = sqrt(0.25 / 500)
    assert found[0, 0] == pytest.approx(sqrt(0.75) / (sqrt(0.75) + 500 * share))
    found = probabilities(scores(0.75, 0.0), spec, 2.0)
    assert found[0, 0] == pytest.approx(sqrt(0.75) / (sqrt(0.75) + sqrt(1 / 512)))


def test_a_temperature_near_one_changes_an_integer_model_s_answer_but_little() -> None:
    spec = ending_in("softmax", scale=1 / 256)
    values = scores(0.75, 0.125, *[0.0] * 998)
    assert probabilities(values, spec, 1.001)[0, 0] == pytest.approx(0.75, abs=0.01)


def test_a_lone_logistic_score_becomes_two_classes() -> None:
    found = probabilities(np.array([[0.75]], np.float32), ending_in("logistic"), 1.0)
    assert found.tolist() == [[0.25, 0.75]]


def test_a_tempered_logistic_keeps_its_half() -> None:
    found = probabilities(scores(0.5, 0.8), ending_in("logistic"), 2.0)
    assert found[0, 0] == pytest.approx(0.5)
    assert found[0, 1] == pytest.approx(2 / 3)


def test_views_are_merged_by_their_mean() -> None:
    assert merge(np.array([[0.5, 0.5], [1.0, 0.0]], np.float32)).tolist() == [0.75, 0.25]


def test_equals_are_ranked_by_class_index() -> None:
    found = predictions(np.array([0.25, 0.5, 0.25], np.float32), ("a", "b", "c"), 3)
    assert [each.label for each in found] == ["b", "a", "c"]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_lone_logit_is_the_logistic_of_the_second_of_two_classes(temperature: float) -> None:
    """It was always class 0, with 100 percent."""
    spec = replace(ending_in("none"), labels=("no", "yes"))
    found = probabilities(np.array([[-1.5]], np.float32), spec, temperature)
    yes = 1 / (1 + exp(1.5 / temperature))
    assert found[0].tolist() == pytest.approx([1 - yes, yes])
