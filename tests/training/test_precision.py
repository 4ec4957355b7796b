"""bf16 on a CPU: what it leaves in float32."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texthead.encoders.load import load_encoder
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import TemporalTransformer
from texthead.recipes import small
from texthead.training.autocast import forward_in
from texthead.training.step import set_training
from training_runs import NAMES


def mini(*, dropout: float = 0.0) -> Recognizer:
    encoder = load_encoder("mini")
    torch.manual_seed(0)
    temporal = TemporalTransformer(encoder.dim, 1, 32, heads=2, mlp_ratio=2, dropout=dropout)
    head = FrozenHead(torch.randn(2, encoder.dim), names=NAMES, scale=10.0)
    return Recognizer(encoder.visual, temporal, head)


def images(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (4, 2, 3, 48, 48), dtype=torch.uint8, generator=generator), torch.tensor([0, 1, 0, 1])


def gradients(model: nn.Module, kind: str, *, plain: bool = False) -> Tensor:
    clips, labels = images()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with forward_in(kind, torch.device("cpu"), plain=plain):
        logits = model(clips)
    found = torch.autograd.grad(F.cross_entropy(logits.float(), labels), weights, allow_unused=True)
    return torch.cat([grad.flatten() for grad in found if grad is not None])


def test_float32_stays_as_it_is_to_the_bit_and_bfloat16_gradients_are_near() -> None:
    model = mini()
    set_training(model, small())
    clips, labels = images()
    F.cross_entropy(model(clips), labels).backward()
    bare = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    assert torch.equal(gradients(model, "fp32"), bare)
    half, plain = (F.cosine_similarity(gradients(model, "bf16", plain=each), bare, dim=0) for each in (False, True))
    assert half > 0.95
    assert half > plain - 0.02, "no further from float32 than autocast alone"


def test_bfloat16_leaves_large_or_strided_kernels_of_grouped_convolutions_in_float32() -> None:
    model, types = mini(), {}

    def note(module: nn.Conv2d, _inputs: object, output: Tensor) -> None:
        slow = module.groups > 1 and (module.kernel_size[0] > 3 or module.stride[0] > 1)
        types.setdefault(slow, set()).add(output.dtype)

    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        module.register_forward_hook(note)
    gradients(model, "bf16")
    assert types == {True: {torch.float32}, False: {torch.bfloat16}}
    types.clear()
    gradients(model, "bf16", plain=True)
    assert set.union(*types.values()) == {torch.bfloat16}
