"""Rows of a head for texthead: `texthead train DATA --head signs`."""

import torch


def signs(inputs):
    """Return rows of plus and minus ones, drawn from the recipe's seed: one row of `encoder.dim` numbers per label."""
    shape = (len(inputs.labels), inputs.encoder.dim)
    return torch.randint(2, shape, generator=inputs.generator()) * 2.0 - 1
