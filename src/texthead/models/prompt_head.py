"""A learnable template: vectors in front of the class name, through the frozen text encoder (Table 4)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from texthead.encoders.encoder import Encoder, Text
from texthead.errors import DataError, RunError
from texthead.models.head_rows import RowInputs
from texthead.models.heads import Config, CosineHead, Head, Names, Prompts, empty_options
from texthead.text.class_names import check_names
from texthead.text.prompts import check_template

# What stands where the learned vectors go: one token in every vocabulary that we know.
_PLACE = "x"

# So many prompts go through the text encoder at once; in training their activations are computed again.
_CHUNK = 64


class PromptHead(CosineHead):
    """A cosine head whose rows are text embeddings of learned vectors and the class name; only the vectors are learned.

    In training the rows are made anew at each call; in testing they are the rows of the vectors as they are.

    Args:
        text: the frozen text encoder; None gives the head as it is, not to be trained.
        context: the vectors at the start, as long as a token embedding.
        after: what follows the class name, as "." of a template.
        read: what the text encoder reads for each name; the names themselves if None.
        rows: the rows where `text` is None.
        prompts: how its prompts are shown; made of `read` if None.
        options: as of `CosineHead`.

    Source: Table 4, "learnable template + class name"; CoOp, with one context for all classes.

    Raises:
        EncoderError: a prompt with more tokens than the text encoder takes.
        DataError: a text encoder in whose vocabulary the place of a vector is not one token.
    """

    START = "prompt"
    frozen = True
    learned_template = True

    def __init__(
        self,
        text: Text | None,
        names: Sequence[str],
        *,
        context: Float[Tensor, "vectors width"],
        after: str = "",
        read: Sequence[str] | None = None,
        rows: Float[Tensor, "classes dim"] | None = None,
        prompts: Prompts | None = None,
        **options: Any,
    ):
        check_names(names)
        vectors = len(context)
        made, tokens, start = rows, None, 0
        if text is not None:
            tokens = text.tokenize([" ".join([_PLACE] * vectors + [name]) + after for name in (read or names)])
            start = _start(text, tokens[0], vectors)
            with torch.no_grad():
                made = _encoded(text, tokens, context, start)
        if made is None:
            raise RunError("a learnable template needs its text encoder, or the rows that it gave")
        shown = [f"[{vectors} learned vectors] {name}{after}" for name in (read or names)]
        super().__init__(made, names=names, kind="prompt", prompts=prompts or shown, **options)
        self.context = nn.Parameter(context.detach().float().clone())
        self.after = after
        self._tokens = tokens
        self._place = start
        # In a list: the text encoder is no part of the model that is saved.
        self._text = [] if text is None else [text]
        # Counts changes in place, as optimisers and load_state_dict make them.
        self._made = self.context._version

    @classmethod
    def start(cls, inputs: RowInputs) -> "PromptHead":
        """Return the head before training: vectors drawn from the seed, or of the template's words.

        Raises:
            DataError: several templates.
        """
        recipe, text = inputs.recipe, inputs.encoder.text
        first, *others = [recipe.template] if isinstance(recipe.template, str) else recipe.template
        if others:
            raise DataError(f"head prompt learns one template, got {1 + len(others)}: give one")
        drawn = random_context(text, recipe.context, generator=inputs.generator()) if recipe.context else None
        return cls(
            text,
            inputs.labels,
            context=template_context(text, first) if drawn is None else drawn,
            after=first.split("{}")[1],
            read=inputs.names,
            scale=recipe.scale or inputs.encoder.scale,
            center=inputs.center,
            text_source=inputs.encoder.text_source,
            text_map=inputs.encoder.text_map,
        )

    def config(self) -> dict[str, object]:
        """Return what `recipe.json` holds of the head."""
        return {**super().config(), "context": list(self.context.shape), "after": self.after}

    @classmethod
    def from_config(cls, config: Config, names: Names, *, dim: int, prompts: Prompts | None = None) -> "PromptHead":
        """Return the head that `config` describes, without its text encoder, to load weights into."""
        options = {key: value for key, value in empty_options(config, dim).items() if key != "kind"}
        rows, context = torch.ones(len(names), dim), torch.zeros(config["context"])
        return cls(None, names, context=context, after=config["after"], rows=rows, prompts=prompts, **options)

    def learned_rows(self) -> Float[Tensor, "classes dim"]:
        """Return the rows of the vectors as they are, with their gradient.

        Raises:
            RunError: the head was read back without its text encoder.
        """
        if not self._text:
            raise RunError("this learnable template has no text encoder at hand, so it cannot be trained further")
        self._text[0].net.to(self.context.device)
        return F.normalize(_encoded(self._text[0], self._tokens, self.context, self._place), dim=-1)

    def train(self, mode: bool = True) -> "PromptHead":
        """Training mode or not; for testing the rows are put to those of the vectors as they are."""
        if not mode and self._text and self.context._version != self._made:
            with torch.no_grad():
                self.weight.copy_(self.learned_rows())
            self._made = self.context._version
        return super().train(mode)

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Logits of each class."""
        return self._logits(features, self.learned_rows() if self.training else self.weight)

    def with_names(
        self,
        encoder: Encoder,
        names: Sequence[str],
        *,
        labels: Sequence[str] | None = None,
        prompts: Prompts | None = None,
    ) -> Head:
        """Return a head for other names behind the same center and scale: of the learned template, or of prompts."""
        if prompts is not None:
            return super().with_names(encoder, names, labels=labels, prompts=prompts)
        head = PromptHead(
            encoder.text,
            labels or names,
            context=self.context.detach().cpu(),
            after=self.after,
            read=names,
            scale=self.scale,
            center=None if self.center is None else self.center.cpu(),
            text_source=self.text_source,
            text_map=None if self.text_map is None else self.text_map.cpu(),
        )
        return head.eval().to(self.weight.device)


def random_context(text: Text, vectors: int, *, generator: torch.Generator) -> Float[Tensor, "vectors width"]:
    """Vectors from N(0, 0.02), as CoOp begins."""
    return 0.02 * torch.randn(vectors, _width(text), generator=generator)


def template_context(text: Text, template: str) -> Float[Tensor, "vectors width"]:
    """The token embeddings of the words in front of `{}`: a template to begin with.

    Raises:
        DataError: a template without words in front of `{}`.
    """
    check_template(template)
    tokens = _words(text, template.split("{}")[0])
    if not tokens:
        raise DataError(
            f"template {template!r} has no words in front of {{}} to begin with: give context, a number of vectors, "
            "or another template"
        )
    with torch.no_grad():
        return text.embedding(torch.tensor(tokens)).float()


def _width(text: Text) -> int:
    return int(next(text.embedding.parameters()).shape[1])


def _words(text: Text, words: str) -> list[int]:
    """The tokens of the words, without what stands around every text: start, end, padding."""
    around = {int(token) for token in text.tokenize([""])[0]}
    return [int(token) for token in text.tokenize([words])[0] if int(token) not in around]


def _start(text: Text, tokens: Any, vectors: int) -> int:
    """Where the vectors' places begin in the tokens of a prompt.

    Raises:
        DataError: a place is not one token.
    """
    place, found = _words(text, _PLACE), [int(token) for token in tokens]
    start = found.index(place[0]) if len(place) == 1 and place[0] in found else 0
    if found[start : start + vectors] != place * vectors:
        raise DataError(f"{_PLACE!r} is not one token of this text encoder, so a learnable template has no place in it")
    return start


def _encoded(text: Text, tokens: Any, context: Tensor, start: int) -> Tensor:
    """The text encoder's rows with `context` in place of the tokens from `start` on."""

    def put(_: nn.Module, __: object, embedded: Float[Tensor, "prompts tokens width"]) -> Tensor:
        vectors = context.to(embedded).expand(len(embedded), -1, -1)
        return torch.cat([embedded[:, :start], vectors, embedded[:, start + len(context) :]], dim=1)

    def encode(part: Any) -> Tensor:
        handle = text.embedding.register_forward_hook(put)
        try:
            return text.encode(part)
        finally:
            handle.remove()

    parts = [tokens[i : i + _CHUNK] for i in range(0, len(tokens), _CHUNK)]
    if len(parts) == 1 or not torch.is_grad_enabled():
        return torch.cat([encode(part) for part in parts])
    return torch.cat([checkpoint(encode, part, use_reentrant=False) for part in parts])  # pyright: ignore
