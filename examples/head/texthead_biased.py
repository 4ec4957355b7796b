"""A head with state for texthead: `texthead train DATA --head biased`."""

import torch

import texthead as th


class BiasedHead(th.FrozenHead):
    """Scores of a frozen text head plus a learned number for each class."""

    def __init__(self, weight, *, limit=1.0, **options):
        super().__init__(weight, **options)
        self.bias, self.limit = torch.nn.Parameter(torch.zeros(len(weight))), limit

    @classmethod
    def from_inputs(cls, inputs):
        """Return the head before training."""
        return cls(inputs.encoder.text_rows(inputs.prompts), kind="biased", **inputs.options)

    def config(self):
        """Return what `recipe.json` stores about the head, from which `from_config` makes it again."""
        return {**super().config(), "limit": self.limit}

    def rows(self):
        """Return None, since the classes of such a head cannot be edited."""
        return

    def forward(self, features):
        """Return the scores of the features, one per class."""
        return super().forward(features) + self.bias.clamp(-self.limit, self.limit)
