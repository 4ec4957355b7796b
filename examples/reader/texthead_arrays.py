"""A reader for texthead: clips that numpy saved take part wherever texthead takes videos."""

import numpy as np

from texthead.errors import MediaError
from texthead.media import Media, check_size

RATE = 4


class Arrays(Media):
    """Clips saved by numpy: uint8 arrays (frames, height, width, 3), at four frames a second."""

    kind = "array"

    def __init__(self, path, *options):
        super().__init__(path, *options)
        try:
            self._frames = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError) as error:
            raise MediaError(path, f"cannot be read as an array ({type(error).__name__}); save it again") from None
        if self._frames.dtype != np.uint8 or self._frames.ndim != 4 or self._frames.shape[3] != 3:
            problem = f"holds {self._frames.dtype} {self._frames.shape}; save uint8 (frames, height, width, 3)"
            raise MediaError(path, problem)
        self.num_frames, height, width, _ = self._frames.shape
        check_size(path, width, height)
        self.times = [index / RATE for index in range(self.num_frames)]
        self.duration_seconds = self.num_frames / RATE

    def iter_frames(self, wanted):
        """Yield (index, frame) of each wanted frame: an array (height, width, 3) of uint8."""
        for index in wanted:
            yield index, self._frames[index]
