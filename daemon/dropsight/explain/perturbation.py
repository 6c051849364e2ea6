"""Maps without gradients, for any model as it runs: occlusion and RISE."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dropsight.explain.heatmap import Heatmap, normalized
from dropsight.images.framing import Pixels

# (n, height, width, 3) RGB uint8 of the model's input size -> (n, classes) probabilities
Classify: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.floating]]

Item = TypeVar("Item")

BATCH = 16
GRAY = 127


class OcclusionMap:
    """How much the class's probability falls when a gray square hides a place (Zeiler and Fergus 2014)."""

    def __init__(
        self, classify: Classify, *, square: int = 48, step: int = 16, show_progress: bool = False
    ) -> None:
        """`square` and `step` in pixels of the model's input."""
        self._classify, self._square, self._step, self._show = classify, square, step, show_progress

    def compute_heatmap(self, pixels: Pixels, class_idx: int) -> Heatmap:
        """Return (height, width) of the pixels, which are of the model's input size."""
        return self.compute_heatmaps(pixels, [class_idx])[0]

    def compute_heatmaps(self, pixels: Pixels, classes: Sequence[int]) -> list[Heatmap]:
        """As `compute_heatmap`, by the same invokes for all classes."""
        height, width = pixels.shape[:2]
        corners = [
            (top, left)
            for top in range(-self._square // 2, height - self._square // 4, self._step)
            for left in range(-self._square // 2, width - self._square // 4, self._step)
        ]
        sure = self._classify(pixels[np.newaxis])[0, classes]
        falls, covers = np.zeros((height, width, len(classes))), np.zeros((height, width, 1))
        from tqdm import tqdm  # not needed before

        with tqdm(total=len(corners), unit="img", disable=not self._show, desc="occlusion") as progress:
            for group in _groups(corners):
                hidden = np.stack([self._hide(pixels, corner) for corner in group])
                for corner, found in zip(group, self._classify(hidden)[:, classes], strict=True):
                    place = self._place(corner)
                    falls[place] += sure - found
                    covers[place] += 1
                progress.update(len(group))
        # A step is as fine as the answer gets: within it, no edges that are only the squares' own.
        means = np.moveaxis(falls / np.maximum(covers, 1), 2, 0)
        smooth = [cv2.GaussianBlur(mean, (0, 0), self._step / 2) for mean in means]
        return [normalized(np.asarray(each, np.float64), height=height, width=width) for each in smooth]

    def _place(self, corner: tuple[int, int]) -> tuple[slice, slice]:
        top, left = corner
        return slice(max(top, 0), top + self._square), slice(max(left, 0), left + self._square)

    def _hide(self, pixels: Pixels, corner: tuple[int, int]) -> Pixels:
        hidden = pixels.copy()
        hidden[self._place(corner)] = GRAY
        return hidden


class RiseMap:
    """The mean of random masks, each weighted by the class's probability behind it (Petsiuk et al. 2018).

    A mask is a coarse grid of 0 and 1 (1 with probability `kept`), enlarged smoothly and shifted.
    """

    def __init__(
        self,
        classify: Classify,
        *,
        masks: int = 1000,
        cells: int = 7,
        kept: float = 0.5,
        seed: int = 0,
        show_progress: bool = False,
    ) -> None:
        self._classify, self._masks, self._cells, self._kept = classify, masks, cells, kept
        self._seed, self._show = seed, show_progress

    def compute_heatmap(self, pixels: Pixels, class_idx: int) -> Heatmap:
        """Return (height, width) of the pixels, which are of the model's input size."""
        return self.compute_heatmaps(pixels, [class_idx])[0]

    def compute_heatmaps(self, pixels: Pixels, classes: Sequence[int]) -> list[Heatmap]:
        """As `compute_heatmap`, by the same invokes for all classes."""
        height, width = pixels.shape[:2]
        chance = np.random.default_rng(self._seed)
        total, weights = np.zeros((len(classes), height, width)), np.zeros((len(classes), 1, 1))
        plain = np.zeros((height, width))
        from tqdm import tqdm  # not needed before

        with tqdm(total=self._masks, unit="img", disable=not self._show, desc="RISE") as progress:
            for group in _groups(list(range(self._masks))):
                masks = np.stack([self._mask(chance, height, width) for _ in group])
                gray = GRAY * (1 - masks[..., np.newaxis])
                shown = np.round(pixels * masks[..., np.newaxis] + gray).astype(np.uint8)
                found = self._classify(shown)[:, classes]
                total += np.tensordot(found.T, masks, axes=1)
                plain += masks.sum(axis=0)
                weights += found.sum(axis=0)[:, np.newaxis, np.newaxis]
                progress.update(len(group))
        # Less what chance alone would give: what is left is where seeing the place made a difference.
        return [normalized(raw, height=height, width=width) for raw in total - weights * plain / self._masks]

    def _mask(self, chance: "np.random.Generator", height: int, width: int) -> NDArray[np.float32]:
        grid = (chance.random((self._cells + 1, self._cells + 1)) < self._kept).astype(np.float32)
        cell_height, cell_width = -(-height // self._cells), -(-width // self._cells)
        size = ((self._cells + 1) * cell_width, (self._cells + 1) * cell_height)
        smooth = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR)
        top, left = int(chance.integers(cell_height)), int(chance.integers(cell_width))
        return smooth[top : top + height, left : left + width].astype(np.float32)


def _groups(items: list[Item]) -> Iterator[list[Item]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
