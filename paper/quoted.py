"""Numbers quoted from the paper, by table, including those it quotes from other work."""

from collections.abc import Mapping
from types import MappingProxyType

# (encoder, pixels, frames) -> ((top-1, top-5) with one view, (top-1, top-5) with 4x3 views)
TABLE5: Mapping[tuple[str, int, int], tuple[tuple[float, float], tuple[float, float]]] = MappingProxyType(
    {
        ("ResNet-50", 224, 8): ((74.26, 91.67), (75.50, 92.61)),
        ("ResNet-50", 224, 16): ((74.81, 92.20), (75.94, 93.00)),
        ("ViT-B/32", 224, 8): ((77.97, 93.80), (79.57, 94.70)),
        ("ViT-B/32", 224, 16): ((79.17, 94.24), (80.37, 94.95)),
        ("ViT-B/16", 224, 8): ((81.52, 95.49), (82.65, 96.25)),
        ("ViT-B/16", 224, 16): ((82.34, 95.71), (83.15, 96.25)),
        ("ViT-L/14", 224, 8): ((84.82, 96.59), (85.83, 97.05)),
        ("ViT-L/14", 224, 16): ((85.85, 96.47), (86.36, 96.88)),
        ("ViT-L/14", 224, 32): ((86.39, 96.75), (87.09, 97.06)),
        ("ViT-L/14", 336, 8): ((84.94, 96.55), (86.23, 97.11)),
        ("ViT-L/14", 336, 16): ((86.05, 96.92), (86.63, 97.27)),
        ("ViT-L/14", 336, 32): ((86.60, 97.00), (87.30, 97.46)),
    }
)

# method, input, pre-training, top-1, top-5, multiply-adds (G) x views, parameters (M)
TABLE7 = (
    ("NL I3D-101", "128 x 224", "IN-1K", "77.7", "93.3", "359x10x3", "61.8"),
    ("MVFNet-En", "24 x 224", "IN-1K", "79.1", "93.8", "188x10x3", "-"),
    ("SlowFast NL101", "16 x 224", "scratch", "79.8", "93.9", "234x10x3", "59.9"),
    ("X3D-XXL", "16 x 440", "scratch", "80.4", "94.6", "144x10x3", "20.3"),
    ("MViT-B, 64x3", "64 x 224", "scratch", "81.2", "95.1", "455x3x3", "36.6"),
    ("TimeSformer-L", "96 x 224", "IN-21K", "80.7", "94.7", "2380x1x3", "121.4"),
    ("ViViT-L/16x2", "32 x 320", "IN-21K", "81.3", "94.7", "3992x4x3", "310.8"),
    ("Swin-L", "32 x 384", "IN-21K", "84.9", "96.7", "2107x10x5", "200.0"),
    ("ip-CSN-152", "32 x 224", "IG-65M", "82.5", "95.3", "109x10x3", "32.8"),
    ("ViViT-L/16x2", "32 x 320", "JFT-300M", "83.5", "95.5", "3992x4x3", "310.8"),
    ("ViViT-H/16x2", "32 x 224", "JFT-300M", "84.8", "95.8", "8316x4x3", "647.5"),
    ("TokenLearner-L/10", "32 x 224", "JFT-300M", "85.4", "96.3", "4076x4x3", "450"),
    ("MTV-H", "32 x 224", "JFT-300M", "85.8", "96.6", "3706x4x3", "-"),
    ("CoVeR", "16 x 448", "JFT-300M", "86.3", "-", "-x1x3", "-"),
    ("Florence", "32 x 384", "FLD-900M", "86.5", "97.3", "-x4x3", "647"),
    ("CoVeR", "16 x 448", "JFT-3B", "87.2", "-", "-x1x3", "-"),
    ("Ours, ViT-L/14", "32 x 224", "WIT-400M", "87.1", "97.1", "1662x4x3", "230.7"),
    ("Ours, ViT-L/14", "32 x 336", "WIT-400M", "87.3", "97.5", "3829x4x3", "230.7"),
)

# (batch gather, text encoder) -> top-1, top-5, V100-days; "ours" is Eq. 3
TABLE6 = MappingProxyType(
    {
        ("gather", "online"): (81.15, 95.42, 6.7),
        ("gather", "offline"): (80.73, 95.36, 6.6),
        ("no gather", "online"): (77.77, 94.79, 3.5),
        ("no gather", "offline"): (76.13, 94.57, 3.3),
        ("ours", "offline"): (81.52, 95.49, 3.3),
    }
)

# data set -> top-1 with K = 1, 3, 5 and all items
TABLE8 = MappingProxyType(
    {
        "K400": (63.16, 67.50, 69.89, 80.13),
        "UCF-101": (88.77, 92.78, 93.87, 95.24),
        "HMDB-51": (65.17, 69.99, 71.03, 73.18),
    }
)

# without training, with training
TABLE9 = MappingProxyType({"K300 -> K100": (63.35, 66.38), "K400 -> UCF": (63.01, 74.67)})

# method -> top-1 with K = 0, 1, 3, 5 and all items
TABLE10 = MappingProxyType(
    {"ours": (66.73, 71.50, 73.64, 74.99, 82.25), "vision-only": (0.0, 4.71, 30.44, 41.70, 79.70)}
)

TABLE11 = (70.28, 72.62)

# encoder, pixels -> top-1, top-5, multiply-adds (G), parameters (M), A100-days
TABLE12 = MappingProxyType(
    {
        ("ViT-B/16", 224): (82.25, 96.82, 11.3, 57.3, 0.5),
        ("ViT-L/14", 224): (86.47, 98.11, 51.9, 202.1, 2.0),
        ("ViT-L/14", 336): (87.12, 98.33, 116.5, 202.1, 5.7),
    }
)
