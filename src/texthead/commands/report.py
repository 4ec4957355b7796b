"""`texthead report`: write the HTML report of a run from its folder and labelled items."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.cli.options import BaselineOptions, DataOptions, DownloadOptions, ReadingOptions, SplitName, run_argument
from texthead.cli.outputs import check_out_file, check_outputs
from texthead.cli.parser import NonNegativeInt, UpTo12, argument, option
from texthead.errors import DataError
from texthead.extras import check_extra
from texthead.runs.saved import check_run

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
    from texthead.data.protocol import Protocol
    from texthead.evaluation.evaluate import Evaluation
    from texthead.evaluation.frame_order import OrderTest
    from texthead.features.reading import Reading
    from texthead.report.probabilities import CalibrationReport
    from texthead.runs import run as runs


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Write an HTML report of a run.

    The page has scores, training curves, confusions and the similarity of rows, calibration, a test of the frame
    order, the most confident mistakes with saliency maps, the recipe and the prompts.

    Args:
        run: a run folder, or hub:ORG/NAME[@REVISION]
        data: labelled items: class folders, CSV or TSV, a .txt list, a .json of a labelling tool, shards that texthead
            prepare wrote, or datasets:FOLDER_OR_ID (default: the items that the run held out)
        split: split of DATA to score (default: test, else val, else the items that the run held out)
        unknown: items that belong to no class of a calibrated run, to measure how many get a class
        out: HTML file to write (default: RUN/report.html)
        mistakes: number of the most confident wrong predictions to show, 0-12
        hits: number of the most confident correct predictions to show, 0-12
        saliency: number of the predictions shown that get a saliency map; 0 is fastest
    """

    JSON: ClassVar = "report, run, data, split, methods, classes, skipped, notes, as texthead eval --json"

    run: str = argument("RUN", read=run_argument)
    downloads: DownloadOptions = DownloadOptions()
    data: str | None = argument("DATA", nargs="?")
    labelled: DataOptions = DataOptions()
    split: SplitName | None = None
    unknown: str | None = option(None, "DATA2")
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
            check_out_file(str(page), page, ".html")

    def __call__(self) -> None:
        from texthead.cli.console import doing, next_command, notes, reporter, results, say_notes, show_json

        doing(f"loading {self.run}")
        from texthead.cli.score_table import scores_json, show_table
        from texthead.data.division import Division
        from texthead.evaluation.evaluate import evaluate
        from texthead.prediction.run_evaluation import calibrated
        from texthead.report.mistakes import mistake_strips
        from texthead.report.run_page import PageParts, write_report
        from texthead.runs import run as runs
        from texthead.runs.hub import check_own
        from texthead.runs.metrics import read_records
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
        chosen, split_name = choose_scored(run, dataset, self.split)
        say.print(f"scoring {len(chosen)} items ({split_name}) of {len(chosen.classes)} classes")
        protocol = run.protocol
        # A cache for the run's own encoder: the test of the frame order and the next report encode nothing again.
        reading = self.files.reading(self.beside.folder)
        result = evaluate(run.model, chosen, protocol, reading, reporter=reporter)
        calibration_report = _calibration_report(run, result, protocol, others, self)
        doing("scoring the baselines")
        parts = Division(chosen, None, chosen, split_name)
        table = eval_baselines(run, parts, self.beside.baselines, reading, reporter)
        own, temperature, lines, limits = calibrated(run, protocol, result, chosen)
        say_notes(limits)
        table.add(f"this run ({run.head.title}){temperature}", own)
        table.lines += lines
        show_table(table)
        order = _order(run, chosen, protocol, reading)
        examples = mistake_strips(
            result,
            protocol,
            mistakes=self.mistakes,
            hits=self.hits,
            saliency_maps=self.saliency,
            engine=self.files.engine,
            model=run.model,
            reporter=reporter,
        )
        doing("writing the report")
        page_parts = PageParts(strips=examples, order=order, calibration_report=calibration_report)
        write_report(out, run.folder, run.model, records, table, page_parts)
        results().print(f"report: {out}")
        show_json({"report": out, "run": self.run, **scores_json(table)})
        next_command("texthead", "predict", self.run, chosen.items[0].path)


def check_unknown_is_used(run: "runs.Run", unknown: str | None) -> None:
    """Raise DataError if unknown items are given and the run has no threshold for its present classes."""
    from texthead.prediction.predict import calibration_for

    if unknown is None:
        return
    made, why = calibration_for(run, run.protocol)
    if made is None or made.threshold is None:
        reason = (why or "the run has none").removesuffix("; calibrate again")
        raise DataError(
            f"--unknown {unknown} measures the threshold of the run, but {reason}; run texthead calibrate RUN DATA "
            "--unknown OTHERS"
        )


def _calibration_report(
    run: "runs.Run",
    result: "Evaluation",
    protocol: "Protocol",
    unknown: "Dataset | None",
    command: ReportCommand,
) -> "CalibrationReport":
    """Return the reliability of the probabilities, and of the threshold on unknown items if there are any."""
    from texthead.cli.score_table import scores_of
    from texthead.media.paths import fingerprints
    from texthead.prediction.predict import calibration_for
    from texthead.report.probabilities import calibration_report
    from texthead.runs import run as runs

    made, why = calibration_for(run, protocol)
    lines, others = [f"{runs.CALIBRATION}: {why}."] if why else [], None
    if made is not None and unknown is not None:
        prints = fingerprints([item.path for item in unknown.items])
        fresh = unknown.pick([place for place, content in enumerate(prints) if content not in made.content])
        if not len(fresh):
            raise DataError(
                f"--unknown {command.unknown}: the threshold was set on all {len(unknown)} items: give others"
            )
        if len(fresh) < len(unknown):
            lines.append(
                f"{len(unknown) - len(fresh)} of the {len(unknown)} unknown items are left out: the threshold was set "
                "on them."
            )
        others, _ = scores_of(run, protocol, command.files.reading(), fresh, "score unknown items")
    return calibration_report(result, calibration=made, unknown=others, lines=lines)


def _order(run: "runs.Run", chosen: "Dataset", protocol: "Protocol", reading: "Reading") -> "OrderTest | str":
    """Return the test of the frame order, or why there is none ("" for images)."""
    from texthead.cli.console import reporter
    from texthead.evaluation.frame_order import blind_to_order, order_test

    blind = blind_to_order(run.model, protocol.frames)
    if blind is not None:
        return blind
    return order_test(run.model, chosen, protocol, reading, reporter=reporter)
