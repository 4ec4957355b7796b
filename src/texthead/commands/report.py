"""`texthead report`: the page of a run, made anew from its folder and labelled items."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from texthead.commands.options import (
    BaselineOptions,
    DataOptions,
    DownloadOptions,
    ReadingOptions,
    SplitName,
    local_run,
)
from texthead.commands.outputs import check_file, check_outputs
from texthead.commands.parser import NonNegativeInt, UpTo12, argument, option
from texthead.errors import DataError
from texthead.extras import check_extra
from texthead.runs.saved import check_run

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
    from texthead.data.protocol import Protocol
    from texthead.evaluation import evaluate
    from texthead.evaluation.frame_order import OrderTest
    from texthead.features.reading import Reading
    from texthead.report.probabilities import HowSure
    from texthead.runs import run as runs


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Write an HTML report of a run.

    It shows scores, curves, confusions beside the similarity of the rows, calibration, a test of the frames' order,
    the most confident mistakes and where in their frames they came from, recipe and prompts.

    Args:
        run: a run folder, or hub:ORG/NAME[@REVISION]
        data: class folders, CSV or TSV, list .txt, labelling tool's .json, prepared SHARDS, or datasets:FOLDER_OR_ID;
            the items that the run held out, if not given
        split: test, else val, if not given
        unknown: items of no class of a calibrated run: how many of them get a name all the same
        unseen: labelled items of other classes: zero-shot top-1 on them and the run's on its own, with weights between
            the pretrained and the fine-tuned encoder
        out: where the page goes (RUN/report.html)
        mistakes: surest wrong answers that are shown, up to 12
        hits: surest right answers, up to 12
        saliency: how many of those get a saliency map; 0: none, which is faster
    """

    run: str = argument("RUN", read=local_run)
    downloads: DownloadOptions = DownloadOptions()
    data: str | None = argument("DATA", nargs="?")
    labelled: DataOptions = DataOptions()
    split: SplitName | None = None
    unknown: str | None = option(None, "DATA2")
    unseen: str | None = option(None, "DATA3")
    out: str | None = option(None, "FILE")
    mistakes: UpTo12 = option(4, "N")
    hits: UpTo12 = option(2, "N")
    saliency: NonNegativeInt = option(4, "N")
    beside: BaselineOptions = BaselineOptions()
    files: ReadingOptions = ReadingOptions()

    def check(self) -> None:
        """Raise RunError if RUN is no run, DataError if the page cannot be written."""
        check_extra("plots", "texthead report")
        check_run(self.run)
        check_outputs(self, out=".html .htm")
        if self.out and not Path(self.out).parent.is_dir():
            raise DataError(f"--out {self.out}: there is no folder {Path(self.out).parent}; make it first")
        if self.out is None:
            page = Path(self.run) / "report.html"
            check_file(str(page), page, ".html")

    def __call__(self) -> None:
        from texthead.commands.console import bar, notes, results, say_notes
        from texthead.commands.score_table import calibrated, show_table
        from texthead.data.division import Division
        from texthead.encoders.encoder import as_visual
        from texthead.evaluation import evaluate
        from texthead.report.mistakes import strips
        from texthead.report.run_page import Looks, write_report
        from texthead.runs import run as runs
        from texthead.runs.hub import check_own
        from texthead.runs.metrics import read_records
        from texthead.runs.mixture import forgetting
        from texthead.runs.scored_items import choose_scored, held_out_items, unknown_items
        from texthead.transfer.baselines import eval_baselines

        run, say = runs.load_run(self.run, allow_download=self.downloads.allow_download), notes()
        run.model.to(self.files.pick_device())
        if self.out is None:
            check_own(run.folder)
        out = run.folder / "report.html" if self.out is None else Path(self.out)
        records = read_records(run.folder)
        dataset = held_out_items(run) if self.data is None else self.labelled.read(self.data)
        say_notes(dataset.notes)
        check_unknown_is_used(run, self.unknown)
        others = None if self.unknown is None else unknown_items(run, self.labelled.read(self.unknown))
        new = None if self.unseen is None else unknown_items(run, self.labelled.read(self.unseen))
        chosen, split_name = choose_scored(run, dataset, self.split)
        say.print(f"scoring {len(chosen)} items ({split_name}) of {len(chosen.classes)} classes")
        protocol = run.protocol
        # Of the run's own encoder, so that the test of the frames' order and the next report encode nothing again.
        reading = self.files.reading(self.beside.features_of(as_visual(run.model.visual), run.pixels))
        with bar("score", "files") as progress:
            result = evaluate.evaluate(run.model, chosen, protocol, reading, progress=progress)
        sure = _sure(run, result, protocol, others, self)
        parts = Division(chosen, None, chosen, split_name)
        table = eval_baselines(run, parts, self.beside.baselines, self.beside.folder, reading, bar)
        own, warmth, said = calibrated(run, protocol, result, chosen)
        table.add(f"this run ({run.model.head.kind} head){warmth}", own)
        table.lines += said
        show_table(table)
        order = _order(run, chosen, protocol, reading)
        mixes = [] if new is None else forgetting(run, chosen, new, reading=reading)
        with bar("look", "clips") as progress:
            shown = strips(
                result,
                protocol,
                mistakes=self.mistakes,
                hits=self.hits,
                lit=self.saliency,
                engine=self.files.engine,
                most_megapixels=self.files.most_megapixels,
                model=run.model,
                progress=progress,
            )
        looks = Looks(strips=shown, order=order, sure=sure, mixes=mixes)
        write_report(out, run.folder, run.model, records, table, looks)
        results().print(f"report: {out}")


def check_unknown_is_used(run: "runs.Run", unknown: str | None) -> None:
    """Nothing, unless unknown items are given to a run whose threshold they cannot measure.

    Raises:
        DataError: the run has no threshold, or it does not hold for its classes as they are.
    """
    from texthead.prediction.predict import calibration_for

    if unknown is None:
        return
    made, why = calibration_for(run, run.protocol)
    if made is None or made.threshold is None:
        told = why or "the run has none"
        raise DataError(
            f"--unknown {unknown} measures the threshold of a calibrated run, and {told}: texthead calibrate RUN DATA "
            "--unknown OTHERS sets it"
        )


def _sure(
    run: "runs.Run",
    result: "evaluate.Evaluation",
    protocol: "Protocol",
    unknown: "Dataset | None",
    command: ReportCommand,
) -> "HowSure":
    """How far the probabilities can be taken at their word; a threshold is measured by unknown items, where given."""
    from texthead.commands.score_table import scores_of
    from texthead.media.fingerprints import fingerprints
    from texthead.prediction.predict import calibration_for
    from texthead.report.probabilities import how_sure
    from texthead.runs import run as runs

    made, why = calibration_for(run, protocol)
    lines, others = [f"{runs.CALIBRATION}: {why}."] if why else [], None
    if made is not None and unknown is not None:
        prints = fingerprints([item.path for item in unknown.items])
        fresh = unknown.pick([place for place, content in enumerate(prints) if content not in made.content])
        if not len(fresh):
            raise DataError(
                f"--unknown {command.unknown}: the threshold was set by all {len(unknown)} items: give others"
            )
        if len(fresh) < len(unknown):
            lines.append(
                f"{len(unknown) - len(fresh)} of the {len(unknown)} unknown items set the threshold and are left out."
            )
        others, _ = scores_of(run, protocol, command.files.reading(), fresh, "score unknown items")
    return how_sure(result, calibration=made, unknown=others, lines=lines)


def _order(run: "runs.Run", chosen: "Dataset", protocol: "Protocol", reading: "Reading") -> "OrderTest | str":
    """The test of the frames' order, or why there is none."""
    from texthead.commands.console import bar
    from texthead.evaluation.frame_order import blind_to_order, order_test

    blind = blind_to_order(run.model, protocol.frames)
    if blind:
        return blind
    with bar("other orders", "files") as progress:
        return order_test(run.model, chosen, protocol, reading, progress=progress)
