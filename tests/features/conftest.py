"""A tiny encoder with a cache of its frame features."""

from pathlib import Path

import pytest

from made import PIXELS, tiny_visual
from texthead.encoders.encoder import Visual
from texthead.features.cache import FeatureCache, encoder_key


@pytest.fixture(scope="session")
def visual() -> Visual:
    return tiny_visual()


@pytest.fixture
def cache(visual: Visual, tmp_path: Path) -> FeatureCache:
    return FeatureCache(encoder_key(visual, PIXELS), tmp_path / "cache")
