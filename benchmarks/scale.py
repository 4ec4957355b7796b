"""What Kinetics-400 and a billion clips need: the tables of docs/reference/scale.md, computed from the inputs below.

    python -m benchmarks.scale

A test compares the page with this output. For another machine, change INPUTS and paste the tables into the page.
"""

import re
from typing import NamedTuple

from benchmarks.gpu import step_operations

KINETICS, BILLION = 240_000, 1_000_000_000
HOUR, DAY = 3600, 86400
# Of the 32 frames of a clip in a shard a training step reads eight.
USED = 8 / 32


class Input(NamedTuple):
    """A number that is not computed, and its source."""

    value: float
    what: str
    source: str


class Published(NamedTuple):
    """A run of 8 frames in Text4Vis' logs, whose GPUs are not named.

    `mean` and `ready` are seconds a step: all logged lines, and their 10th percentile without the time for data.
    """

    model: str
    gpus: int
    batch: int
    mean: float
    ready: float


PUBLISHED = (
    Published("ViT-B-32", gpus=8, batch=32, mean=0.766, ready=0.246),
    Published("ViT-B-16", gpus=8, batch=32, mean=0.811, ready=0.731),
    Published("ViT-L-14", gpus=32, batch=8, mean=0.746, ready=0.714),
)

READING = "measured: `benchmarks.reading`, BENCHMARKS.md"
ITEMS = "measured: `benchmarks.items`"
VIDEOS = "measured: `benchmarks.items --videos`, eight videos of real clips"
INPUTS = {
    "kinetics": Input(KINETICS, "training clips of Kinetics-400, 10 s each", "published logs: 940 steps of 256"),
    "epochs": Input(30, "passes", "published code"),
    "shards": Input(195, "training clips (8 frames each) read per CPU-second from shards", VIDEOS),
    "originals": Input(24, "the same from the original videos, a key frame every 250 frames", VIDEOS),
    "jpegs": Input(138, "the same from JPEG folders as in the published code, short side 256", READING),
    "prepare": Input(13.5, "videos of 10 s, 340x256, prepared per CPU-second", VIDEOS),
    "original kB": Input(301, "kB of such a video", VIDEOS),
    "prepared kB": Input(367, "kB of the same in a shard, 32 frames", VIDEOS),
    "cached kB": Input(67.3, "kB of a clip's features in the cache's file, 16 frames x 512", ITEMS),
    "put ms": Input(0.287, "CPU ms to write them", ITEMS),
    "features": Input(250 * 64 / 9, "clips a second, temporal module on features, two threads", "measured"),
    "item B": Input(719, "bytes of memory per item of an index of shards", ITEMS),
    "worker B": Input(155, "bytes of memory per item in each loader worker", ITEMS),
    "order B": Input(40, "bytes per item in the order of an epoch", ITEMS),
    "begin µs": Input(16.4, "CPU µs to read one item from an index of shards", ITEMS),
    "split µs": Input(68.5, "CPU µs to write one item into `split.json`", ITEMS),
    "split B": Input(106, "bytes per item in `split.json`", ITEMS),
    "miss ms": Input(1.48, "CPU ms to find a clip where its shard's index is not in memory", ITEMS),
    "peak": Input(989, "TFLOP/s, dense bf16, of an H100 SXM", "published: its maker"),
    "part": Input(
        0.4, "fraction of these 989 TFLOP/s that training reaches", "**assumed**, until `benchmarks.gpu` has run on one"
    ),
}


def value_of(name: str) -> float:
    """Return the value of an input."""
    return INPUTS[name].value


def table(*rows: list[str]) -> str:
    """Return a Markdown table whose first row is the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def short(value: float) -> str:
    """Format with two digits, or all before the point: 0.042, 4.2, 42, 4,242."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def inputs() -> str:
    """Return the table of inputs."""
    rows = [
        [f"{each.value:,.4g}" if each.value < 1e4 else f"{each.value:,.0f}", each.what, each.source]
        for each in INPUTS.values()
    ]
    for p in PUBLISHED:
        rows.append(
            [
                f"{p.mean:g}, {p.ready:g}",
                f"{shown(p.model)}: s per step, with and without waiting for data; {p.gpus} GPUs x {p.batch} clips",
                "Text4Vis' logs; GPU not named",
            ]
        )
        rows.append(
            [
                short(step_operations(p.model) / 1e9),
                f"{shown(p.model)}: GFLOP of a training step, per clip of 8 frames",
                "counted: `benchmarks.gpu`",
            ]
        )
    return table(["input", "what it is", "source"], *rows)


def shown(model: str) -> str:
    """Return the usual name of a model: ViT-B/32."""
    return re.sub(r"-(\d+)$", r"/\1", model)


def card_rate(model: str) -> float:
    """Return how many clips of 8 frames per second the assumed card trains on."""
    return value_of("part") * value_of("peak") * 1e12 / step_operations(model)


def preparing() -> str:
    """Return the cost of `texthead prepare`: decode once, store as JPEG."""
    rows = []
    for name, clips in (("Kinetics-400", KINETICS), ("a billion", BILLION)):
        seconds = clips / value_of("prepare")
        sizes = [f"{short(clips * value_of(key) / 1e9)} TB" for key in ("original kB", "prepared kB")]
        rows.append([name, short(seconds / HOUR), short(seconds / HOUR / 64), *sizes])
    return table(["clips", "core-hours", "hours on 64 cores", "originals", "shards"], *rows)


def training() -> str:
    """Return the cost of fine-tuning for 30 passes, one model a row."""
    rows = []
    for p in PUBLISHED:
        rate = card_rate(p.model)
        hours = [KINETICS * value_of("epochs") / each / HOUR for each in (p.batch / p.mean, p.batch / p.ready, rate)]
        rows.append([shown(p.model), *(short(value) for value in (*hours, rate, BILLION / rate / DAY))])
    head = ["30 passes", "Kinetics-400: GPU-hours as logged", "without waiting for data", "assumed H100", "its clips/s"]
    return table([*head, "a billion: H100-days a pass"], *rows)


def feeding() -> str:
    """Return what keeps one GPU busy in training."""
    rows = []
    for p in PUBLISHED:
        for name, rate in (("logged GPU", p.batch / p.ready), ("assumed H100", card_rate(p.model))):
            cores = [short(rate / value_of(key)) for key in ("shards", "jpegs", "originals")]
            read = [short(rate * size / 1e3) for size in (value_of("prepared kB") * USED, value_of("original kB"))]
            rows.append([f"{shown(p.model)}, {name}", short(rate), *cores, *read])
    head = ["a GPU", "clips/s", "cores: shards", "JPEG folders, published manner", "originals"]
    return table([*head, "MB/s: shards", "originals"], *rows)


def caching() -> str:
    """Return the cost of a frozen encoder: 16 frames of each clip once, then a temporal module on features."""
    rows = []
    for name, clips in (("Kinetics-400", KINETICS), ("a billion", BILLION)):
        # A forward pass is a third of a step's operations, and 16 frames are two clips of 8.
        hours = [short(clips / (card_rate(p.model) * 3 / 2) / HOUR) for p in PUBLISHED]
        memory, disk = clips * 16 * 512 * 4 / 1e9, clips * value_of("cached kB") / 1e6
        put, passes = clips * value_of("put ms") / 1e3 / HOUR, value_of("epochs") * clips / value_of("features") / HOUR
        rows.append([name, " / ".join(hours), *(short(value) for value in (put, disk, memory, passes))])
    head = ["clips", "H100-hours: B/32 / B/16 / L/14", "hours of one writer", "GB of cache", "GB of memory"]
    return table([*head, "30 passes, hours on two cores"], *rows)


def predicting() -> str:
    """Return the cost of predicting one view of a billion clips."""
    rows = []
    for p in PUBLISHED:
        rate = 3 * card_rate(p.model)
        cores = [short(rate / value_of(key)) for key in ("originals", "shards")]
        rows.append([shown(p.model), short(rate), short(BILLION / rate / DAY), *cores])
    return table(
        ["a billion clips, one view", "clips/s an H100", "H100-days", "cores an H100: originals", "shards"], *rows
    )


def breaking() -> str:
    """Return at how many clips each limit is reached, the first on top, and the cost at a billion."""
    memory = value_of("item B") + value_of("order B") + 16 * value_of("worker B")
    begin, put = (value_of("begin µs") + value_of("split µs")) / 1e6, value_of("put ms") / 1e3
    feature, line = 16 * 512 * 4, value_of("split B")
    read = 1e3 / value_of("shards")
    slower = 100 * read / (read + value_of("miss ms"))
    limits = [
        ("places of clips, 8192 shards of 256", 8192 * 256, f"clips a CPU-second fall to {slower:.0f} %"),
        ("features in 128 GB (16 x 512, float32)", 128e9 / feature, f"{short(BILLION * feature / 1e12)} TB"),
        ("items in 128 GB, 16 loader workers", 128e9 / memory, f"{short(BILLION * memory / 1e12)} TB"),
        ("an hour until the first step", HOUR / begin, f"{short(BILLION * begin / HOUR)} hours"),
        ("a `split.json` of 10 GB", 10e9 / line, f"{short(BILLION * line / 1e9)} GB"),
        ("a million files in a folder, two a shard of 256", 1e6 / 2 * 256, f"{short(BILLION / 128e6)} M files"),
        ("a day of the feature cache's one writer", DAY / put, f"{short(BILLION * put / DAY)} days"),
    ]
    rows = [
        [what, f"{short(end / 1e6)} M clips", at_a_billion]
        for what, end, at_a_billion in sorted(limits, key=lambda row: row[1])
    ]
    return table(["what", "limit reached at", "at a billion clips"], *rows)


TABLES = (inputs, preparing, training, feeding, caching, predicting, breaking)


def main() -> None:
    """Print all tables."""
    print("\n\n".join(make() for make in TABLES))


if __name__ == "__main__":
    main()
