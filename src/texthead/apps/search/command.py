"""`texthead find`: search a folder of videos and photos by words or an example, and teach it by clicking."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.cli import argument, check_no_encoder, common, console, default_workers, option, say_better
from texthead.errors import DataError, NonNegativeInt, PositiveInt, RunError, listed, on_one_line, plural
from texthead.extras import check_extra
from texthead.files import scratch_folder
from texthead.media import MediaPath, Span

if TYPE_CHECKING:
    from texthead.apps.search.index import Index
    from texthead.apps.search.search import Results


@dataclass(frozen=True, kw_only=True)
class Find:
    """Search a folder of videos and photos by words or by an example; the best moments come first.

    The first search encodes the folder, later ones only files that are new or changed. Similar neighbouring moments and
    near copies are one result. If the best one does not stand out, the first line says so.

    Args:
        inputs: what to find: "a red kite on the beach"; then a folder, CSV (path) or YAML file
        not_: words for what is not meant: "a bird, a plane"
        like: find what is like this photo, video or film.mp4#t=3,7.5
        top: number of results
        page: open a page: search, mark hits and misses, search again
        marks: CSV file (path,label) of marked results to learn from
        save: run folder to write a classifier learned from the marks to
        run: a run folder, or hub:ORG/NAME[@REVISION]
        out: CSV file to write the results to
    """

    JSON: ClassVar = "query, fits, note, results [path, start, end, score, probability, window, copies]"

    USAGE: ClassVar = (
        "texthead find WORDS FOLDER [--not WORDS] [options]\n"
        "       texthead find --like FILE FOLDER [options]\n"
        "       texthead find [WORDS] FOLDER --page [--marks FILE.csv] [options]"
    )

    inputs: list[str] = argument("WORDS_OR_FOLDER", nargs="+")
    not_: str | None = option(None, "WORDS")
    like: str | None = option(None, "FILE")
    top: PositiveInt = option(20, "N")
    page: bool = False
    marks: str | None = option(None, "FILE.csv", writes=".csv")
    save: str | None = option(None, "RUN")
    run: str | None = option(None, "RUN")
    out: str | None = option(None, "FILE.csv", writes=".csv")
    encoder: str | None = common("encoder without a run")
    text: str | None = common("text")
    port: NonNegativeInt = common("port")
    device: str = common("device")

    def check(self) -> None:
        """Raise DataError if the data does not exist or options exclude each other."""
        words, data = self._words_and_data()
        MediaPath(data).check()
        if self.like is not None:
            MediaPath(self.like).check()
        if words and self.like:
            raise DataError(f"--like {self.like} replaces the words: remove '{words}'")
        if not (words or self.like or self.page):
            raise DataError(f"find needs words before {data}, or --like FILE, or --page")
        if self.save and not (self.marks or self.page):
            raise DataError(f"--save {self.save} learns from marks: add --marks marks.csv, or --page to make them")
        if self.run:
            check_no_encoder(self, self.run)
        if self.not_ and self.marks and not self.page:
            raise DataError(f"--not {self.not_}: results are ranked by the marks; mark some as other, and remove --not")
        if self.page and self.out:
            raise DataError(
                f"--out {self.out}: a page writes no results; remove --out, and keep marks with --marks FILE.csv"
            )
        if self.save and not self.page and Path(self.save).exists():
            raise RunError(f"{self.save}: already exists; choose another folder, or remove it")

    def _words_and_data(self) -> tuple[str, str]:
        """Return (the words, or "", the folder or manifest).

        Raises:
            DataError: more than two inputs.
        """
        if len(self.inputs) > 2:
            raise DataError(f"find takes words and a folder, got {len(self.inputs)}: put the words in quotes")
        return "".join(self.inputs[:-1]).strip(), self.inputs[-1]

    def __call__(self) -> None:
        if self.page:
            check_extra("ui", "texthead find --page")
        from texthead import EncoderOptions, ReadOptions, load_run
        from texthead.apps.search.index import open_index
        from texthead.apps.search.marks import Marks
        from texthead.apps.search.search import query_name, query_row, search, write_hits
        from texthead.parallel import pick_device

        words, data = self._words_and_data()
        reading, device = ReadOptions(default_workers(), cache=True, engine="auto"), pick_device(self.device)
        if self.run:
            model = load_run(self.run).to(device)
        else:
            model = EncoderOptions(self.encoder or "mini", text=self.text, device=device)
            say_better(data, str(model.source), "`--encoder {}` is probably better")
        console.status("searching")
        index = open_index(data, model, reading, reporter=console.reporter)
        if self.page:
            self._serve(index, words)
            return
        query, taught = Path(self.like) if self.like else words, None
        if self.marks:
            file = Path(self.marks)
            if not self.save and not file.exists():
                absent = f"--marks {file} does not exist"
                console.say_notes(f"{absent}: the hits are ranked by the query alone; check the path")
            taught = Marks(index, query_name(query), query_row(index, query), file, console.reporter)
        avoid = [text.strip() for text in (self.not_ or "").split(",") if text.strip()]
        results = search(index, taught.head() if taught and taught.hit else query, avoid=avoid, top=self.top)
        if self.out:
            write_hits(results.hits, Path(self.out))
        if self.save and taught:
            taught.save_run(self.save)
        name = query_name(query)
        self._print(name, results)
        if self.out:
            console.notes().print(f"{self.out}: {plural(len(results.hits), 'hit')}")
        if self.save:
            console.notes().print(f"{self.save}: a run of {name!r} and 'other', learned from the marks")
            console.next_command("texthead", "predict", self.save, data)

    def _print(self, query: str, results: "Results") -> None:
        """Print whether the best hit stands out, and the hits."""
        rows = [hit._asdict() for hit in results.hits]
        console.show_json({"query": query, "fits": results.fits, "note": results.note, "results": rows})
        text = console.results()
        sure = "" if results.hits[0].probability is None else "probability, "
        heading = f"rank, standard deviations above the folder's mean, {sure}photo or moment:"
        for line in filter(None, (results.note, heading)):
            text.print(line)
        for rank, hit in enumerate(results.hits, 1):
            path = MediaPath(hit.path).part(Span(hit.start, hit.end))
            sure = "" if hit.probability is None else f"  {100 * hit.probability:.0f} %"
            more = f"  also {listed(hit.copies, 2)}" if hit.copies else ""
            line = f"{rank:>3}  {hit.score:+.1f}{sure}  {path}{more}"
            text.print(on_one_line(line), markup=False, highlight=False)

    def _serve(self, index: "Index", words: str) -> None:
        """Serve the page until it is interrupted."""
        from texthead.apps.search.app import SearchSession, search_app
        from texthead.apps.serving import listening, serve

        first = {"words": words, "avoid": self.not_ or "", "like": self.like or ""}
        marks, save = (Path(path) if path else None for path in (self.marks, self.save))
        with listening(self.port) as server, scratch_folder() as folder:
            session = SearchSession(index, folder, first, marks, save, self.top)
            serve(server, search_app(session))
