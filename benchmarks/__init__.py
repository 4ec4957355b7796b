"""The measurements of BENCHMARKS.md: `python -m benchmarks`."""

import os

# Before any benchmark imports onnxruntime: its telemetry stays off, as in texthead, which benchmarks/gpu.py does not import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
