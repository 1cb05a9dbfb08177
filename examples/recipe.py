"""Follow a recipe with a training loop of your own.

python examples/recipe.py                            # two-step, 15 epochs a step, on digits, CPU
python examples/recipe.py --recipe xnor-net          # another packaged recipe
python examples/recipe.py --recipe path/to/mine.yaml
python examples/recipe.py --smoke                    # one epoch a step

For a loop that saves, resumes and runs on several devices, see cifar10.py.
"""

import argparse

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from bnn.executor.engine import BinaryChef
from bnn.models import resnet8
from bnn.training import load_data


def train(
    model: nn.Module, loader: DataLoader, epochs: int, learning_rate: float, weight_decay: float
) -> None:
    """Train one step of the recipe, with a new optimizer."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    model.train()
    for _ in range(epochs):
        for images, labels in loader:
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    """Return the share of right answers, 0 to 1."""
    model.eval()
    right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader)
    return right / len(loader.dataset)


def main() -> None:
    """Run each step: convert, then train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="two-step", help="a packaged name or a YAML file")
    parser.add_argument("--epochs", type=int, default=15, help="of a step that gives no number")
    parser.add_argument("--lr", type=float, default=5e-3, help="where the step gives none")
    parser.add_argument("--smoke", action="store_true", help="one epoch a step")
    args = parser.parse_args()
    torch.manual_seed(0)

    splits = load_data("digits")
    loader = DataLoader(splits.train, batch_size=64, shuffle=True, drop_last=True)
    held_out = DataLoader(splits.test, batch_size=256)
    model = resnet8(in_channels=1, num_classes=10)

    chef = BinaryChef(args.recipe)
    for step in chef.recipe.steps:
        # Converts in place: the weights that the step before has learnt stay.
        model = chef.next(model)
        train(
            model,
            loader,
            epochs=1 if args.smoke else step.epochs or args.epochs,
            learning_rate=step.learning_rate or args.lr,
            weight_decay=step.weight_decay or 0.0,
        )
        print(f"{step.name}: accuracy on held-out images {accuracy(model, held_out):.3f}")


if __name__ == "__main__":
    main()
