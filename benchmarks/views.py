"""Compare an evaluation with 4x3 views with one of a single view, decoding included; count how often videos open.

    python -m benchmarks views [--rounds 5]

`mini` at 224 pixels, 8 frames a view, drawn videos of 340x256 pixels and 10 seconds with a key frame every 250 frames.
The unit is the forward pass of a single view in memory: 12 views are 12 of them, and decoding comes on top.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch

import texthead as th
from benchmarks import videos
from benchmarks.rounds import Section, interleaved, judge, milliseconds, own_peak_mb, ratios, table, timed
from texthead.data.clips import ViewClips
from texthead.data.protocol import Pixels
from texthead.evaluation import evaluate
from texthead.media.paths import MediaPath
from texthead.media.reader import Media
from texthead.models.temporal import MeanPool

FRAMES, GOP, CLASSES = 8, 250, 8
MANY = th.Views(4, 3)
FORWARD, ONE, ALL = "forward pass of one view (frames in memory)", "evaluation, 1x1", f"evaluation, {MANY}"


@contextmanager
def counted() -> Iterator[list[Path]]:
    """Collect the files that evaluations open inside the block, in order."""
    opened: list[Path] = []
    original = MediaPath.open

    def opening(media: MediaPath, **options: bool) -> Media:
        opened.append(media.path)
        return original(media, **options)

    with mock.patch.object(MediaPath, "open", opening):
        yield opened


def measure(rounds: int, clips: int, seconds: int = 10, pixels: Pixels | None = None) -> str:
    """Return the tables, and how often videos were opened."""
    encoder = th.load_encoder("mini")
    pixels = pixels or encoder.visual.spec.pixels()
    weight = torch.randn(CLASSES, encoder.dim, generator=torch.Generator().manual_seed(0))
    names = [f"class {i}" for i in range(CLASSES)]
    model = th.Recognizer(encoder.visual, MeanPool(), th.FrozenHead(weight, names=names)).eval()
    with tempfile.TemporaryDirectory() as name:
        paths = [
            videos.encode(Path(name) / f"{i}.mp4", videos.drawn(seconds, i), min(GOP, seconds * videos.FPS))
            for i in range(clips)
        ]
        data = th.Dataset(tuple(th.Item(path, (names[i % CLASSES],)) for i, path in enumerate(paths)))
        one_view = ViewClips(paths, th.Protocol(FRAMES, pixels))
        single = [one_view[index] for index in range(clips)]

        @torch.inference_mode()
        def forward() -> None:
            for clip in single:
                model(clip)

        def evaluation(views: th.Views) -> None:
            evaluate(model, data, th.Protocol(FRAMES, pixels, views))

        ways = {FORWARD: forward, ONE: lambda: evaluation(th.Views()), ALL: lambda: evaluation(MANY)}
        costs = interleaved({title: timed(run, per=clips) for title, run in ways.items()}, rounds)
        with counted() as opened:
            evaluation(MANY)
    rows = [[title, *milliseconds(costs[title], 0)] for title in ways]
    against = [
        [f"{ALL} / {other}", clock, *judge(ratios(costs, ALL, other, clock), at_most=most)]
        for other, most in ((FORWARD, 12.5), (ONE, None))
        for clock in ("wall", "cpu")
    ]
    opened_files = f"Files opened to evaluate {clips} videos by {MANY}: {len(opened)}, each frame decoded once."
    first = table(["per video", "ms", "CPU-ms"], rows)
    return f"{first}\n\n{table(['ratio', 'time', 'median (min-max)', 'target'], against)}\n\n{opened_files}"


def section(rounds: int, _: Path) -> Section:
    """Measure two videos."""
    about = f"`mini` at 224 pixels, {FRAMES} frames a view, {torch.get_num_threads()} threads."
    text = measure(rounds, clips=2)
    return Section(
        f"## Multi-view evaluation\n\n{about}\n\n{text}\n\nPeak memory of the script: {own_peak_mb():.0f} MB."
    )
