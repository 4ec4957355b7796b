"""The measurements of BENCHMARKS.md: `python -m benchmarks`."""

# Imported before any benchmark imports onnxruntime: texthead turns its telemetry off.
import texthead  # noqa: F401
