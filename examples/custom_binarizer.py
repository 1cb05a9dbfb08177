"""Write binarizers: plain modules, and one with a gradient of its own that recipes can name.

python examples/custom_binarizer.py           # trains 10 epochs on digits, CPU
python examples/custom_binarizer.py --smoke   # a few steps
"""

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from bnn import BConfig, BinaryChef, prepare_binary_model
from bnn.models import resnet8
from bnn.ops import BinarizerBase, binarizers, sign
from bnn.training import load_data

# 1. Any nn.Module will do. A pre process gets one tensor, the post process two.


class CustomOutputBinarizer(nn.Module):
    """Normalise the layer's output."""

    def forward(self, x_after: Tensor, x_before: Tensor) -> Tensor:  # noqa: ARG002 - unused here
        """Get (layer output, layer input)."""
        return F.normalize(x_after, p=2)


class CustomInputBinarizer(nn.Module):
    """A soft stand-in for the sign."""

    def forward(self, x: Tensor) -> Tensor:
        """Return values between -1 and 1: not binary, and count_ops will say so."""
        return torch.tanh(x)


# 2. A gradient of your own is an autograd function. Deriving from BinarizerBase adds
#    ``with_args``; registering makes the class name known to every recipe.


class _LeakySign(torch.autograd.Function):
    """sign(x) forward; slope 1 for abs(x) <= 1 and ``leak`` elsewhere backward."""

    @staticmethod
    def forward(ctx, x: Tensor, leak: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.leak = leak
        return sign(x)  # never 0, unlike torch.sign

    @staticmethod
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.where(x.abs() <= 1, grad_output, ctx.leak * grad_output), None


@binarizers.register("LeakySignBinarizer")
class LeakySignBinarizer(BinarizerBase):
    """Binarize to {-1, +1}; beyond the clip a small gradient brings weights back."""

    def __init__(self, leak: float = 0.1) -> None:
        super().__init__()
        self.leak = leak

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of ``x``."""
        return _LeakySign.apply(x, self.leak)


RECIPE = {
    "step0": {
        "pre_activation": {"name": "LeakySignBinarizer", "args": {"leak": 0.05}},
        "weight": {"name": "XNORWeightBinarizer"},
        "ignore_layer_names": ["_first_", "_last_"],
    }
}


def train(model: nn.Module, loader: DataLoader, epochs: int, steps: int | None) -> float:
    """Train, and return the last loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(epochs):
        for index, (images, labels) in enumerate(loader):
            if index == steps:
                break
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


def main() -> None:
    """Train one network with each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--smoke", action="store_true", help="one epoch of three steps")
    args = parser.parse_args()
    epochs, steps = (1, 3) if args.smoke else (args.epochs, None)
    loader = DataLoader(load_data("digits").train, batch_size=64, shuffle=True, drop_last=True)

    bconfig = BConfig(
        activation_pre_process=CustomInputBinarizer,
        activation_post_process=CustomOutputBinarizer,
        weight_pre_process=nn.Identity,  # this keeps the weights real
    )
    torch.manual_seed(0)
    model = prepare_binary_model(
        resnet8(in_channels=1), bconfig, ignore_layers_name=["_first_", "_last_"]
    )
    print(f"plain modules:       loss {train(model, loader, epochs, steps):.3f}")

    torch.manual_seed(0)
    model = BinaryChef(RECIPE).next(resnet8(in_channels=1))
    print(model.layer1[0].conv1)
    print(f"LeakySignBinarizer:  loss {train(model, loader, epochs, steps):.3f}")


if __name__ == "__main__":
    main()
