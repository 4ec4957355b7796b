"""Table 3: pre-training of the visual encoder, for vision-text and vision-only.

Command: python -m paper run table3 --scale full --data DATA
Files:   DATA/k400; openclip:ViT-B-16/openai; timm:vit_base_patch16_224.augreg_in1k for the ImageNet rows, with text
         rows of sentence-transformers/all-MiniLM-L6-v2
Cost:    10 hours on 8 GPUs per row (the paper's number)
Paper:   CLIP: vision-only 75.27, vision-text 80.13; ImageNet: 74.78 and 75.63
Choices: mean pooling. The paper does not say how 512-dimensional text rows fit an ImageNet ViT of width 768, nor which
         weights it uses: `full` maps the embeddings of a sentence encoder to 768 dimensions.
Mini:    clothing photos, fine-tuned at 96 pixels, 40 steps with batch size 10. "Aligned": Lite0, text rows mapped to
         its features by the bridge. "Not aligned": the same network, MiniLM embeddings mapped to its width without the
         bridge. "No language": Lite1 with the same MiniLM embeddings.
"""

from dataclasses import replace

from paper import worlds
from paper.head_rate import AT_ONE, AT_TEN, TUNED, chosen_rate, vision_only
from paper.running import Plan, Setting
from paper.section import Section, Table, cell, gap, judge

TITLE = "Table 3: pre-training of the visual encoder"
ALIGNED, UNALIGNED, NONE = "aligned", "not aligned", "no language"
PAPER = {ALIGNED: (75.27, 80.13), NONE: (74.78, 75.63)}
METHODS = (AT_ONE, AT_TEN, TUNED)
SENTENCES = "text:sentence-transformers/all-MiniLM-L6-v2"


def plan(setting: Setting) -> Plan:
    """Run vision-text and the three vision-only heads on each encoder."""
    full = setting.scale == "full"
    base = worlds.at(setting.scale, full=worlds.KINETICS_MEAN, mini=replace(worlds.CLOTHING, watch=5))
    only = SENTENCES if full else "minilm"
    imagenet = replace(base, encoder="timm:vit_base_patch16_224.augreg_in1k" if full else "mini:lite1", watch=0)
    rate = yield from chosen_rate(setting, base, f"100% of {base.data}")
    imagenet_rate = yield from chosen_rate(setting, imagenet, f"{NONE}, 100% of {base.data}")
    rows = {
        f"vision-text, {ALIGNED}": base,
        f"vision-text, {UNALIGNED}": replace(base, text=only, watch=0),
        **vision_only(base, rate, f", {ALIGNED}"),
        f"vision-text, {NONE}": replace(imagenet, text=only),
        **vision_only(imagenet, imagenet_rate, f", {NONE}"),
    }
    results = yield setting.jobs(rows)
    values = {title: results.values(title) for title in rows}
    section = Section("table3", TITLE)
    section.notes.append(
        f"Vision-only's tuned head rates: {rate:g}x the encoder's ({ALIGNED}) and {imagenet_rate:g}x ({NONE})."
    )
    body = []
    for kind, start in ((ALIGNED, ALIGNED), (UNALIGNED, ALIGNED), (NONE, NONE)):
        text = values[f"vision-text, {kind}"]
        heads = [cell(values.get(f"{method}, {kind}", [])) for method in METHODS]
        lead = gap(text, values[f"{TUNED}, {start}"])
        paper = ", ".join(f"{value:.2f}" for value in PAPER.get(kind, ())) or "-"
        body.append([kind, *heads, cell(text), lead, paper])
    headers = [
        "encoder",
        *METHODS,
        "vision-text",
        "minus vision-only, head tuned",
        "paper, K400: vision-only, vision-text",
    ]
    section.tables.append(Table("Top-1; mean and 95 % interval over seeds, differences paired by seed.", headers, body))
    gains = [
        (f"{kind}: vision-text minus {method}", values[f"vision-text, {kind}"], values[f"{method}, {start}"])
        for kind, start in ((UNALIGNED, ALIGNED), (NONE, NONE))
        for method in METHODS
    ]
    claim = "an encoder without language also gains from text rows (over vision-only at three head rates)"
    section.verdicts.append(judge(9, claim, gains, group=3))
    section.verdicts.append(
        judge(
            9,
            "the aligned encoder gains more from text rows",
            [("aligned minus not aligned", values[f"vision-text, {ALIGNED}"], values[f"vision-text, {UNALIGNED}"])],
        )
    )
    return section
