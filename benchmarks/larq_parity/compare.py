"""Import what export.py wrote, compare the logits, print a table and write it.

python benchmarks/larq_parity/compare.py FOLDER [--write]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from bnn.interop import larq
from bnn.models import create

MOST_ERROR = 1e-4
RESULTS = Path(__file__).parents[1] / "results" / "larq-parity.md"


def compare(theirs: str, folder: Path) -> tuple[float, int, int]:
    """Return the relative error of the logits, images with the same answer, and images."""
    saved = np.load(folder / f"{theirs}.npz")
    expected = torch.from_numpy(saved["logits"])
    model = larq.load(create(larq.NETWORKS[theirs], padding="tf").double(), folder / f"{theirs}.h5")
    images = torch.from_numpy(saved["images"]).permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        logits = model.eval()(images)
    error = (logits - expected).abs().max() / expected.abs().max()
    same = (logits.argmax(1) == expected.argmax(1)).sum()
    return float(error), int(same), len(expected)


def main() -> int:
    """Compare what is there; exit with 1 if anything differs or is missing."""
    folder = Path(sys.argv[1])
    rows, failed = [], False
    for theirs in larq.NETWORKS:
        if not (folder / f"{theirs}.npz").is_file():
            rows.append(f"| {theirs} | `{larq.NETWORKS[theirs]}` | not exported | |")
            failed = True
            continue
        error, same, images = compare(theirs, folder)
        rows.append(f"| {theirs} | `{larq.NETWORKS[theirs]}` | {error:.1e} | {same} of {images} |")
        failed |= error > MOST_ERROR or same < images
        print(rows[-1], flush=True)
    table = "\n".join(
        (
            "| Larq Zoo | here | relative error of the logits | same top-1 |",
            "|---|---|---|---|",
            *rows,
        )
    )
    if "--write" in sys.argv[2:]:
        RESULTS.write_text(f"{HEAD}{table}\n", encoding="utf-8")
    print("failed" if failed else "all agree")
    return int(failed)


HEAD = """# Larq Zoo's networks, imported

`make larq-parity`: each network is built by larq-zoo 2.3.2 (larq 0.14, TensorFlow 2.21) with random
weights and batch norms, saved as .h5, read by `bnn.interop.larq.load`, and run here on the same 4
random images of 224x224. Both sides compute in float64. The error is the largest difference of two
logits by the largest logit.

"""

if __name__ == "__main__":
    sys.exit(main())
