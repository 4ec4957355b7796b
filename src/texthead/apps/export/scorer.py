"""The exported module: crops, model and the average over views."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from texthead import Protocol, Recognizer
from texthead.data import crop_offsets
from texthead.evaluation import average_views


class Scorer(nn.Module):
    """Score clips of scaled uint8 frames; includes crops, normalisation and the average over views."""

    def __init__(self, model: Recognizer, protocol: Protocol):
        super().__init__()
        self.model = model
        self.protocol = protocol

    def forward(self, clips: UInt8[Tensor, "batch clips frames height width 3"]) -> Float[Tensor, "batch classes"]:
        """Return one score per item and class."""
        return self.score_views(self.crops(clips))

    def crops(
        self, clips: UInt8[Tensor, "batch clips frames height width 3"]
    ) -> UInt8[Tensor, "batch views frames 3 size size"]:
        """Return the crops of each clip, as `view_crops` does, but for frame sizes unknown to torch.export."""
        size, views = self.protocol.sizes.size, self.protocol.views
        height, width = clips.shape[3:5]
        if views.crops == 3 and views.along == "long-side":
            # The short side is `size`, so one offset is 0.
            x, y = (width - size) // 2, (height - size) // 2
            boxes = [(x * k, y * k) for k in (0, 2, 1)]
        else:
            boxes = crop_offsets(width, height, size, views.crops, floor=self.protocol.sizes.floor)
        side = torch.arange(size, device=clips.device)
        cuts = [clips.index_select(3, side + y).index_select(4, side + x) for x, y in boxes]
        return torch.stack(cuts, 2).flatten(1, 2).movedim(-1, 3)

    def score_views(self, views: UInt8[Tensor, "batch views frames 3 size size"]) -> Float[Tensor, "batch classes"]:
        """Return the scores of cropped views."""
        features = self.model.features(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        return average_views(features, self.model.head, pooling=self.protocol.pooling)
