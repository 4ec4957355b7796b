"""Events of videos that are joined from labelled clips, against the joins; hysteresis and argmax.

    python -m benchmarks.timeline [--data ../shared/data] [--joins 12] [--out FILE.json]
    python -m benchmarks.timeline --choose [--data ../shared/data]

Sets: "drawn" are the demo's videos with longer clips (3 s, 8 objects as classes), "airborne" real clips (2.5 s, 4
classes). A run is trained on the training split (frozen encoder, otherwise the small recipe), a join is eight clips of
the test split, neighbours of different classes. With "unknown clips between" every second clip has no class of the
run (drawn: the background alone; airborne: skateboarding), where every event is wrong. Events are matched to clips of
their class at an overlap (intersection over union in time) of 0.5 or more. Intervals are 95 % t-intervals over joins; a
difference is paired by join. Joins share clips and the run, so the intervals are of joins of these clips. A second
table compares other frame rates with the default, and has their cost: CPU seconds of decoding, encoding and scoring per
minute of video, on the first joins without unknown clips, the rates one after the other on each.

`--choose` is how the defaults were chosen: the run is trained on one half of the groups of the training split, the
joins come from the other half, test clips are not opened. It prints F1 of windows and thresholds over all four kinds of
joins.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product
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
RATES = (2.0, 4.0, 8.0, 16.0)
# Joins of each set that are timed.
TIMED = 4
WINDOWS = (1.0, 1.5, 2.0, 3.0)
ENTERS, LEAVES, LENGTHS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9), (0.2, 0.3, 0.4, 0.5), (0.0, 0.25, 0.5, 1.0)


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
    """Quality of events: F1 in percent, and the error of each matched boundary in frames."""

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


def halves(data: Dataset) -> tuple[Dataset, Dataset]:
    """Halve the training items by groups: every second group of each class for training, the others for joins."""
    train = data.split("train")
    groups = {
        label: sorted({item.group or "" for item in train.items if item.label == label}) for label in train.classes
    }
    first = {(label, group) for label, members in groups.items() for group in members[::2]}
    halves_of_items = (
        [item for item in train.items if ((item.label, item.group or "") in first) == side] for side in (True, False)
    )
    fit, rest = (replace(train, items=tuple(half)) for half in halves_of_items)
    return fit, rest


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


class Remembering(torch.nn.Module):
    """An encoder that caches the features of frames: other windows of one video cost nothing."""

    def __init__(self, visual: torch.nn.Module):
        super().__init__()
        self.visual = visual
        self.seen: dict[bytes, torch.Tensor] = {}

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the features; compute those of new frames only."""
        keys = [hashlib.sha256(frame.numpy().tobytes()).digest() for frame in frames]
        for key, frame in zip(keys, frames, strict=True):
            if key not in self.seen:
                self.seen[key] = self.visual(frame[None])[0]
        return torch.stack([self.seen[key] for key in keys])


def remembering(run: Run) -> Run:
    """Return the run with such an encoder."""
    model = run.model
    return replace(run, model=th.Recognizer(Remembering(model.visual), model.temporal, model.head))


def stretches(run: Run, video: Join, sliding: Sliding) -> list[Interval]:
    """Return the scores over a joined video."""
    return [*th.find_events(run, video.path, sliding).intervals]


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
        abs(a - b) * video.fps
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
    """Print a line for each set, kind of joins and method, and one for each frame rate, as they are known."""
    values: dict[str, list[float]] = {}
    shared = "F1 | {} | boundary error, s: mean | median | frames: mean | median |"
    print(f"| set | joins | method | {shared.format('gain over argmax')}", "|---" * 9 + "|", sep="\n")
    print(
        f"| set | joins | rate | {shared.format(f'change from {Sliding().rate:g}')} CPU-s per minute |",
        "|---" * 10 + "|",
        sep="\n",
    )
    for name, data in sets(folder, options.data, options.sets).items():
        run = trained(data.split("train"), folder / f"{name}-run")
        names, quick = run.model.names, remembering(run)
        for mixed in (False, True):
            videos = list(joins(name, data.split("test"), folder, options.data, options.joins, mixed=mixed, seed=0))
            kind = f"{options.joins}, unknown clips between" if mixed else f"{options.joins}"
            rows = {rate: [stretches(quick, video, Sliding(rate=rate)) for video in videos] for rate in RATES}
            by_rate = {
                rate: [match_events(events_of(r, names, Hysteresis()), v) for r, v in zip(results, videos, strict=True)]
                for rate, results in rows.items()
            }
            usual = Sliding().rate
            argmax = [match_events(by_argmax(r, names), v) for r, v in zip(rows[usual], videos, strict=True)]
            print(line(name, kind, "hysteresis", by_rate[usual], videos[0].fps, argmax))
            print(line(name, kind, "argmax", argmax, videos[0].fps))
            costs = {} if mixed else timed(run, videos[:TIMED])
            for rate, results in by_rate.items():
                base = by_rate[usual] if rate != usual else None
                cost = "{:.1f} ±{:.1f}".format(*mean_and_half(costs[rate])) if costs else ""
                print(f"{line(name, kind, f'{rate:g}', results, videos[0].fps, base)} {cost} |", flush=True)
                values[f"{name}, {kind}, {rate:g} a second"] = [each.f1 for each in results]
            values[f"{name}, {kind}, argmax"] = [each.f1 for each in argmax]
    if options.out:
        options.out.write_text(json.dumps(values, indent=1))


def timed(run: Run, videos: Sequence[Join]) -> dict[float, list[float]]:
    """Return CPU seconds per minute of video for each rate, of each video."""
    costs: dict[float, list[float]] = {rate: [] for rate in RATES}
    for video in videos:
        for rate, results in costs.items():
            began = time.process_time()
            seconds = stretches(run, video, Sliding(rate=rate))[-1].end
            results.append(60 * (time.process_time() - began) / seconds)
    return costs


def line(
    name: str, kind: str, way: str, videos: Sequence[EventScore], fps: int, base: Sequence[EventScore] | None = None
) -> str:
    """Return one line of a table, compared with `base` if given."""
    f1, half = mean_and_half([each.f1 for each in videos])
    against = ""
    if base is not None:
        against = "{:+.1f} ±{:.1f}".format(*mean_and_half([a.f1 - b.f1 for a, b in zip(videos, base, strict=True)]))
    mean, around = mean_and_half([float(np.mean(each.off)) for each in videos if each.off])
    median = float(np.median([off for each in videos for off in each.off]))
    seconds = f"{mean / fps:.2f} ±{around / fps:.2f}", f"{median / fps:.2f}"
    frames = f"{mean:.1f} ±{around:.1f}", f"{median:.1f}"
    return f"| {' | '.join([name, kind, way, f'{f1:.1f} ±{half:.1f}', against, *seconds, *frames])} |"


def choose(options: argparse.Namespace, folder: Path) -> None:
    """Print mean F1 over sets and kinds of joins for each window, and the best thresholds of each."""
    rows: dict[float, list[tuple[Join, list[Interval], tuple[str, ...]]]] = {window: [] for window in WINDOWS}
    for name, data in sets(folder, options.data, options.sets).items():
        fit, rest = halves(data)
        run = remembering(trained(fit, folder / f"{name}-run"))
        for mixed in (False, True):
            for video in joins(name, rest, folder, options.data, options.joins, mixed=mixed, seed=1):
                for window in WINDOWS:
                    rows[window].append((video, stretches(run, video, Sliding(window)), run.model.names))
    table: list[tuple[float, float, float, float, float]] = []
    for window, (enter, leave, length) in product(WINDOWS, product(ENTERS, LEAVES, LENGTHS)):
        if leave <= enter:
            rule = Hysteresis(enter, leave, length)
            scores = [match_events(events_of(found, names, rule), video).f1 for video, found, names in rows[window]]
            table.append((float(np.mean(scores)), window, enter, leave, length))
    for window in WINDOWS:
        best = sorted((row for row in table if row[1] == window), reverse=True)[:3]
        base = np.mean([match_events(by_argmax(found, names), video).f1 for video, found, names in rows[window]])
        listed = "; ".join(f"{f1:.1f} at {enter} {leave} {length}" for f1, _, enter, leave, length in best)
        print(f"window {window:g} s: argmax {base:.1f}; enter, leave, shortest: {listed}", flush=True)
    for column, key in ((2, "enter"), (3, "leave"), (4, "shortest")):
        values = sorted({row[column] for row in table})
        print(f"{key}: " + "  ".join(f"{v:g}: {max(r[0] for r in table if r[column] == v):.1f}" for v in values))
    if options.out:
        options.out.write_text(json.dumps(sorted(table, reverse=True)))


def main() -> None:
    """Print the tables, or with `--choose` the search for the defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--joins", type=int, default=12)
    parser.add_argument("--sets", nargs="+", choices=("drawn", "airborne"), default=("drawn", "airborne"))
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (choose if options.choose else measure)(options, Path(folder))


if __name__ == "__main__":
    main()
