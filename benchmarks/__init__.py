"""The measurements of BENCHMARKS.md: `python -m benchmarks`."""

import os

# Before any benchmark imports onnxruntime: turn its telemetry off, as texthead does, which gpu.py does not import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
