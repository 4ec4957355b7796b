"""ActionCLIP's classifier: probabilities, and what a run and its class edits need."""

import json

import torch

from made import SPEC, noise
from texthead.apps.checkpoints import MeanProbabilityHead
from texthead.encoders.encoder import Encoder
from texthead.models.head_table import head_json, head_of_json
from texthead.models.heads import FrozenHead

NAMES = ["cello", "archery", "juggling"]
PROMPTS = [(f"a {name}.", f"{name} now") for name in NAMES]


@torch.no_grad()
def test_it_averages_the_probabilities_of_the_templates(encoder: Encoder) -> None:
    head, features = MeanProbabilityHead.from_prompts(encoder, PROMPTS, names=NAMES, scale=3.0), noise(4, SPEC.dim)
    each = [FrozenHead(rows, names=NAMES, scale=3.0)(features).softmax(-1) for rows in head.all_rows.unbind(1)]
    assert torch.allclose(head(features).exp(), torch.stack(each).mean(0), atol=1e-6)
    mean = FrozenHead(head.weight, names=NAMES, scale=3.0)
    assert not torch.allclose(head(features).exp(), mean(features).softmax(-1))
    assert torch.allclose(head(features).logsumexp(-1), torch.zeros(4), atol=1e-6)


@torch.no_grad()
def test_its_classes_can_be_edited(encoder: Encoder) -> None:
    head, features = MeanProbabilityHead.from_prompts(encoder, PROMPTS, names=NAMES, scale=3.0), noise(4, SPEC.dim)
    empty = head_of_json(json.loads(json.dumps(head_json(head))), NAMES, dim=SPEC.dim, prompts=head.prompts)
    assert (type(empty), empty.config(), empty.prompts) == (type(head), head.config(), tuple(PROMPTS))
    # Rows that stay, turned, and text rows for a new class.
    rows = torch.cat([head.rows()[[2, 0]], head.encode_rows(encoder, PROMPTS[1:2])])
    edited = head.with_rows(rows, [NAMES[2], NAMES[0], NAMES[1]])
    assert torch.allclose(edited(features), head(features)[:, [2, 0, 1]], atol=1e-5)
    assert torch.allclose(edited.weight, head.weight[[2, 0, 1]], atol=1e-6)
    other = head.with_names(encoder, NAMES, labels=["x", "y", "z"], prompts=PROMPTS)
    assert (other.names, torch.equal(other(features), head(features))) == (("x", "y", "z"), True)
