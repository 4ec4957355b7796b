"""`texthead train`: divides the data, fits the recipe to it, trains, and shows the result beside the simple things."""

from argparse import SUPPRESS, ArgumentError
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from texthead.commands.options import (
    BaselineOptions,
    DataOptions,
    NameOptions,
    ReadingOptions,
)
from texthead.commands.parser import PositiveInt, argument, build, extra, option, parser_of
from texthead.errors import DataError, RunError
from texthead.recipes import RECIPES, HeadKind, Recipe, small
from texthead.text import prompts
from texthead.text.class_names import clean_names

if TYPE_CHECKING:
    import torch

    from texthead.data.dataset import Dataset
    from texthead.data.division import Division
    from texthead.data.protocol import Protocol
    from texthead.features.reading import Reading
    from texthead.features.views import Pretrained
    from texthead.models.recognizer import Recognizer
    from texthead.transfer.baselines import Comparison


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
    "epochs": "passes over the training items",
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


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train on class folders, a CSV (path,label[,split][,group]), a list or a datasets folder.

    Args:
        data: class folders, CSV or TSV, list .txt, prepared SHARDS, or datasets:FOLDER_OR_ID
        val: score these items, train on all of DATA
        out: the run folder to make
        encoder: mini, openclip:..., hf:..., timm:...; see texthead encoders
        text: text:FOLDER_OR_ID: a text-only encoder of transformers for the rows
        head: rows of the head; all but prompt (a learned template), linear and cosine are frozen
        train_head: train the rows from where they start
        classes: names.txt, classes.json of name: sentence, [sentences] or null: what the text encoder reads for the
            data's labels (sentences are averaged)
        k: train on K items a class
        held_out: part to hold out where the data has no splits (0.2)
        resume: continue a run that was stopped
        checkpoint_every: steps between checkpoints, if not an epoch's; --resume goes on with the very next clip
        shard: under torchrun: each process has the whole model, or a part of every weight
        compile: the encoder through torch.compile: faster on a GPU after a while, with other last bits
        tensorboard: write the metrics into RUN/tensorboard too, as they come (pip install texthead[tensorboard])
        recipe: source of the recipe values that are not given
    """

    NAME: ClassVar = "train"
    HELP: ClassVar = "labelled videos or images -> a run"
    USAGE: ClassVar = "texthead train DATA --out RUN [options]"

    data: str = argument("DATA")
    val: str | None = option(None, "DATA")
    labelled: DataOptions = DataOptions()
    out: str = option(metavar="RUN")
    encoder: str = "mini"
    text: str | None = option(None, "SOURCE")
    head: HeadKind = "text"
    train_head: bool = False
    classes: str | None = option(None, "FILE")
    naming: NameOptions = NameOptions()
    k: int | None = None
    held_out: float | None = None
    resume: bool = False
    checkpoint_every: PositiveInt | None = option(None, "STEPS")
    shard: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = False
    tensorboard: bool = False
    beside: BaselineOptions = BaselineOptions()
    files: ReadingOptions = ReadingOptions()
    recipe: Literal["small", "paper", "text4vis"] = "small"
    overrides: Mapping[str, Any] = extra()

    @classmethod
    def extend(cls, parser: ArgumentParser) -> None:
        """Add the recipe's values, which have no defaults of their own, and --config."""
        parser.add_argument("--config", action="config", help="YAML with any of these options")
        group = parser.add_argument_group("recipe", "what is not given here comes from the recipe")
        for field in fields(Recipe):
            if field.name == "name":
                continue
            flag, value = f"--{field.name.replace('_', '-')}", getattr(small(), field.name)
            text = f"{_RECIPE_HELP[field.name]}; small: {_spoken(value)}"
            if field.type is bool:
                yes_no = ActionYesNo(no_prefix="no-")
                group.add_argument(flag, action=yes_no, default=SUPPRESS, help=f"{text} (or --no-...)")
            else:
                kind = str if field.name == "template" else field.type
                group.add_argument(flag, type=kind, default=SUPPRESS, help=text)  # pyright: ignore[reportArgumentType]

    @property
    def begun(self) -> dict[str, Any]:
        """What --resume takes from the run folder: these options, and the recipe values that were given."""
        return {
            "baselines": self.beside.baselines,
            "skip_unreadable": self.files.skip_unreadable,
            "checkpoint_every": self.checkpoint_every,
            **{key: getattr(self, key) for key in ("encoder", "text", "classes", "val")},
            **asdict(self.labelled),
            "head": self.head,
            "train_head": self.train_head,
            "names": self.naming.names,
            "k": self.k,
            "held_out": self.held_out,
            "recipe": self.recipe,
            **self.overrides,
        }

    def __call__(self) -> None:
        import torch

        from texthead.commands.console import bar, say_names, say_prompts
        from texthead.data import dataset as datasets
        from texthead.data.dataset import splits_of
        from texthead.data.division import HELD_OUT, divide
        from texthead.data.protocol import Protocol, Views
        from texthead.encoders.load import load_encoder
        from texthead.features.cache import FeatureCache, encoder_key
        from texthead.features.views import Pretrained
        from texthead.models.build import make_head, make_temporal_for, needs_features, pixels_for
        from texthead.models.head_rows import RowInputs
        from texthead.models.recognizer import Recognizer
        from texthead.parallel.distributed import rank
        from texthead.runs.run import check_out
        from texthead.training import train as training
        from texthead.training.execution import Callbacks, Execution, RunInfo
        from texthead.training.fit_recipe import check_given_is_used, suit
        from texthead.training.tensorboard import TensorBoardLog
        from texthead.transfer.baselines import Comparison, are_few, baselines

        recipe, given = RECIPES[self.recipe](**self.overrides), frozenset(self.overrides)
        out = Path(self.out)
        check_out(out, resume=self.resume)
        check_given_is_used(recipe, self.head, given=given)
        device = self.files.pick_device()
        board = TensorBoardLog(out / "tensorboard") if self.tensorboard and rank() == 0 else None
        dataset = _read(self)
        parts = divide(dataset, seed=recipe.seed, part=self.held_out, k=self.k)
        labels = parts.train.classes
        names, sentences, said = named(self, parts.train)
        shown = prompts.class_prompts(recipe.template, names, sentences)
        encoder = load_encoder(self.encoder, text=self.text, prompts=prompts.flat(shown))
        if self.head in ("text", "prompt") and not encoder.has_text:
            raise DataError(
                f"--head {self.head}: {self.encoder} has no text encoder; use linear, normal, orthogonal or lda"
            )
        recipe, changed = suit(recipe, parts.train, encoder, given=given)
        drawn = f" (drawn with seed {recipe.seed}, {self.held_out or HELD_OUT:.0%} a class)"
        _announce(parts, (*dataset.notes, *said, *changed), "" if splits_of(dataset) else drawn)
        say_names(labels, names, recipe.template if self.head == "text" and not any(sentences) else None)
        if any(sentences):
            say_prompts(labels, shown)

        encoder.visual.to(device)
        pixels = pixels_for(recipe, encoder.visual.spec)
        temporal = make_temporal_for(recipe, encoder.visual)
        cache = FeatureCache(encoder_key(encoder.visual, pixels), self.beside.folder)
        protocol = Protocol(recipe.frames, pixels, Views(origin=recipe.origin))
        reading = self.files.reading(cache)
        ground = Pretrained(encoder, protocol, reading, bar)
        compare = are_few(self.beside.baselines, len(parts.train))
        found = None
        if compare or needs_features(self.head, recipe) or self.files.skip_unreadable:
            found, parts = _readable(ground, parts)
        targets = torch.tensor(datasets.label_indices(parts.train, labels))
        inputs = RowInputs(encoder, labels, recipe, names=names, sentences=sentences, features=found, targets=targets)
        head = make_head(self.head, inputs, trainable=self.train_head)
        if head.learned_template:
            say_prompts(labels, head.prompts or ())
        table = Comparison(parts, labels)
        if compare and found is not None and len(parts.scored):
            baselines(ground, table, names, recipe, found, targets, prompts=shown)
        model = Recognizer(encoder.visual, temporal, head).to(device)
        with bar("train", "clips") as progress, board or nullcontext():
            records = training.train(
                model,
                parts.train,
                parts.val,
                recipe,
                out=out,
                resume=self.resume,
                execution=Execution(self.files.workers, cache, self.shard, self.compile, self.checkpoint_every),
                info=RunInfo(names, parts.scored, self.begun),
                callbacks=Callbacks(progress, progress.say, record=board.add if board else Callbacks().record),
            )
        # An encoder that was trained has other features than the cache.
        reading = reading if recipe.freeze_encoder else replace(reading, cache=None)
        _score(out, model, table, protocol, reading, self.head)
        _report(out, model, records, table, protocol, reading)


FEW_TO_REORDER = 500  # items; each takes some 15 ms of a core


def named(command: Train, train_set: "Dataset") -> tuple[list[str], list[tuple[str, ...] | None], list[str]]:
    """(the class name of each training label, its own sentences or None, what is to be said of it).

    Without --classes, names come from the labels.

    Raises:
        DataError: a label that is not among the classes, or options that do nothing together.
    """
    from texthead.commands.console import check_template_fills

    labels, clean = train_set.classes, command.naming.clean
    if command.classes is None:
        return clean_names(labels) if clean else labels, [None] * len(labels), []
    classes = prompts.read_classes(command.classes)
    if any(classes.values()) and command.head != "text":
        raise DataError(f"--head {command.head} makes no rows of sentences: leave them out of {command.classes}")
    check_template_fills(command.overrides.get("template"), classes)
    found = prompts.classes_for(classes, labels, train_set.source, clean=clean)
    places = [found.labels.index(label) for label in labels]
    rest = [label for label in found.labels if label not in labels]
    more = f" and {len(rest) - 8} more" if len(rest) > 8 else ""
    said = [f"{command.classes}: without a training item, and so left out: {', '.join(rest[:8])}{more}"] if rest else []
    return [found.names[i] for i in places], [found.sentences[i] for i in places], said


def _read(command: Train) -> "Dataset":
    """The labelled files of DATA, and those of --val as what is held out."""
    from texthead.data.division import with_validation

    dataset = command.labelled.read(command.data)
    if command.val is None:
        return dataset
    if command.held_out is not None:
        raise DataError(f"--held-out {command.held_out}: --val {command.val} is what is held out; give one of them")
    return with_validation(dataset, command.labelled.read(command.val))


def _announce(parts: "Division", lines: Sequence[str], drawn: str) -> None:
    """What was changed, and who trains and who is scored."""
    from texthead.commands.console import notes

    say = notes()
    for line in lines:
        say.print(f"note: {line}")
    say.print(
        f"{len(parts.train)} training items of {len(parts.train.classes)} classes, "
        f"{len(parts.scored)} {parts.scored_name} items to score{drawn}"
    )


def _readable(ground: "Pretrained", parts: "Division") -> "tuple[torch.Tensor, Division]":
    """The pretrained features of the readable training items, and the division without the others.

    What cannot be read is an error, or left out where the reading skips it. The scored items keep theirs: they are
    listed and counted beside the result.
    """
    from texthead.commands.console import notes

    found, positions, errors = ground.features(parts.train, "encode training items")
    for error in errors:
        notes().print(f"skipped: {error}")
    train = parts.train.pick(positions) if errors else parts.train
    if train.classes != parts.train.classes:
        lost = sorted(set(parts.train.classes) - set(train.classes))
        raise DataError(f"class {lost[0]!r} has no readable training item: mend its files or remove the class")
    val = parts.val
    if ground.reading.skip_unreadable and val is not None:
        val = val.pick(ground.features(val, "encode held-out items")[1])
    return found, replace(parts, train=train, val=val if val is not None and len(val) else None)


def _score(
    out: Path, model: "Recognizer", table: "Comparison", protocol: "Protocol", reading: "Reading", head: str
) -> None:
    """Print the run's own score beside the baselines, and write it into the run folder."""
    from texthead.commands.console import bar, notes
    from texthead.commands.score_table import show_table
    from texthead.evaluation import evaluate
    from texthead.parallel.distributed import rank
    from texthead.runs.scores import RunScores, Score, write_scores

    if not len(table.division.scored):
        notes().print("note: no held-out item, so nothing was scored")
        return
    with bar("score", "files") as progress:
        result = evaluate.evaluate(model, table.division.scored, protocol, reading, progress=progress)
    table.add(f"this run ({head} head)", result)
    show_table(table)
    if rank() == 0:
        write_scores(out, RunScores(table.division.scored_name, tuple(Score.of(*row) for row in table.rows)))


def _report(
    out: Path,
    model: "Recognizer",
    records: Sequence[dict],
    table: "Comparison",
    protocol: "Protocol",
    reading: "Reading",
) -> None:
    """`report.html` in the run folder, with what takes no more than seconds: no frame is encoded for it again."""
    from texthead.commands.console import results
    from texthead.evaluation.frame_order import blind_to_order, order_test
    from texthead.parallel.distributed import rank
    from texthead.report.mistakes import strips
    from texthead.report.probabilities import how_sure
    from texthead.report.run_page import write_report

    shown, order, sure = [], "", None
    if table.rows:
        blind = blind_to_order(model, protocol.frames)
        order = blind or f"Not tested here; `texthead report {out}` does."
        if not blind and reading.cache is not None and len(table.division.scored) <= FEW_TO_REORDER:
            order = order_test(model, table.division.scored, protocol, reading)
    if rank() == 0:
        if table.rows:
            _, own = table.rows[-1]
            shown, sure = strips(own, protocol), how_sure(own)
        write_report(out / "report.html", out, model, records, table, shown, order, sure)
    results().print(f"run: {out}   report: {out / 'report.html'}")


def from_options(options: Namespace, given: Namespace) -> Train:
    """Return the command; with --resume, options that are not `given` are those that the run was begun with."""
    if options.resume:
        resumed(options, given)
    return build(Train, options.as_dict(), overrides=_recipe_values(given))


def _recipe_values(given: Namespace) -> dict[str, Any]:
    """Return the recipe values that were given; a template file is read."""
    values = {f.name: given[f.name] for f in fields(Recipe) if f.name != "name" and f.name in given}
    if isinstance(values.get("template"), str):
        values["template"] = prompts.read_template(values["template"])
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


# What a run is begun with and has to be resumed with, beside the recipe's values.
_KEPT = ("baselines", "skip_unreadable", "checkpoint_every")  # these may also be given anew

_TEXTS = ("encoder", "text", "classes", "val", "labels", "root", "frame_template", "suffix")

_FIXED = (*_KEPT, *_TEXTS, "head", "train_head", "names", "k", "held_out", "recipe")


def _check_begun(begun: dict[str, Any], folder: Path) -> None:
    """Nothing, if a run can have been begun with these options."""
    told = f"{folder / 'recipe.json'}: no run is begun with"
    for key in set(begun) - {*_FIXED, *(field.name for field in fields(Recipe))}:
        raise RunError(f"{told} {key!r}: restore it from a copy")
    # The parser takes anything for an option without a type.
    kinds = {**dict.fromkeys(_TEXTS, str | None), **dict.fromkeys(("train_head", "skip_unreadable"), bool)}
    for key in kinds.keys() & begun:
        if not isinstance(begun[key], kinds[key]):
            raise RunError(f"{told} {key!r} {begun[key]!r}: restore it from a copy")
    # The templates of a file are kept as they were read.
    values, templates = {**begun}, begun.get("template", "")
    if isinstance(templates, list) and all(isinstance(each, str) for each in templates):
        del values["template"]
    try:
        parser_of(Train, exit_on_error=False).parse_object({**values, "data": "", "out": ""}, defaults=False)
    except (ArgumentError, KeyError) as error:
        raise RunError(f"{told} such options ({error}): restore it from a copy") from None


def resumed(options: Namespace, given: Namespace) -> None:
    """Nothing; options that are not given are put to what the run was begun with.

    Raises:
        RunError: no run to resume, one that no options began, or an option that is given differs from what the run was
            begun with.
    """
    from texthead.runs.run import begun_with

    begun = begun_with(Path(options.out))
    _check_begun(begun, Path(options.out))
    for key, value in begun.items():
        if key in _KEPT and key in given:
            continue
        typed = given.get(key, value)
        typed = prompts.read_template(typed) if key == "template" and isinstance(typed, str) else typed
        if (list(typed) if isinstance(typed, tuple) else typed) != value:
            option = f"--{key.replace('_', '-')}"
            raise RunError(f"{options.out}: was begun with {option} {value}, not {typed}: leave {option} out to resume")
        options[key] = given[key] = typed


def _spoken(value: object) -> str:
    """A recipe's value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return f"[{', '.join(f'{part:.3g}' for part in value)}]"
    return "the encoder's" if value is None else str(value)
