"""Published encoders: a table whose rows can be loaded."""

from texthead.commands.encoders import published_encoders
from texthead.encoders.figures import FIGURE_SOURCES, EncoderFigures, figures_of, published_figures


def test_figures_name_encoder_and_source() -> None:
    known = {each.source.replace("-quickgelu/", "/") for each in published_encoders()}
    architectures = {source.partition("/")[0] for source in known}
    for source, row in published_figures().items():
        assert source in known | architectures, source
        assert ("imagenet" in row or "kinetics" in row) == ("figures" in row), source
        assert row.get("figures", "pe") in FIGURE_SOURCES
    assert {row["figures"] for row in published_figures().values() if "figures" in row} == set(FIGURE_SOURCES)
    assert all(url.startswith("https://") for url in FIGURE_SOURCES.values())


def test_figures_of_weights_and_architecture() -> None:
    result = figures_of("openclip:PE-Core-B-16/meta", "hub")
    assert (result.kind, result.parameters, result.size) == ("image-text", 447_660_000, 224)
    assert (result.imagenet, result.kinetics, result.figures, result.licence) == (78.4, 65.6, "pe", "apache-2.0")
    assert result.download == 4 * 447_660_000
    assert figures_of("openclip:ViT-B-16-SigLIP2/webli", "").kind == "image-text multilingual"
    # The tag decides the activation, not the name.
    quick, plain = (figures_of(f"openclip:ViT-B-16{name}/openai", "") for name in ("-quickgelu", ""))
    assert quick.imagenet == plain.imagenet == 68.34
    unknown = figures_of("grid:...", "package grids")
    assert unknown == EncoderFigures(source="grid:...", weights="package grids")
    assert unknown.download is None
