"""Aspect-ratio buckets: sizes that images of all shapes are brought to, each of about as many pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Frame:
    """The size, in pixels, that an image is resized to and cropped at the centre for.

    Without a ``step`` all images become ``size`` x ``size``. With one, an image becomes the bucket whose aspect ratio
    is nearest to its own: sides are multiples of ``step`` from half of ``size`` to twice it, and each width has the
    largest height under which the bucket has at most ``size`` squared pixels.

    Source: the buckets of sd-scripts, whose step is 64 px.
    """

    size: int
    step: int | None = None

    @cached_property
    def buckets(self) -> list[tuple[int, int]]:
        """The sizes ``(width, height)`` that images can become."""
        if self.step is None:
            return [(self.size, self.size)]
        least, most = -(-self.size // (2 * self.step)), 2 * self.size // self.step
        found = {(self.size, self.size)}
        for wide in range(least, most + 1):
            high = min(most, self.size**2 // (wide * self.step**2))
            if high >= least:
                found |= {(wide * self.step, high * self.step), (high * self.step, wide * self.step)}
        return sorted(found)

    def of(self, width: int, height: int) -> tuple[int, int]:
        """Return the size ``(width, height)`` that an image of this one becomes; of equally near ones, the first."""
        return min(self.buckets, key=lambda bucket: abs(bucket[0] / bucket[1] - width / height))
