"""torchvision beside CPU torch: its wheel lacks the two operators that its import describes."""

from importlib.util import find_spec

import torch

if find_spec("torchvision") is None:
    collect_ignore_glob = ["test_*.py"]
    print("tests/vision: skipped, torchvision is not installed (make test installs it)")
else:
    LIBRARY = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        LIBRARY.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
