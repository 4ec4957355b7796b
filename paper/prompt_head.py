"""A learnable template: vectors in front of the class name, through the frozen text encoder (Table 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import texthead as th
from texthead.errors import DataError, RunError
from texthead.models import CosineHead, Head, RowInputs
from texthead.text import check_names, class_prompts

Prompts = Sequence[str | Sequence[str]]
Text = Any  # `Encoder.text`.

# Placeholder for a learned vector in a prompt: one token in every vocabulary that we know.
_PLACEHOLDER = "x"

# Prompts per pass through the text encoder; in training, activations are recomputed in the backward pass.
_CHUNK = 64


class PromptHead(CosineHead):
    """A cosine head whose rows are text embeddings of learned vectors and the class name; only the vectors are trained.

    In training the rows are recomputed at each call; in testing they are stored. Other classes of its run have the rows
    of the recipe's template; `with_names` without prompts returns those of the learned one.

    Args:
        text: the frozen text encoder; None gives a head that cannot be trained.
        context: the initial vectors, with the width of a token embedding.
        after: the text after the class name, such as the template's final ".".
        read: the text for the text encoder, per name; the names themselves if None.
        rows: the rows if `text` is None.
        prompts: the prompts to record; made from `read` if None.
        options: as for `CosineHead`.

    Source: Table 4, "learnable template + class name"; CoOp, with one context for all classes.

    Raises:
        EncoderError: a prompt has too many tokens for the text encoder.
        DataError: the placeholder for a vector is not one token of the text encoder.
    """

    _context_of_rows: Tensor

    needs_text = True
    frozen = True

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
        tokens, start = None, 0
        if text is not None:
            tokens = text.tokenize([" ".join([_PLACEHOLDER] * vectors + [name]) + after for name in (read or names)])
            start = _start(text, tokens[0], vectors)
            with torch.no_grad():
                rows = _encoded(text, tokens, context, start)
        if rows is None:
            raise RunError("text and rows are both None; give the text encoder, or the rows that it made")
        recorded = [f"{name}{after}" for name in (read or names)]
        super().__init__(rows, names=names, kind="prompt", prompts=prompts or recorded, **options)
        self.context = nn.Parameter(context.detach().float().clone())
        self.after = after
        self._tokens = tokens
        self._offset = start
        # In a list, so that the text encoder is not saved with the model.
        self._text = [] if text is None else [text]
        # The vectors that the rows were made from; fused optimisers do not count versions.
        self.register_buffer("_context_of_rows", self.context.detach().clone(), persistent=False)

    @classmethod
    def from_inputs(cls, inputs: RowInputs, context: int = 0) -> "PromptHead":
        """Return the head before training: vectors drawn from the seed, or embeddings of the template's words.

        Args:
            context: number of vectors to draw; 0 starts with the template's words before the name.

        Raises:
            DataError: the recipe has several templates.
        """
        recipe, text = inputs.recipe, inputs.encoder.text
        first, *others = [recipe.template] if isinstance(recipe.template, str) else recipe.template
        if others:
            raise DataError(f"head prompt learns one template, got {1 + len(others)}; give one")
        drawn = random_context(text, context, generator=inputs.generator()) if context else None
        return cls(
            text,
            context=template_context(text, first) if drawn is None else drawn,
            after=first.split("{}")[1],
            read=inputs.names,
            **inputs.options,
            text_source=inputs.encoder.text_source,
            text_map=inputs.encoder.text_map,
        )

    def config(self) -> dict[str, object]:
        """Return the head's entry in `recipe.json`."""
        return {**super().config(), "context": list(self.context.shape), "after": self.after}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], names: Sequence[str], *, dim: int, prompts: Prompts | None = None
    ) -> "PromptHead":
        """Return the head described by `config`, without its text encoder, to load weights into."""
        options = {key: value for key, value in cls.empty_options(config, dim).items() if key != "kind"}
        rows, context = torch.ones(len(names), dim), torch.zeros(options.pop("context"))
        return cls(None, names, context=context, rows=rows, prompts=prompts, **options)

    def learned_rows(self) -> Float[Tensor, "classes dim"]:
        """Return the rows of the current vectors, with their gradient.

        Raises:
            RunError: the head was loaded without its text encoder.
        """
        if not self._text:
            raise RunError(
                "this learned template was loaded without its text encoder, so it cannot be trained; "
                "make a new PromptHead"
            )
        self._text[0].net.to(self.context.device)
        return F.normalize(_encoded(self._text[0], self._tokens, self.context, self._offset), dim=-1)

    def train(self, mode: bool = True) -> "PromptHead":
        """Set training mode; in evaluation mode, first update the stored rows if the vectors have changed."""
        if not mode and self._text and not torch.equal(self.context, self._context_of_rows):
            with torch.no_grad():
                self.weight.copy_(self.learned_rows())
                self._context_of_rows.copy_(self.context)
        return super().train(mode)

    def forward(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch classes"]:
        """Return the logits of each class."""
        return self._logits(features, self.learned_rows() if self.training else self.weight)

    def with_names(
        self,
        encoder: th.Encoder,
        names: Sequence[str],
        *,
        labels: Sequence[str] | None = None,
        prompts: Prompts | None = None,
    ) -> Head:
        """Return a head for other names with the same center and scale, from the learned template or from `prompts`."""
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
    """Return vectors drawn from N(0, 0.02), as in CoOp."""
    width = next(text.embedding.parameters()).shape[1]
    return 0.02 * torch.randn(vectors, width, generator=generator)


def template_context(text: Text, template: str) -> Float[Tensor, "vectors width"]:
    """Return the token embeddings of the words before `{}`, to start training from a template.

    Raises:
        DataError: the template has no words before `{}`.
    """
    class_prompts(template, ["x"])  # Checks it.
    tokens = _words(text, template.split("{}")[0])
    if not tokens:
        raise DataError(
            f"template {template!r} has no words before {{}} for the learned vectors to start from; give some"
        )
    with torch.no_grad():
        return text.embedding(torch.tensor(tokens)).float()


def _words(text: Text, words: str) -> list[int]:
    """Return the tokens of the words, without start, end and padding tokens."""
    special = {int(token) for token in text.tokenize([""])[0]}
    return [int(token) for token in text.tokenize([words])[0] if int(token) not in special]


def _start(text: Text, tokens: Any, vectors: int) -> int:
    """Return the position of the first placeholder in the tokens of a prompt.

    Raises:
        DataError: a placeholder is not one token.
    """
    placeholder, ids = _words(text, _PLACEHOLDER), [int(token) for token in tokens]
    start = ids.index(placeholder[0]) if len(placeholder) == 1 and placeholder[0] in ids else 0
    if ids[start : start + vectors] != placeholder * vectors:
        raise DataError(
            f"{_PLACEHOLDER!r} is not one token of this text encoder, so it cannot learn a template; use another head"
        )
    return start


def _encoded(text: Text, tokens: Any, context: Tensor, start: int) -> Tensor:
    """Return the text encoder's rows with `context` in place of the token embeddings from `start` on."""

    def insert(_: nn.Module, __: object, embedded: Float[Tensor, "prompts tokens width"]) -> Tensor:
        vectors = context.to(embedded).expand(len(embedded), -1, -1)
        return torch.cat([embedded[:, :start], vectors, embedded[:, start + len(context) :]], dim=1)

    def encode(chunk: Any) -> Tensor:
        handle = text.embedding.register_forward_hook(insert)
        try:
            return text.encode(chunk)
        finally:
            handle.remove()

    chunks = [tokens[i : i + _CHUNK] for i in range(0, len(tokens), _CHUNK)]
    if len(chunks) == 1 or not torch.is_grad_enabled():
        return torch.cat([encode(chunk) for chunk in chunks])
    return torch.cat([checkpoint(encode, chunk, use_reentrant=False) for chunk in chunks])  # pyright: ignore
