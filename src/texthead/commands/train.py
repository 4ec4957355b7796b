"""`texthead train`: split the data, train, and score the run beside the baselines."""

import shlex
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from texthead.cli import console
from texthead.cli.encoder_choice import HERE, chosen_encoder
from texthead.cli.options import ReadingOptions, TrainingData, common, default_workers
from texthead.cli.parser import option
from texthead.cli.recipe_file import ChosenRecipe, choose_recipe
from texthead.errors import DataError, NonNegativeInt, Share
from texthead.extras import check_extra, is_installed, missing
from texthead.files import unused
from texthead.recipes import OF_FROZEN, named
from texthead.runs.saved import check_out

if TYPE_CHECKING:
    from texthead.prediction.run import Run
    from texthead.transfer.baselines import ScoreTable
    from texthead.transfer.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Train(TrainingData, ReadingOptions):
    """Train a classifier on labelled photos or videos, and write it as a run.

    In seconds, it fits a linear head to a frozen encoder; with --tune all it fine-tunes the encoder, in minutes. The
    other commands take the run.

    Args:
        out: run folder to create
        val: labelled files to score on; DATA only trains
        held_out: fraction of each class to score on (default: 0.2)
        tune: weights to fine-tune: none (default), all, lora, norm
        head: text, linear, cosine or lda
        recipe: small, paper, text4vis or a YAML file
        set: change a value of the recipe, e.g. epochs=20; repeatable
        print_recipe: print the recipe as a YAML file, and exit
        seed: random seed
        resume: continue a run that was stopped, with the options that it was started with
    """

    SECTIONS: ClassVar = {
        "data": ("data", "val", "held_out", "k", "classes", "unlabelled"),
        "encoder": ("encoder", "text"),
        "fine-tuning": ("tune", "head", "recipe", "set", "print_recipe"),
        "running": ("out", "seed", "resume", "device", "workers", "skip_unreadable", "quiet", "verbose", "json"),
    }
    PROCESSES: ClassVar = "shared"
    JSON: ClassVar = "run, report, tuned, data, split, methods, classes, skipped, notes"
    USAGE: ClassVar = "texthead train DATA --out RUN [options]"

    out: str = option(metavar="RUN", writes="/")
    val: str | None = option(None, "DATA2")
    held_out: Share | None = option(None, "FRACTION")
    tune: Literal["none", "all", "lora", "norm"] | None = option(None, "WHAT")
    head: str = option("text", "NAME")
    recipe: str = option("small", "NAME")
    set: list[str] = option(list, "KEY=VALUE", repeated=True)
    print_recipe: bool = option(False)
    seed: NonNegativeInt | None = option(None, "N")
    resume: bool = option(False)
    encoder: str = common("encoder", text="mini, clip, ..., or here: the best one")

    @cached_property
    def chosen(self) -> ChosenRecipe:
        """The recipe, with the changes of the command line."""
        chosen = choose_recipe(self.recipe, self.set)
        changes = {key: value for key in ("seed", "tune") if (value := getattr(self, key)) is not None}
        for key, value in changes.items():
            if chosen.values.get(key, value) != value:
                raise DataError(f"--{key} {value}: the recipe sets {key}={chosen.values[key]}; remove one of the two")
        return chosen._replace(values={**chosen.values, **changes})

    @property
    def fine_tunes(self) -> bool:
        """Whether the training loop runs: with `--tune`, a recipe that is not `small`, or of a file.

        With `--tune none`, what only the loop uses starts it, with a frozen encoder; else a text-probe is fitted.
        """
        from texthead.parallel.distributed import world_size

        tune = self.chosen.values.get("tune")
        asked = bool(self.loop_options) if tune == "none" else tune is not None
        return self.resume or world_size() > 1 or asked or self.recipe != "small"

    @property
    def loop_options(self) -> list[str]:
        """The options that only the training loop uses."""
        names = [f"--set {key}={value}" for key, value in self.chosen.values.items() if key not in (*OF_FROZEN, "tune")]
        return [*names, *([f"--head {self.head}"] if self.head != "text" else [])]

    def check(self) -> None:
        """Raise DataError or RunError if DATA or the head does not exist, --out is in use, or a value is wrong."""
        named("head", self.head)
        options = self.loop_options  # Reads the recipe.
        super().check()
        check_out(Path(self.out), resume=self.resume)
        if options and not self.fine_tunes:
            raise DataError(
                f"{options[0]} is for training in steps: add --tune all, or --tune none to keep the encoder "
                "as it is; or remove it"
            )
        if self.resume and self.encoder == HERE:
            raise DataError(f"--encoder {HERE} with --resume: name the encoder that was chosen")
        if self.unlabelled and self.fine_tunes:
            others = "--tune" if self.chosen.values.get("tune") != "none" else "--head, --recipe and --set"
            raise DataError(
                f"--unlabelled {self.unlabelled} refines a head on the frozen encoder: remove it, or {others}"
            )
        if self.chosen.values.get("tune") == "lora":
            check_extra("lora", "--tune lora")

    def __call__(self) -> None:
        from texthead.data.reading import read_dataset
        from texthead.prediction.run_training import train

        console.status(f"reading {self.data}")
        dataset = read_dataset(self.data)
        if self.val is not None and self.held_out is not None:
            problem = f"--val {self.val} names the held-out items; use one of the two"
            raise DataError(f"--held-out {self.held_out}: {problem}")
        if self.val is not None:
            dataset = dataset.with_validation(read_dataset(self.val))
        reading = self.reading(dataset.paths, True)
        encoder = chosen_encoder(self, dataset, self.encoder, self.held_out, reading)
        console.status(f"loading the encoder {encoder.source}")
        run = train(
            dataset,
            self.out,
            encoder,
            classes=self.classes,
            k=self.k,
            held_out=self.held_out,
            fine_tune=self.fine_tunes,
            head=self.head,
            recipe=self.chosen.name,
            overrides=self.chosen.values,
            unlabelled=self.unlabelled,
            reading=reading,
            workers=default_workers(wanted=self.workers),
            resume=self.resume,
            command={"text": self.text, "k": self.k, "held_out": self.held_out},
            planned=self._say_plan,
            reporter=replace(console.reporter, say=_say),
        )
        table = run.scores
        assert table is not None
        train_set = table.division.train
        each = len(train_set) // len(train_set.classes)
        wrong = bool(table.rows) and table.result.rate[0] < NEARLY_ALL
        if not self.fine_tunes and wrong and each >= MANY and not train_set.multilabel:
            line = f"texthead train {shlex.quote(self.data)} --tune all --out {unused(run.folder)}"
            console.say_notes(
                f"with {each} training files per class, fine-tuning {run.spec.source} may improve accuracy: `{line}`"
            )
        _show(run, table, Path(self.out), tuned=self.fine_tunes)

    def _say_plan(self, plan: "Experiment") -> None:
        """Print how many items are for training and for scoring, and the class names."""
        from texthead.data.division import HELD_OUT
        from texthead.models.build import takes_sentences

        division = plan.division
        share = f"{100 * (self.held_out or HELD_OUT):g} % of each class, at least one"
        drawn = f" (drawn with seed {plan.recipe.seed}, {share})" if division.drawn else ""
        scored = f"{len(division.scored)} {division.scored_name} items" if len(division.scored) else "none"
        console.remarks().print(
            f"{len(division.train)} training items of {len(plan.labels)} classes, {scored} to score{drawn}"
        )
        if self.fine_tunes:
            for line in plan.changes:
                console.remarks().print(line)
        console.say_names(plan.labels, plan.names)
        if takes_sentences(self.head):
            console.say_prompts(plan.labels, plan.prompts)
        console.status("scoring the baselines" if self.fine_tunes else "encoding the items")


def _say(line: str) -> None:
    """Print a message on fine-tuning, after the notes, since it can take hours."""
    console.flush_notes()
    console.reporter.say(line)


def _show(run: "Run", table: "ScoreTable", out: Path, *, tuned: bool) -> None:
    """Print the scores of the run in the folder `out`, write its report, and print where both are."""
    from texthead.cli.score_table import scores_json, show_scores
    from texthead.evaluation.summary import kind_text
    from texthead.parallel.distributed import rank
    from texthead.prediction.load import cache_encoder_graph

    page = None
    if table.rows:
        show_scores(table)
    else:
        items = table.division.train
        about = f"{len(items)} {kind_text(item.path for item in items.items)} of {len(items.classes)} classes"
        console.results().print(f"trained on all {about}; none is held out, so the run has no score")
    if is_installed("matplotlib"):
        console.status("writing the report")
        page = out / "report.html"
        if rank() == 0:
            run.write_report(page, table)
    console.results().print(f"report: {page}" if page else f"run: {out}")
    if page is None:
        console.notes().print(f"note: {missing('report.html', 'matplotlib', 'plots')}, then `texthead report {out}`")
    console.show_json({"run": out, "tuned": tuned, **scores_json(table), "report": page})
    items = table.division.scored or table.division.train
    console.next_command("texthead", "predict", out, items.items[0].path)
    if not tuned:
        sys.stdout.flush()
        cache_encoder_graph(out, run.model, run.protocol.sizes.size)


# Labels a class from which on fine-tuning gained on two of five data sets (docs/decisions.md), and a score that leaves
# little to gain.
MANY, NEARLY_ALL = 16, 97.0
