"""Log the numbers of `metrics.jsonl` to TensorBoard during training."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from texthead.errors import RunError
from texthead.extras import needs

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardLog:
    """A TensorBoard writer; the first record replaces its folder, since a resumed run adds its earlier records again.

    Raises:
        RunError: tensorboard is not installed.
    """

    def __init__(self, folder: Path):
        with needs("tensorboard", "tensorboard=True"):
            import tensorboard  # noqa: F401
        self.folder = folder
        self._writer: SummaryWriter | None = None

    def add(self, record: dict) -> None:
        """Write every number of a record at its step, as `train/loss` and `val/top1`.

        Raises:
            RunError: the folder cannot be written.
        """
        if "step" not in record:
            return
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                if self.folder.is_dir():
                    shutil.rmtree(self.folder)
                self._writer = SummaryWriter(str(self.folder))
            for key, value in record.items():
                if isinstance(value, int | float) and key not in ("step", "epoch"):
                    self._writer.add_scalar(f"{record['kind']}/{key}", value, record["step"])
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error.strerror}); leave out `tensorboard`") from None

    def __enter__(self) -> "TensorBoardLog":
        return self

    def __exit__(self, *_: object) -> None:
        """Flush and close the writer."""
        if self._writer is not None:
            self._writer.close()
