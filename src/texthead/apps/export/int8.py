"""Quantise the weights of an exported ONNX model to 8 bits."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from texthead.errors import RunError

Way = Literal["dynamic", "static"]

# Frames of training files that set the ranges of static quantisation; their activations are in memory together.
CALIBRATION_FRAMES = 64


def way_for(model: Path) -> Way:
    """Return the method of quantisation: static if most weights are in convolutions, dynamic if in matrix products.

    Dynamic ranges slow convolutions down: EfficientNet-Lite0 ran 8 times slower with them (LOG.md).
    """
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    size = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    kinds = dict.fromkeys(("Conv", "MatMul", "Gemm"), 0)
    for node in graph.node:
        if node.op_type in kinds:
            kinds[node.op_type] += sum(size.get(name, 0) for name in node.input)
    return "static" if kinds["Conv"] > kinds["MatMul"] + kinds["Gemm"] else "dynamic"


def unquantised_nodes(model: Path) -> list[str]:
    """Return the convolutions that static quantisation skips: the depthwise ones and the first half.

    They have few of the weights, but quantising them changes predictions: of 80 clips of flying objects, 26 changed
    with all convolutions of EfficientNet-Lite0 quantised, none without these (LOG.md).
    """
    import onnx

    convs = [node for node in onnx.load(str(model), load_external_data=False).graph.node if node.op_type == "Conv"]
    depthwise = [node for node in convs if any(a.name == "group" and a.i > 1 for a in node.attribute)]
    return sorted({node.name for node in [*convs[: len(convs) // 2], *depthwise]})


def quantise(
    model: Path, out: Path, way: Way, clips: Sequence[UInt8[np.ndarray, "batch clips frames height width 3"]]
) -> None:
    """Write the model with int8 weights, one scale per channel.

    Dynamic: only matrix products, whose activations are quantised at run time. Static: convolutions except those of
    `unquantised_nodes`, with activation ranges from `clips`.

    Raises:
        RunError: `way` is static and there are no clips.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    large = model.with_name(f"{model.name}.data").exists()
    prepared = model.with_name("prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True, save_as_external_data=large)
    shared = {"per_channel": True, "weight_type": QuantType.QInt8, "use_external_data_format": large}
    if way == "dynamic":
        quantize_dynamic(str(prepared), str(out), op_types_to_quantize=["MatMul", "Gemm"], **shared)
        return
    if not clips:
        raise RunError(
            "`int8` of a convolutional encoder needs some of the run's training files, and none exists any more; "
            "restore them, or leave out `int8`"
        )
    inputs = iter([{"clips": clip} for clip in clips])
    quantize_static(
        str(prepared),
        str(out),
        SimpleNamespace(get_next=lambda: next(inputs, None)),  # pyright: ignore[reportArgumentType]
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=unquantised_nodes(prepared),
        activation_type=QuantType.QUInt8,
        **shared,
    )
