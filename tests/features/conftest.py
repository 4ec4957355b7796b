"""A tiny encoder with a cache of its frame features."""

from pathlib import Path

import pytest

from made import PIXELS, tiny_visual
from texthead.encoders.encoder import VisualEncoder
from texthead.features.cache import FeatureCache, encoder_key


@pytest.fixture(scope="session")
def visual() -> VisualEncoder:
    return tiny_visual()


@pytest.fixture
def cache(visual: VisualEncoder, tmp_path: Path) -> FeatureCache:
    return FeatureCache(encoder_key(visual, PIXELS), tmp_path / "cache")
