"""Numbers to tensors and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dropsight.inference.preparing import lookup_table, shift_of
from dropsight.models.backends import locate
from dropsight.models.litert import open_tflite
from dropsight.models.overrides import ModelOverrides
from dropsight.models.quantization import dequantize, quantize
from dropsight.models.spec import ModelOptions, TensorSpec
from dropsight.models.tflite_tensors import values_of

INTEGERS = [np.int8, np.uint8, np.int16]


def tensor(dtype: type, scale: float = 0.0, zero_point: int = 0) -> TensorSpec:
    return TensorSpec("t", (1, 1), np.dtype(dtype), scale, zero_point)


@given(st.sampled_from(INTEGERS), st.data())
def test_every_quantized_value_survives_the_way_back_and_forth(dtype: type, data: st.DataObject) -> None:
    limits = np.iinfo(np.dtype(dtype).name)
    numbers = st.integers(int(limits.min), int(limits.max))
    zero_point, value = data.draw(numbers), data.draw(numbers)
    spec = tensor(dtype, data.draw(st.floats(1e-4, 10)), zero_point)
    quantized: NDArray[np.generic] = np.array([value], dtype)
    assert quantize(dequantize(quantized, spec), spec)[0] == value


@given(st.sampled_from(INTEGERS), st.floats(-1e6, 1e6), st.floats(1e-3, 10), st.integers(-100, 100))
def test_the_error_is_at_most_half_a_step_or_the_value_is_clipped(
    dtype: type, real: float, scale: float, zero_point: int
) -> None:
    spec = tensor(dtype, scale, zero_point)
    limits = np.iinfo(np.dtype(dtype).name)
    quantized = quantize(np.array([real]), spec)
    if limits.min < quantized[0] < limits.max:
        assert abs(dequantize(quantized, spec)[0] - real) <= scale * 0.5001 + 1e-5 * abs(real)


def test_halves_round_away_from_zero_and_ends_are_clipped() -> None:
    found = quantize(np.array([0.5, -0.5, 1.5, 1000.0, -1000.0]), tensor(np.int8, 1.0))
    assert found.tolist() == [1, -1, 2, 127, -128]


def test_int8_does_not_wrap_around_when_its_zero_point_is_taken_off() -> None:
    assert dequantize(np.array([127], np.int8), tensor(np.int8, 1 / 256, -128))[0] == pytest.approx(255 / 256)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_tensors_of_floats_are_cast_only(dtype: type) -> None:
    found = quantize(np.array([0.25, -3.0]), tensor(dtype))
    assert found.dtype == dtype
    assert dequantize(found, tensor(dtype)).tolist() == [0.25, -3.0]


def test_the_table_of_the_built_in_model_is_the_pixel_less_128() -> None:
    """(p - 127) / 128 at scale 1/128 and zero point -1."""
    spec = open_tflite(
        locate("builtin:efficientnet_lite0"), said=ModelOverrides(), options=ModelOptions()
    ).spec
    table = lookup_table(spec)
    assert table.shape == (256, 3)
    assert table.dtype == np.int8
    assert (table == np.arange(-128, 128)[:, np.newaxis]).all()


def test_only_tables_that_add_a_constant_become_a_sum() -> None:
    pixels = np.arange(256)[:, np.newaxis].repeat(3, axis=1)
    assert shift_of((pixels - 128).astype(np.int8)) == 128
    assert shift_of(pixels.astype(np.uint8)) == 0
    assert shift_of((pixels // 2).astype(np.int8)) is None
    assert shift_of(np.add(pixels, [0, 0, 1]).astype(np.uint8)) is None
    assert shift_of((pixels / 255).astype(np.float32)) is None


@given(st.sampled_from([np.int8, np.uint8]), st.floats(1e-6, 10), st.data())
def test_the_table_of_an_8_bit_output_dequantizes_to_the_last_bit(
    dtype: type, scale: float, data: st.DataObject
) -> None:
    limits = np.iinfo(np.dtype(dtype).name)
    spec = tensor(dtype, scale, data.draw(st.integers(int(limits.min), int(limits.max))))
    every: NDArray[np.generic] = np.arange(limits.min, limits.max + 1).astype(dtype)
    table = values_of(spec)
    assert table is not None
    assert np.array_equal(table[every.view(np.uint8)], dequantize(every, spec))
