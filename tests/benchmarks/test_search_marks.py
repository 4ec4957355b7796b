"""The simulated user marks what each method proposes, and the tables hold every method."""

import numpy as np
from torch.nn.functional import normalize

from benchmarks import search_marks
from made import noise, tiny_visual
from texthead.encoders.encoder import Encoder


def test_a_simulated_user_on_drawn_features() -> None:
    dim, labels = 16, np.repeat(["kite", "bird", "rest"], [40, 40, 320])
    features = 3 * noise(dim, seed=1) + noise(400, dim, seed=2)
    features[:40] += 2 * normalize(noise(dim, seed=3), dim=0)
    files = search_marks.Files(features, labels, np.arange(400).astype(str))
    folder, tests = search_marks.halves(files, 0)
    assert len(folder.labels) == len(tests.labels) == 200
    assert not {*folder.groups} & {*tests.groups}
    index = search_marks.index_of(folder.features, Encoder(tiny_visual(), None, scale=10.0))
    row = normalize(normalize(noise(dim, seed=3), dim=0) + normalize(noise(dim, seed=5), dim=0), dim=0)
    rows = {
        method: search_marks.ask("kite", row, folder, tests, index, method)
        for method in (*search_marks.PLAIN, *search_marks.OWN)
    }
    for method, own in rows.items():
        assert len(own) == len(search_marks.AT)
        assert own[0].held_out == rows["name"][0].held_out
        assert own[1].hits == rows["name"][1].hits, method
    assert rows[search_marks.BOTH][-1].held_out > rows["name"][-1].held_out
    assert rows[search_marks.BOTH][-1].probabilities
    text = search_marks.table({"drawn": {method: search_marks.summary([own]) for method, own in rows.items()}})
    assert all(f"| {method} |" in text for method in rows)
