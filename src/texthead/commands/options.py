"""The options of every command."""

import os
from argparse import SUPPRESS
from dataclasses import fields
from typing import Any, Literal

from jsonargparse import ActionYesNo, ArgumentParser
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt, restricted_number_type

from texthead.commands.parser import Parser
from texthead.recipes import RECIPES, HeadKind, Recipe

_RECIPE_HELP = {
    "frames": "frames of a clip",
    "size": "side of the crop in pixels",
    "resize": "short side before cropping in pixels",
    "origin": "frame of a segment in testing, or windows of 128 frames",
    "pooling": "what is averaged over views in testing",
    "crops_along": "where three crops lie in testing",
    "crop": "training crop: fixed size, or a box of random area",
    "area": "range of the random box's area",
    "ratio": "range of the random box's width over height",
    "flip": "probability of mirroring a clip",
    "gray": "probability of a gray clip",
    "epochs": "passes over the training items; warm-up keeps its share",
    "batch": "clips an optimiser step",
    "accumulate": "passes that a step is split into",
    "lr": "peak rate of what was pretrained",
    "lr_new": "peak rate of temporal module and trainable head",
    "weight_decay": "AdamW's",
    "beta1": "AdamW's",
    "beta2": "AdamW's",
    "warmup": "epochs of linear warm-up",
    "schedule_every": "steps between changes of the rate",
    "clip_norm": "largest gradient norm; 0: no limit",
    "precision": "of the forward pass",
    "freeze_batchnorm": "keep batch-norm statistics",
    "freeze_encoder": "train on frame features that are encoded once",
    "grad_checkpointing": "run blocks again in the backward pass: less memory, more time",
    "patch_dropout": "part of a ViT's patches left out of each frame in training: faster",
    "scale": "logit scale at the start",
    "learn_scale": "train the logit scale",
    "center": "subtract the mean pretrained training feature",
    "temporal": "module between frames and head, or convolutions over frames inside the encoder",
    "conv_start": "what those convolutions start as",
    "width": "of the temporal transformer's blocks",
    "layers": "blocks of the temporal transformer",
    "template": "prompt with exactly one {}, or a .txt with one a line",
    "template_use": "several templates in training: mean row, or one drawn a class and pass",
    "template_pooling": "several templates in testing: mean row, or mean of probabilities",
    "context": "learned vectors in front of the name (head prompt); 0: the template's words to begin with",
    "seed": "of every draw",
}

# A page that can still be sent on.
_up_to_12 = restricted_number_type("UpTo12", int, [(">=", 0), ("<=", 12)])

_CLASSES_JSON = "classes.json of name: sentence, [sentences] or null"


def command_line() -> ArgumentParser:
    """The parser of `texthead` and its commands."""
    parser = Parser(prog="texthead", description="Class names in, recogniser out.")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subcommands(required=False, dest="command")
    commands.add_subcommand("train", train_parser(), help="labelled videos or images -> a run")
    commands.add_subcommand("prepare", _prepare_parser(), help="decode once: videos -> shards that read fast")
    commands.add_subcommand("compare", _compare_parser(), help="quick recognisers side by side, and the best as a run")
    commands.add_subcommand("doctor", _doctor_parser(), help="what is wrong with files, splits and class names")
    commands.add_subcommand("eval", _eval_parser(), help="score a run on labelled data")
    commands.add_subcommand("report", _report_parser(), help="a run and its mistakes to look at, as one page")
    commands.add_subcommand("calibrate", _calibrate_parser(), help="how sure a run may be, from held-out items")
    commands.add_subcommand("predict", _predict_parser(), help="name what is in files")
    commands.add_subcommand("timeline", _timeline_parser(), help="when it happens: events in a video or a stream")
    _add_classes_parser(commands)
    commands.add_subcommand("head", _head_parser(), help="make and look at the rows of a head")
    commands.add_subcommand("import", _import_parser(), help="a published checkpoint -> a run")
    commands.add_subcommand("export", _export_parser(), help="a run -> a folder that predicts without texthead")
    commands.add_subcommand("encoders", _encoders_parser(), help="list the encoders that can be loaded")
    commands.add_subcommand("profile", _profile_parser(), help="count parameters and multiply-adds")
    commands.add_subcommand("ui", _ui_parser(), help="a page on this machine: drop a file, type names, look")
    commands.add_subcommand("demo", _demo_parser(), help="draw videos, train, compare, report")
    return parser


def _common(parser: ArgumentParser) -> None:
    parser.add_argument("--workers", type=NonNegativeInt, default=_default_workers(), help="processes that decode")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def _text(parser: ArgumentParser) -> None:
    text = "text:FOLDER_OR_ID: a text-only encoder of transformers for the rows"
    parser.add_argument("--text", default=None, metavar="SOURCE", help=text)


def _names(parser: ArgumentParser) -> None:
    kinds = Literal["clean", "verbatim"]
    parser.add_argument("--names", type=kinds, default="clean", help="how labels become class names")


def _skip(parser: ArgumentParser) -> None:
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out and list files that cannot be read")


def _views(parser: ArgumentParser) -> None:
    parser.add_argument("--frames", type=PositiveInt, default=None, help="frames of a clip, if not as in training")
    parser.add_argument("--views", default="1x1", help="clips x crops, as 4x3")
    _view_options(parser, "if not the run's own")


def _view_options(parser: ArgumentParser, own: str) -> None:
    kinds = Literal["features", "logits", "probabilities"]
    parser.add_argument("--pooling", type=kinds, default=None, help=f"what is averaged over views, {own}")
    kinds = Literal["first", "centre", "dense"]
    parser.add_argument("--origin", type=kinds, default=None, help=f"frame of a segment, {own}")
    kinds = Literal["width", "long-side"]
    parser.add_argument("--crops-along", type=kinds, default=None, help=f"where three crops lie, {own}")
    parser.add_argument("--resize", type=PositiveInt, default=None, help=f"short side before cropping, {own}")


def _beside(parser: ArgumentParser) -> None:
    text = "zero-shot and logistic probe beside the result; auto: up to 2,000 training items"
    parser.add_argument("--baselines", type=Literal["auto", "always", "never"], default="auto", help=text)
    parser.add_argument("--cache", default=None, metavar="FOLDER", help="where frame features are kept")


_DATA_HELP = "class folders, CSV or TSV, list .txt, prepared SHARDS, or datasets:FOLDER_OR_ID"


def _data(parser: ArgumentParser) -> None:
    text = "CSV with id,name: the class names behind a list's numbers, or behind labels; imagenet: of its ids"
    parser.add_argument("--labels", default=None, metavar="FILE", help=text)
    parser.add_argument("--root", default=None, metavar="FOLDER", help="where a list's paths begin, if not beside it")
    text = "a list's paths are folders of frames, as img_{:05d}.jpg"
    parser.add_argument("--frame-template", default=None, metavar="NAME", help=text)
    parser.add_argument("--suffix", default=None, metavar=".avi", help="a list's paths are videos without it")


def _default_workers() -> int:
    return min(8, os.cpu_count() or 1)


def _spoken(value: object) -> str:
    """A recipe's value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return f"[{', '.join(f'{part:.3g}' for part in value)}]"
    return "the encoder's" if value is None else str(value)


def train_parser(*, exit_on_error: bool = True) -> ArgumentParser:
    """The parser of `texthead train` alone; a mistake ends the program, or is an `argparse.ArgumentError`."""
    parser = Parser(
        prog="texthead train",
        exit_on_error=exit_on_error,
        usage="texthead train DATA --out RUN [options]",
        description="Train on class folders, a CSV (path,label[,split][,group]), a list or a datasets folder.",
    )
    parser.add_argument("data", metavar="DATA", help=_DATA_HELP)
    parser.add_argument("--val", default=None, metavar="DATA", help="score these items, train on all of DATA")
    _data(parser)
    parser.add_argument("--config", action="config", help="YAML with any of these options")
    parser.add_argument("--out", required=True, metavar="RUN", help="the run folder to make")
    parser.add_argument("--encoder", default="mini", help="mini, openclip:..., hf:..., timm:...; see texthead encoders")
    _text(parser)
    parser.add_argument(
        "--head",
        type=HeadKind,
        default="text",
        help="rows of the head; all but prompt (a learned template), linear and cosine are frozen",
    )
    parser.add_argument("--train-head", action="store_true", help="train the rows from where they start")
    text = f"names.txt, {_CLASSES_JSON}: what the text encoder reads for the data's labels (sentences are averaged)"
    parser.add_argument("--classes", default=None, metavar="FILE", help=text)
    _names(parser)
    parser.add_argument("--k", type=int, default=None, help="train on K items a class")
    parser.add_argument(
        "--held-out", type=float, default=None, help="part to hold out where the data has no splits (0.2)"
    )
    _skip(parser)
    parser.add_argument("--resume", action="store_true", help="continue a run that was stopped")
    text = "steps between checkpoints, if not an epoch's; --resume goes on with the very next clip"
    parser.add_argument("--checkpoint-every", type=PositiveInt, default=None, metavar="STEPS", help=text)
    text = "under torchrun: each process has the whole model, or a part of every weight"
    parser.add_argument("--shard", type=Literal["ddp", "fsdp"], default="ddp", help=text)
    text = "the encoder through torch.compile: faster on a GPU after a while, with other last bits"
    parser.add_argument("--compile", action="store_true", help=text)
    text = "write the metrics into RUN/tensorboard too, as they come (pip install texthead[tensorboard])"
    parser.add_argument("--tensorboard", action="store_true", help=text)
    _beside(parser)
    _common(parser)
    parser.add_argument(
        "--recipe", type=Literal["small", "paper", "text4vis"], default="small", help="what is not given"
    )
    group = parser.add_argument_group("recipe", "what is not given here comes from the recipe")
    for field in fields(Recipe):
        if field.name == "name":
            continue
        flag = f"--{field.name.replace('_', '-')}"
        value = getattr(RECIPES["small"](), field.name)
        text = f"{_RECIPE_HELP[field.name]}; small: {_spoken(value)}"
        if field.name == "template":
            group.add_argument(flag, type=str, default=SUPPRESS, help=text)
        elif field.type is bool:
            group.add_argument(
                flag, action=ActionYesNo(no_prefix="no-"), default=SUPPRESS, help=f"{text} (or --no-...)"
            )
        else:
            group.add_argument(flag, type=field.type, default=SUPPRESS, help=text)  # pyright: ignore
    return parser


def _prepare_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead prepare",
        usage="texthead prepare DATA --out SHARDS [options]",
        description="Decode once: some frames of every video, all key frames, in tar shards that train, eval and "
        "predict take as DATA. What is finished is left alone: the same command goes on after a stop.",
    )
    parser.add_argument("data", metavar="DATA", help=_DATA_HELP)
    _data(parser)
    parser.add_argument("--out", required=True, metavar="SHARDS", help="the folder of shards to make, or to go on with")
    parser.add_argument("--frames", type=PositiveInt, default=32, help="of a clip, evenly placed")
    parser.add_argument("--short-side", type=PositiveInt, default=256, help="larger frames are scaled down to it")
    parser.add_argument("--quality", type=PositiveInt, default=90, help="of JPEG, up to 95")
    parser.add_argument("--clips", type=PositiveInt, default=256, help="in a shard")
    _skip(parser)
    text = "processes, of which each writes a shard at a time"
    parser.add_argument("--workers", type=NonNegativeInt, default=_default_workers(), help=text)
    return parser


def _compare_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead compare",
        usage="texthead compare DATA [--k K] [--choose --out RUN] [options]",
        description="Zero-shot, text rows with class means, probes, frozen heads and a temporal transformer on "
        "features that are encoded once: a table with intervals, and with --choose the best as a run.",
    )
    parser.add_argument("data", metavar="DATA", help=_DATA_HELP)
    _data(parser)
    parser.add_argument("--encoder", default="mini", help="mini, openclip:..., hf:..., timm:...; see texthead encoders")
    parser.add_argument("--template", default=None, help="prompt with exactly one {}, or a .txt of them")
    _names(parser)
    parser.add_argument("--k", type=int, default=None, help="draw K training items a class")
    parser.add_argument("--frames", type=PositiveInt, default=None, help="frames of a clip (8)")
    parser.add_argument("--size", type=PositiveInt, default=None, help="side of the crop in pixels (128)")
    parser.add_argument("--choose", action="store_true", help="make the best a run, in --out")
    parser.add_argument("--out", default=None, metavar="RUN", help="the run folder to make, with --choose")
    parser.add_argument("--seed", type=NonNegativeInt, default=0, help="of every draw")
    parser.add_argument("--cache", default=None, metavar="FOLDER", help="where frame features are kept")
    _skip(parser)
    _common(parser)
    return parser


def _doctor_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead doctor",
        usage="texthead doctor DATA [--classes NAMES] [options]",
        description="Decode every file, compare files, splits and class names, and say what there is and what is "
        "wrong. Ends with 1 where something serious is found: a file that cannot be read whole; one file under two "
        "labels; the same or nearly the same file, or parts of one group, in two splits; a file in another class's "
        "folder; a class without a training item or with fewer than K; a label of no class; a name that is a code, too "
        "long, or the same as another; two classes whose names look swapped. Else with 0.",
    )
    parser.add_argument("data", metavar="DATA", help=_DATA_HELP)
    _data(parser)
    parser.add_argument("--classes", default=None, help="names.txt, classes.json or 'a, b', if not the data's labels")
    _names(parser)
    parser.add_argument("--template", default=None, help="prompt with exactly one {}, or a .txt of them")
    parser.add_argument("--k", type=PositiveInt, default=None, help="training items that each class must have")
    parser.add_argument("--quick", action="store_true", help="without an encoder: files, splits and words only")
    parser.add_argument("--encoder", default="mini", help="mini, openclip:..., hf:..., timm:...; see texthead encoders")
    parser.add_argument("--frames", type=PositiveInt, default=8, help="frames of a clip")
    parser.add_argument("--size", type=PositiveInt, default=None, help="side of the crop, if not the encoder's own")
    parser.add_argument("--limit", type=PositiveInt, default=120, metavar="SECONDS", help="that one file may take")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    parser.add_argument("--out", default=None, metavar="FOLDER", help="write doctor.json and doctor.html there")
    text = "write a manifest without what is of no use, copied or leaking; the files stay as they are"
    parser.add_argument("--fix", default=None, metavar="NEW.csv", help=text)
    parser.add_argument("--cache", default=None, metavar="FOLDER", help="where frame features are kept")
    _common(parser)
    return parser


def _eval_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead eval",
        usage="texthead eval RUN DATA [options]",
        description="Score a run on labelled data: every item once.",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("data", metavar="DATA", help=_DATA_HELP)
    _data(parser)
    parser.add_argument("--classes", default=None, help="names.txt, classes.json or 'a, b': a new text head for these")
    parser.add_argument("--zero-shot", action="store_true", help="a new text head for the data's own labels")
    parser.add_argument("--template", default=None, help="prompt of a new head, or a .txt of them")
    _names(parser)
    parser.add_argument(
        "--split", type=Literal["train", "val", "test"], default=None, help="test, else val, if not given"
    )
    _views(parser)
    _skip(parser)
    _beside(parser)
    parser.add_argument("--per-class", action="store_true", help="precision and recall of each class, confused pairs")
    parser.add_argument("--out", default=None, metavar="FILE", help="write a CSV with one line an item")
    _common(parser)
    return parser


def _report_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead report",
        usage="texthead report RUN [DATA] [options]",
        description="One page of a run, made anew: scores, curves, confusions beside how alike the rows are, how "
        "far its probabilities can be taken at their word, a test of the frames' order, the surest mistakes and where "
        "in their frames they came from, recipe and prompts.",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    text = f"{_DATA_HELP}; the items that the run held out, if not given"
    parser.add_argument("data", nargs="?", default=None, metavar="DATA", help=text)
    _data(parser)
    parser.add_argument(
        "--split", type=Literal["train", "val", "test"], default=None, help="test, else val, if not given"
    )
    text = "items of no class of a calibrated run: how many of them get a name all the same"
    parser.add_argument("--unknown", default=None, metavar="DATA2", help=text)
    parser.add_argument("--out", default=None, metavar="FILE", help="where the page goes (RUN/report.html)")
    text = "surest wrong answers that are shown"
    parser.add_argument("--mistakes", type=_up_to_12, default=4, metavar="N", help=f"{text}, up to 12")
    parser.add_argument("--hits", type=_up_to_12, default=2, metavar="N", help="surest right answers, up to 12")
    text = "of those, so many with their saliency; 0: none, which is faster"
    parser.add_argument("--saliency", type=NonNegativeInt, default=4, metavar="N", help=text)
    _skip(parser)
    _beside(parser)
    _common(parser)
    return parser


def _calibrate_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead calibrate",
        usage="texthead calibrate RUN DATA [--unknown DATA2] [options]",
        description="Learn from items that the run was not trained on how sure it may be, and write it into the run: a "
        "temperature, a threshold below which the answer is none of these, and sets of labels that hold the right one.",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("data", metavar="DATA", help=_DATA_HELP)
    _data(parser)
    text = "val, else test, else what the run held out, if not given; train: of it what --k did not draw"
    parser.add_argument("--split", type=Literal["train", "val", "test"], default=None, help=text)
    text = "items that are of no class of the run, beside those of DATA that are of none"
    parser.add_argument("--unknown", default=None, metavar="DATA2", help=text)
    text = "of unknown items, how many may get a name (0-1)"
    parser.add_argument("--false-accept", type=float, default=0.05, metavar="RATE", help=text)
    text = "of the label sets, how many shall hold the label (0-1)"
    parser.add_argument("--coverage", type=float, default=0.9, metavar="RATE", help=text)
    _views(parser)
    _skip(parser)
    _common(parser)
    return parser


def _predict_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead predict",
        usage="texthead predict [RUN] FILE_OR_FOLDER... [--classes NAMES] [options]\n"
        "       texthead predict [RUN] --manifest FILE --out FOLDER [--classes NAMES] [options]",
        description="Name what is in files: with a run first its classes or new ones, else --classes by text.",
    )
    parser.add_argument(
        "inputs", nargs="*", metavar="RUN_OR_FILE", help="a run folder first, or only files and folders"
    )
    parser.add_argument("--classes", default=None, help="names.txt, classes.json or 'a helicopter, a bird'")
    parser.add_argument("--encoder", default=None, help="without a run: mini (the default), openclip:..., hf:...")
    _text(parser)
    parser.add_argument("--template", default=None, help="prompt of a new head, or a .txt of them")
    _names(parser)
    parser.add_argument("--top", type=int, default=5, help="names a file")
    text = "the set of names that holds the right one at the rate that a calibrated run promises"
    parser.add_argument("--sets", action="store_true", help=text)
    text = "folders are clips of frames, as img_{:05d}.jpg, or hold such folders"
    parser.add_argument("--frame-template", default=None, metavar="NAME", help=text)
    _views(parser)
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    parser.add_argument("--csv", action="store_true", help="CSV on standard output")
    _skip(parser)
    _common(parser)
    _many(parser)
    return parser


def _timeline_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead timeline",
        usage="texthead timeline [RUN] VIDEO [--classes NAMES] [options]\n"
        "       ... | texthead timeline [RUN] - [--classes NAMES] [options]",
        description="When what happens: events of each class with start and end in seconds. A window slides over the "
        "video; each frame is encoded once. '-' reads a video from a pipe and prints events as they end.",
    )
    parser.add_argument(
        "inputs", nargs="*", metavar="RUN_OR_VIDEO", help="a run folder first, or only a video; - is a pipe"
    )
    parser.add_argument("--classes", default=None, help="names.txt, classes.json or 'a helicopter, a bird'")
    parser.add_argument("--encoder", default=None, help="without a run: mini (the default), openclip:..., hf:...")
    _text(parser)
    parser.add_argument("--template", default=None, help="prompt of a new head, or a .txt of them")
    _names(parser)
    parser.add_argument("--window", type=float, default=1.0, metavar="SECONDS", help="what a score is made of")
    parser.add_argument("--rate", type=float, default=8.0, metavar="FRAMES", help="that are encoded, a second")
    text = "frames that are encoded at once; more is faster on a GPU and may change last digits"
    parser.add_argument("--batch", type=PositiveInt, default=1, help=text)
    text = "an event begins where its probability is this or more"
    parser.add_argument("--enter", type=float, default=0.7, metavar="PROBABILITY", help=text)
    text = "and ends where it falls below this"
    parser.add_argument("--leave", type=float, default=0.4, metavar="PROBABILITY", help=text)
    text = "shorter gaps in an event are bridged, then shorter events are dropped"
    parser.add_argument("--min-length", type=float, default=1.0, metavar="SECONDS", help=text)
    parser.add_argument("--json", action="store_true", help="JSON on standard output, when all is known")
    parser.add_argument("--csv", action="store_true", help="CSV on standard output")
    parser.add_argument("--srt", default=None, metavar="FILE", help="write the events as subtitles")
    text = "write the video with names and bars drawn in, and its first sound"
    parser.add_argument("--overlay", default=None, metavar="FILE.mp4", help=text)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def _many(parser: ArgumentParser) -> None:
    """The options of `predict --manifest`; none has a default, so that those given without it are noticed."""
    text = "in parts that any number of processes make, each by itself; the same command goes on after a stop"
    group = parser.add_argument_group("many files", text)
    text = "CSV or TSV with a column path, .txt with one path a line, a folder, or prepared SHARDS"
    group.add_argument("--manifest", default=None, metavar="FILE", help=text)
    group.add_argument("--out", default=None, metavar="FOLDER", help="where the parts are, one CSV each")
    group.add_argument("--part", type=PositiveInt, default=None, help="files of a part (default: 1000)")
    group.add_argument("--scores", action="store_true", default=None, help="keep the scores of all classes too")
    text = "files that are encoded at once (default: 1); more is faster and may change last digits"
    group.add_argument("--batch", type=PositiveInt, default=None, help=text)
    text = "the number of this process, from 0; torchrun's RANK if not given"
    group.add_argument("--rank", type=NonNegativeInt, default=None, help=text)
    text = "how many processes share the parts; torchrun's WORLD_SIZE if not given"
    group.add_argument("--ranks", type=PositiveInt, default=None, help=text)
    text = "on a Ray cluster instead, with so many processes that encode"
    group.add_argument("--ray", type=PositiveInt, default=None, metavar="ACTORS", help=text)


def _head_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead head",
        usage="texthead head CLASSES [options]",
        description="The rows of a head and how alike they are.",
    )
    parser.add_argument("classes", metavar="CLASSES", help="names.txt, classes.json or 'a, b, c'")
    parser.add_argument(
        "--init", type=Literal["text", "normal", "orthogonal", "lda"], default="text", help="where rows come from"
    )
    parser.add_argument("--data", default=None, help="labelled data, for lda")
    _data(parser)
    _skip(parser)
    parser.add_argument("--encoder", default="mini", help="mini, openclip:..., hf:..., timm:...; see texthead encoders")
    parser.add_argument("--template", default="{}", help="prompt with exactly one {}, or a .txt of them")
    _names(parser)
    parser.add_argument("--plot", default=None, metavar="FILE", help="write the correlation map as PNG, SVG or PDF")
    parser.add_argument("--out", default=None, metavar="FILE", help="write the rows as safetensors")
    parser.add_argument("--seed", type=int, default=0, help="of the random rows")
    _common(parser)
    return parser


def _import_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead import",
        usage="texthead import FILE --classes NAMES --out RUN [options]",
        description="A checkpoint of OpenAI's CLIP, Text4Vis, ActionCLIP or ViFi-CLIP as a run, with the conventions "
        "that its numbers were measured with. What is not given is the file's kind's.",
    )
    parser.add_argument("file", metavar="FILE", help="a .pt or .pth as it is published; no code in it runs")
    parser.add_argument("--classes", required=True, help="CSV with id,name; names.txt or 'a, b'")
    parser.add_argument("--out", required=True, metavar="RUN", help="the run folder to make")
    kinds = Literal["openai", "text4vis", "text4vis-nce", "actionclip", "vifi-clip"]
    parser.add_argument("--kind", type=kinds, default=None, help="whose file it is, if its keys do not tell")
    text = "the encoder it was tuned from, for what of the text tower is not in the file (OpenAI's, if not given)"
    parser.add_argument("--encoder", default=None, metavar="SOURCE", help=text)
    parser.add_argument(
        "--frames", type=PositiveInt, default=None, help="frames of a clip, if the name does not say f8"
    )
    parser.add_argument("--names", type=Literal["clean", "verbatim"], default="verbatim", help="how names are read")
    parser.add_argument("--template", default=None, help="prompt of the rows, or a .txt of them")
    pooled = Literal["features", "probabilities"]
    parser.add_argument("--template-pooling", type=pooled, default=None, help="what is averaged over templates")
    _view_options(parser, "if not the kind's own")
    parser.add_argument("--pixels", type=Literal["clip", "imagenet"], default=None, help="whose mean and deviation")
    ways = Literal["bilinear", "bicubic"]
    parser.add_argument("--interpolation", type=ways, default=None, help="of the resize before cropping")
    parser.add_argument("--test-scale", default=None, metavar="NUMBER", help="factor of the cosines, or learned")
    return parser


def _add_classes_parser(commands: Any) -> None:
    """`texthead classes` and its actions; jsonargparse wants outer commands added before inner ones."""
    parser = Parser(
        prog="texthead classes",
        usage="texthead classes RUN [options]",
        description="The classes of a finished run: texthead classes RUN list|add|rename|remove|merge. An edit writes "
        "another run, in which all other classes are the same.",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    commands.add_subcommand("classes", parser, help="show the classes of a run, or make a run with other ones")
    actions = parser.add_subcommands(required=True, dest="action", metavar="ACTION")
    before = "texthead classes RUN"

    shown = Parser(prog=f"{before} list", usage=f"{before} list [options]", description="Labels, prompts, rows.")
    shown.add_argument("--json", action="store_true", help="JSON on standard output")
    actions.add_subcommand("list", shown, help="labels, prompts and where rows came from")

    text = "Text rows for more classes, behind the others."
    add = Parser(prog=f"{before} add", usage=f"{before} add [NAME...] --out FOLDER [options]", description=text)
    add.add_argument("classes", nargs="*", metavar="NAME", help="class names, each an argument of its own")
    add.add_argument("--from", default=None, metavar="FILE", help=f"instead of names: names.txt, or {_CLASSES_JSON}")
    _prompts(add)
    _edited(add)
    actions.add_subcommand("add", add, help="text rows for more classes")

    text = "Another label for a class: what predictions say. Its row stays without --encode and --sentence."
    rename = Parser(prog=f"{before} rename", usage=f"{before} rename OLD NEW --out FOLDER [options]", description=text)
    rename.add_argument("old", metavar="OLD", help="a class of the run")
    rename.add_argument("new", metavar="NEW", help="what to call it")
    rename.add_argument("--encode", action="store_true", help="make the row anew from NEW")
    _prompts(rename)
    _edited(rename)
    actions.add_subcommand("rename", rename, help="another label for a class")

    text = "Fewer classes; at least one stays."
    remove = Parser(prog=f"{before} remove", usage=f"{before} remove NAME... --out FOLDER", description=text)
    remove.add_argument("classes", nargs="+", metavar="NAME", help="classes of the run")
    _edited(remove)
    actions.add_subcommand("remove", remove, help="fewer classes")

    text, usage = "Several classes as one, whose row is the mean of theirs.", "NAME NAME... --into NAME --out FOLDER"
    merge = Parser(prog=f"{before} merge", usage=f"{before} merge {usage}", description=text)
    merge.add_argument("classes", nargs="+", metavar="NAME", help="classes of the run, at least two")
    merge.add_argument("--into", required=True, metavar="NAME", help="what to call it: one of them, or a new name")
    _edited(merge)
    actions.add_subcommand("merge", merge, help="several classes as one")


def _edited(parser: ArgumentParser) -> None:
    text = "the run folder to make; RUN stays as it is"
    parser.add_argument("--out", required=True, metavar="FOLDER", help=text)


def _prompts(parser: ArgumentParser) -> None:
    text = "what the row is made from, for one class; given several times, the rows are averaged"
    parser.add_argument("--sentence", action="append", default=None, metavar="TEXT", help=text)
    parser.add_argument("--template", default=None, help="prompt with exactly one {}; the run's own if not given")
    _names(parser)


def _export_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead export",
        usage="texthead export RUN --out FOLDER [--to onnx|torch] [options]",
        description="A run as a folder that predicts without texthead: the model with its text head, what is done to "
        "frames, class names, thresholds, a predict.py that needs numpy, av and onnxruntime, and a model card.",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the folder to make")
    parser.add_argument("--to", type=Literal["onnx", "torch"], default="onnx", help="for onnxruntime, or for torch")
    text = "weights of eight bits: smaller; what it costs is measured on held-out files and is in the card"
    parser.add_argument("--int8", action="store_true", help=text)
    parser.add_argument("--classes", default=None, help="other classes: names.txt, classes.json or 'a kite, a bird'")
    parser.add_argument("--template", default=None, help="prompt of other classes, or a .txt of them")
    _names(parser)
    _views(parser)
    return parser


def _encoders_parser() -> ArgumentParser:
    usage = "texthead encoders [WORD]"
    parser = Parser(prog="texthead encoders", usage=usage, description="Encoders by name, and where weights are.")
    parser.add_argument("word", nargs="?", default="", metavar="WORD", help="only names that hold this, as ViT-B-16")
    return parser


def _profile_parser() -> ArgumentParser:
    text = "Parameters and multiply-adds of one clip, true and as the paper counts them; no weights are needed."
    parser = Parser(prog="texthead profile", usage="texthead profile ENCODER [options]", description=text)
    parser.add_argument("encoder", metavar="ENCODER", help="mini, openclip:ARCH or timm:NAME")
    parser.add_argument("--frames", type=PositiveInt, default=1, help="frames of a clip")
    parser.add_argument("--size", type=PositiveInt, default=None, help="side of the input, where the encoder takes any")
    kinds = Literal["mean", "transformer", "conv", "token-conv"]
    parser.add_argument("--temporal", type=kinds, default="mean", help="module over the frames, the paper's width")
    parser.add_argument("--layers", type=PositiveInt, default=6, help="of the temporal transformer")
    text = "of the temporal transformer's blocks, as the small recipe's 256 with 2 layers"
    parser.add_argument("--width", type=PositiveInt, default=None, help=text)
    parser.add_argument("--classes", type=NonNegativeInt, default=0, help="rows of the head")
    parser.add_argument("--measure", action="store_true", help="run it with random weights: memory and clips/s")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def _ui_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead ui",
        usage="texthead ui [RUN] [options]",
        description="A page in the browser: drop a video or an image, type names, see which fit. It works offline, is "
        "for this machine alone if no other --host is given, and reads nothing but what is dropped there.",
    )
    parser.add_argument("run", nargs="?", default=None, metavar="RUN", help="a run folder; without one, names alone")
    parser.add_argument("--encoder", default=None, help="without a run: mini (the default), openclip:..., hf:...")
    parser.add_argument("--template", default=None, help="prompt of typed names, or a .txt of them")
    _names(parser)
    parser.add_argument("--host", default="127.0.0.1", help="another lets others in, without a password")
    parser.add_argument("--port", type=NonNegativeInt, default=7860, help="0: any free one")
    group = parser.add_argument_group("limits", "what is beyond them is refused in one line")
    group.add_argument("--most-mb", type=PositiveInt, default=200, metavar="MB", help="of a file")
    group.add_argument("--most-seconds", type=PositiveFloat, default=300.0, metavar="SECONDS", help="of a video")
    group.add_argument("--most-frames", type=PositiveInt, default=20_000, metavar="FRAMES", help="of a video")
    text = "that one answer may take"
    group.add_argument("--limit", type=PositiveFloat, default=300.0, metavar="SECONDS", help=text)
    text = "questions that may wait while one is answered"
    group.add_argument("--waiting", type=PositiveInt, default=4, metavar="N", help=text)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def _demo_parser() -> ArgumentParser:
    parser = Parser(
        prog="texthead demo",
        usage="texthead demo [options]",
        description="Draw labelled videos, train, compare, predict, report.",
    )
    parser.add_argument("--out", default="demo", metavar="FOLDER", help="where everything is written")
    parser.add_argument("--seed", type=int, default=0, help="of every draw")
    _common(parser)
    return parser
