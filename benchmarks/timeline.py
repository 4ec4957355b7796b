"""Events of videos that are joined from labelled clips, against the joins; hysteresis and argmax.

    python -m benchmarks.timeline [--data ../shared/data] [--joins 12]

Sets: "drawn" are the demo's videos with longer clips (3 s, 8 objects as classes), "airborne" real clips (2.5 s, 4
classes). A run is trained on the training split (frozen encoder, otherwise the small recipe), a join is eight clips of
the test split, neighbours of different classes. With "unknown clips between" every second clip has no class of the
run (drawn: the background alone; airborne: skateboarding), where every event is wrong. Events are matched to clips of
their class at an overlap (intersection over union in time) of 0.5 or more. Intervals are 95 % t-intervals over joins; a
difference is paired by join. Joins share clips and the run, so the intervals are of joins of these clips.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps

import texthead as th
from benchmarks.choosing import mean_and_half
from benchmarks.videos import Frames, whole
from texthead.apps.demo import drawn_videos
from texthead.apps.timeline.events import Event, Hysteresis, Interval, events_of
from texthead.apps.timeline.timeline import Sliding
from texthead.data.dataset import Dataset, Item
from texthead.prediction.run import Run

CLIPS, OVERLAP = 8, 0.5


class Clip(NamedTuple):
    """Frames with a label; None for an unknown clip."""

    label: str | None
    frames: Frames


class Join(NamedTuple):
    """A video, its frames per second, and its true events: (label, start, end) in seconds."""

    path: Path
    fps: int
    truth: list[tuple[str, float, float]]


class EventScore(NamedTuple):
    """Quality of events: F1 in percent, and the error of each matched boundary in seconds."""

    f1: float
    off: list[float]


# --- videos


def drawn(folder: Path) -> Dataset:
    """Draw videos with objects as classes; the two training clips of a combination are two groups."""
    data = th.read_dataset(drawn_videos.draw_videos(folder, train=2, test=1, frames=24))

    def by_object(item: Item) -> Item:
        return replace(item, labels=(" ".join(item.label.split()[:2]),), group=item.path.stem)

    return replace(data, items=tuple(map(by_object, data.items)))


def airborne(data: Path) -> Dataset:
    """Return the real clips."""
    return th.read_dataset(data / "video/airborne/clips.csv")


def strangers(name: str, data: Path | None, size: int, count: int, rng: np.random.Generator) -> list[Clip]:
    """Return clips of no class."""
    if name == "drawn":
        empty = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
        return [
            Clip(None, drawn_videos.animate(empty, "spinning", frames=24, size=size, rng=rng)) for _ in range(count)
        ]
    assert data is not None, "real clips have a folder"
    items = th.read_dataset(data / "video/skate_tricks/clips.csv").items
    chosen = [items[int(i)].path for i in rng.permutation(len(items))[:count]]
    return [Clip(None, np.stack([fitted(frame, size) for frame in whole(path)])) for path in chosen]


def fitted(frame: np.ndarray, size: int) -> np.ndarray:
    """A frame as a square."""
    return np.asarray(ImageOps.fit(Image.fromarray(frame), (size, size)))


def join(path: Path, data: Dataset, others: Sequence[Clip], fps: int, rng: np.random.Generator) -> Join:
    """Eight clips one after the other, no two neighbours of a class, with strangers between where there are some."""
    items = [data.items[int(i)] for i in rng.permutation(len(data.items))]
    chosen: list[Item] = []
    while len(chosen) < CLIPS:
        last = chosen[-1].label if chosen else None
        chosen.append(next(item for item in items if item.label != last and item not in chosen))
    clips: list[Clip] = []
    for number, item in enumerate(chosen):
        clips += [Clip(item.label, np.stack(whole(item.path))), *others[number : number + 1]]
    edges = np.cumsum([0, *(len(clip.frames) for clip in clips)]) / fps
    truth = [
        (clip.label, float(a), float(b)) for clip, (a, b) in zip(clips, pairwise(edges), strict=True) if clip.label
    ]
    write(path, np.concatenate([clip.frames for clip in clips]), fps)
    return Join(path, fps, truth)


def write(path: Path, frames: Frames, fps: int) -> None:
    """Write the frames as h264."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18", "threads": "1"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())


def joins(
    name: str, data: Dataset, folder: Path, clips: Path | None, count: int, *, mixed: bool, seed: int
) -> Iterator[Join]:
    """Yield `count` joined videos."""
    fps, size = (drawn_videos.FPS, 112) if name == "drawn" else (30, 240)
    for number in range(count):
        rng = np.random.default_rng([seed, number, mixed])
        others = strangers(name, clips, size, CLIPS, rng) if mixed else []
        yield join(folder / f"{name}-{mixed:d}-{seed}-{number}.mp4", data, others, fps, rng)


# --- scores


def trained(data: Dataset, out: Path) -> Run:
    """Train a run of the small recipe on a frozen encoder."""
    encoder = th.load_encoder("mini")
    recipe = th.recipes.small(tune="none")
    protocol = th.Protocol(recipe.frames, encoder.visual.spec.pixels(recipe), th.Views(origin="center"))
    center = th.FrozenEncoder(encoder, protocol).items(data).features.mean(0)
    head = th.text_head(encoder, data.classes, center=center)
    temporal = th.TemporalTransformer(encoder.dim, layers=2, width=256)
    temporal.reset(torch.Generator().manual_seed(0))
    model = th.Recognizer(encoder.visual, temporal, head)
    th.fine_tune(model, data, None, recipe, out=out)
    return th.load_run(out)


def by_argmax(rows: Sequence[Interval], names: Sequence[str]) -> list[Event]:
    """Return the best class of each window, neighbours of one class joined: no threshold, no shortest length."""
    events: list[Event] = []
    for row in rows:
        name, best = names[int(np.argmax(row.scores))], max(row.scores)
        if events and events[-1].name == name:
            events[-1] = replace(events[-1], end=row.end, peak=max(best, events[-1].peak))
        else:
            events.append(Event(name, row.start, row.end, best, best))
    return events


def match_events(events: Sequence[Event], video: Join) -> EventScore:
    """Compare events with the truth: each clip is matched at most once, best overlaps first."""
    pairs = [(overlap(event, true), i, k) for i, event in enumerate(events) for k, true in enumerate(video.truth)]
    matched: dict[int, int] = {}
    for share, i, k in sorted(pairs, reverse=True):
        if share >= OVERLAP and i not in matched and k not in matched.values():
            matched[i] = k
    off = [
        abs(a - b)
        for i, k in matched.items()
        for a, b in ((events[i].start, video.truth[k][1]), (events[i].end, video.truth[k][2]))
    ]
    return EventScore(200 * len(matched) / max(1, len(events) + len(video.truth)), off)


def overlap(event: Event, true: tuple[str, float, float]) -> float:
    """Return the intersection over union in time, 0 for another class."""
    name, start, end = true
    common = min(event.end, end) - max(event.start, start)
    return max(0.0, common) / (max(event.end, end) - min(event.start, start)) if event.name == name else 0.0


# --- tables


def sets(folder: Path, data: Path | None, chosen: Sequence[str]) -> dict[str, Dataset]:
    """Return the chosen sets that are available."""
    result = {"drawn": drawn(folder / "drawn")} if "drawn" in chosen else {}
    return result | ({"airborne": airborne(data)} if data and "airborne" in chosen else {})


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Print a line for each set and kind of joins."""
    print("| set | joins | F1 | F1 of argmax | gain | boundary error, s: mean | median | of argmax: mean | median |")
    print("|---" * 9 + "|")
    for name, data in sets(folder, options.data, options.sets).items():
        run = trained(data.split("train"), folder / f"{name}-run")
        names = run.model.names
        for mixed in (False, True):
            ours, argmax = list[EventScore](), list[EventScore]()
            for video in joins(name, data.split("test"), folder, options.data, options.joins, mixed=mixed, seed=0):
                rows = [*th.find_events(run, video.path, Sliding()).intervals]
                ours.append(match_events(events_of(rows, names, Hysteresis()), video))
                argmax.append(match_events(by_argmax(rows, names), video))
            kind = f"{options.joins}, unknown clips between" if mixed else f"{options.joins}"
            gain = "{:+.1f} ±{:.1f}".format(*mean_and_half([a.f1 - b.f1 for a, b in zip(ours, argmax, strict=True)]))
            f1 = ["{:.1f} ±{:.1f}".format(*mean_and_half([each.f1 for each in way])) for way in (ours, argmax)]
            print(f"| {' | '.join([name, kind, *f1, gain, *off(ours), *off(argmax)])} |", flush=True)


def off(videos: Sequence[EventScore]) -> tuple[str, str]:
    """Return the mean boundary error in seconds, with its interval over videos, and the median."""
    mean, half = mean_and_half([float(np.mean(each.off)) for each in videos if each.off])
    return f"{mean:.2f} ±{half:.2f}", f"{float(np.median([off for each in videos for off in each.off])):.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--joins", type=int, default=12)
    parser.add_argument("--sets", nargs="+", choices=("drawn", "airborne"), default=("drawn", "airborne"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


if __name__ == "__main__":
    main()
