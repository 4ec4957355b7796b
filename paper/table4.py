"""Table 4: forms of the text input.

Command: python -m paper run table4 --scale full --data DATA
Files:   DATA/k400; openclip:ViT-B-16/openai
Cost:    10 hours on 8 GPUs with one template (the paper's number)
Paper:   class name 81.37; "a video of a person" 81.52; several templates 80.88; a learnable one 81.22
Choices: temporal transformer. Several templates: the 28 that the published code has, unused: a photo, video, example
         or demonstration of the name, of a person and the name, or of a person using, doing, during, performing or
         practicing it; the paper lists none. Training draws one per class and forward pass, testing uses the mean
         embedding; the paper states neither. The learnable template: 16 random vectors, the name and a full stop.
Mini:    moving shapes, 48 classes, 4 frames of 64 pixels, small ViT-CLIP fine-tuned for 60 steps with batch size 16.
         The learnable template starts from the words of the one template, not from random vectors, as 60 steps are few.
"""

from dataclasses import replace

from paper import worlds
from paper.rows import Row
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, gap, judge

TITLE = "Table 4: forms of the text input"
NAME, ONE, SEVERAL, LEARNED = "class name", "one template", "several, drawn in training", "learnable template"
PAPER = {NAME: 81.37, ONE: 81.52, SEVERAL: 80.88, LEARNED: 81.22}
VERBS = ("using", "doing", "during", "performing", "practicing")
FORMS = ("{}", "a person {}", *(f"a person {verb} {{}}" for verb in VERBS))
# "a example": the spelling of CLIP's own list of these 28 for Kinetics-700.
PUBLISHED = tuple(f"a {noun} of {form}." for noun in ("photo", "video", "example", "demonstration") for form in FORMS)
SHAPES = ("{}", "a picture of {}", "a video of {}.", "a drawing of {}.", "a clip of {}.", "this is {}.")


def forms(base: Row, one: str, several: tuple[str, ...], context: int) -> dict[str, Row]:
    """Return the four rows; the learnable template is `context` random vectors, or starts from `one` if that is 0."""
    return {
        NAME: base.changed(template="{}"),
        ONE: base.changed(template=one),
        SEVERAL: base.changed(template=several, template_use="drawn"),
        LEARNED: replace(base.changed(template="{}." if context else one, context=context), head="prompt"),
    }


def plan(setting: Setting) -> Plan:
    """Run the four forms."""
    base = worlds.at(setting.scale, full=worlds.KINETICS, mini=worlds.SHAPES_VIT).changed(temporal="transformer")
    if setting.scale == "full":
        rows = forms(base, "a video of a person {}.", PUBLISHED, 16)
    else:
        rows = forms(base, "a video of {}.", SHAPES, 0)
    results = yield setting.jobs(rows)
    values = {title: results.values(title) for title in rows}
    section = Section("table4", TITLE)
    section.notes.append(f"Several templates: {', '.join(map(repr, rows[SEVERAL].changes['template']))}.")  # pyright: ignore[reportArgumentType]
    section.tables.append(
        Table(
            "Top-1; mean and 95 % interval over seeds, differences paired by seed.",
            ["text input", "top-1", "minus class name", "paper, K400"],
            [[t, cell(values[t]), gap(values[t], values[NAME]), f"{PAPER[t]:.2f}"] for t in rows],
        )
    )
    section.verdicts += [
        judge(10, "one template is better than the bare class name", [("one minus name", values[ONE], values[NAME])]),
        judge(10, "several templates are worse than one", [("one minus several", values[ONE], values[SEVERAL])]),
        judge(
            10,
            "a learnable template is between several templates and one",
            [
                ("learnable minus several", values[LEARNED], values[SEVERAL]),
                ("one minus learnable", values[ONE], values[LEARNED]),
            ],
        ),
    ]
    return section
