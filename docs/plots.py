"""Draw forward and gradient of every registered binarizer that takes one tensor.

python docs/plots.py      # writes docs/assets/binarizers/<name>.svg
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import torch
from torch import Tensor, nn

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bnn.ops import binarizers

FOLDER = Path(__file__).parent / "assets" / "binarizers"
POINTS, DRAWS = 801, 400
# Middle tones: legible on white and on the dark theme's background alike.
TEXT, FORWARD, GRADIENT, SAMPLE = "#7d8590", "#2f81f7", "#e8590c", "#9aa4af"

plt.rcParams.update(
    {
        "svg.hashsalt": "bnn",  # the same file from the same code
        "svg.fonttype": "path",
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), TEXT),
        **dict.fromkeys(("xtick.color", "ytick.color"), TEXT),
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def build(name: str) -> nn.Module:
    """Return a binarizer in training mode, with its defaults."""
    try:
        return binarizers[name]()
    except TypeError:  # it wants the layer
        return binarizers[name](nn.Linear(POINTS, 1))


def measure(stage: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x, many draws of the forward, their mean, and what each value's gradient does to it.

    The values stand in one row, so that a weight binarizer takes them for one filter; what reaches
    the others through the filter's statistics is left out.
    """
    half = POINTS // 2
    x = (torch.arange(-half, half + 1) * (2 / half))[None].requires_grad_()  # 0 is one of them
    draws = torch.stack([stage(x).detach()[0] for _ in range(DRAWS)])
    y = stage(x)[0]
    gradients = [torch.autograd.grad(y[i], x, retain_graph=True)[0][0, i] for i in range(POINTS)]
    return x.detach()[0], draws, draws.mean(0), torch.stack(gradients)


def pieces(y: Tensor) -> list[slice]:
    """Return where y goes on without a jump: no vertical lines are drawn."""
    jumps = ((y.diff().abs() > 0.1 * (y.max() - y.min())).nonzero() + 1).flatten().tolist()
    return [slice(a, b) for a, b in zip([0, *jumps], [*jumps, len(y)], strict=True)]


def frame(axes: Axes, title: str) -> None:
    """Give both halves of a picture the same look."""
    axes.set_title(title, color=TEXT, fontsize=10)
    axes.set_xlabel("x")
    axes.axhline(0, color=TEXT, linewidth=0.5, alpha=0.5)
    axes.axvline(0, color=TEXT, linewidth=0.5, alpha=0.5)


def draw(name: str) -> Path:
    """Draw one binarizer."""
    torch.manual_seed(0)
    x, draws, mean, gradient = measure(build(name))
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
    figure.patch.set_alpha(0)
    for axes in (left, right):
        axes.patch.set_alpha(0)
    if (draws != draws[0]).any():
        left.plot(x, draws[0], ".", color=SAMPLE, markersize=2, label="one draw")
        left.plot(x, mean, color=FORWARD, label=f"mean of {DRAWS} draws")
        left.legend(frameon=False, loc="upper left", fontsize=8)
        left.set_ylim(-1.2, 1.9)
    else:
        for piece in pieces(mean):
            left.plot(x[piece], mean[piece], color=FORWARD)
        at_zero = mean[x == 0]
        left.plot([0] * len(at_zero), at_zero, "o", color=FORWARD, markersize=5)
    frame(left, "forward")
    right.plot(x, gradient, color=GRADIENT)
    frame(right, "gradient that is passed back")
    path = FOLDER / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None}, transparent=True)
    plt.close(figure)
    return path


def main() -> None:
    """Draw all of them, and remove pictures of binarizers that are gone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    drawn = {draw(name) for name in binarizers if binarizers[name].stage == "value"}
    for path in FOLDER.glob("*.svg"):
        if path not in drawn:
            path.unlink()
    print("\n".join(str(path) for path in sorted(drawn)))


if __name__ == "__main__":
    main()
