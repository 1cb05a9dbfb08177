"""Convert a network by hand: choose stages, exceptions and layers that stay float.

python examples/explicit_usage.py           # trains 10 epochs on digits, CPU
python examples/explicit_usage.py --smoke   # the same with a few steps
"""

import argparse

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from bnn import BConfig, conversion_report, count_ops, prepare_binary_model
from bnn.models import PreBasicBlock, resnet18
from bnn.ops import BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer
from bnn.training import load_data


def make_model() -> nn.Module:
    """Make a small ResNet-18 for images of 8x8 and convert it."""
    # PreBasicBlock puts a norm before each convolution, so that its sign sees both signs.
    model = resnet18(
        block_type=PreBasicBlock,
        activation=nn.PReLU,
        stem_type="cifar",
        in_channels=1,
        num_classes=10,
        width=16,
    )
    bconfig = BConfig(
        activation_pre_process=BasicInputBinarizer,
        activation_post_process=BasicScaleBinarizer,
        weight_pre_process=XNORWeightBinarizer.with_args(compute_alpha=False, center_weights=True),
    )
    # XNOR-Net's computed scale in the first stage only, instead of the learnt one.
    first_stage = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
    return prepare_binary_model(
        model,
        bconfig,
        custom_config_layers_name={"$^layer1\\.$": first_stage},
        # The 1x1 convolutions of the shortcuts stay float, and both ends of the network.
        ignore_layers_name=["_first_", "_last_", "$downsample$"],
    )


def train(model: nn.Module, loader: DataLoader, epochs: int, steps: int | None) -> None:
    """Train as any other network: the latent float weights are what the optimizer sees."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    model.train()
    for epoch in range(epochs):
        for index, (images, labels) in enumerate(loader):
            if index == steps:
                break
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}")


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    """Return the share of right answers, 0 to 1."""
    model.eval()
    right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader)
    return right / len(loader.dataset)


def main() -> None:
    """Convert, report, count, train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--smoke", action="store_true", help="one epoch of three steps")
    args = parser.parse_args()
    torch.manual_seed(0)

    model = make_model()
    print(conversion_report(model))

    splits = load_data("digits")
    loader = DataLoader(splits.train, batch_size=64, shuffle=True, drop_last=True)
    train(model, loader, 1 if args.smoke else args.epochs, 3 if args.smoke else None)
    held_out = DataLoader(splits.test, batch_size=256)
    print(f"accuracy on {len(splits.test)} held-out images: {accuracy(model, held_out):.3f}")

    # Counted after training: what is binary, and which sign it has, is decided on real values.
    images, _ = splits.test[0]
    count = count_ops(model, images[None])
    print(f"{count.binary_macs:,} of {count.macs:,} MACs are binary ({count.binary_share:.1%})")
    print(f"parameters: {count.float_bytes:,} bytes as float32, {count.packed_bytes:,} when packed")
    for layer in count.one_sided:
        print(f"warning: the input of {layer.name} has one sign only")


if __name__ == "__main__":
    main()
