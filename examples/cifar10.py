"""Train a binary ResNet-20 on CIFAR-10 through bnn.training: resumable, on any number of devices.

python examples/cifar10.py --data-dir ~/data             # holds cifar-10-batches-py
python examples/cifar10.py --data-dir ~/data --resume    # after Ctrl-C or a crash
python examples/cifar10.py --data-dir ~/data --accelerator gpu --devices 4 --strategy ddp
torchrun --nproc-per-node 4 examples/cifar10.py --data-dir ~/data \
    --accelerator gpu --devices 4 --strategy ddp
python examples/cifar10.py --smoke                       # generated images, CPU

Real data is read by torchvision: pip install 'bnn-torch[vision]'. Nothing is downloaded: unpack
cifar-10-python.tar.gz yourself.
"""

import argparse
import sys
import tempfile

import torch
from torch.utils.data import TensorDataset

from bnn.training import DATASETS, DataEntry, DataSplits, TrainConfig, fit


def generated(_data_dir: str | None, split_seed: int) -> DataSplits:
    """Return 64 random images in CIFAR-10's layout: float (3, 32, 32), 10 classes."""
    generator = torch.Generator().manual_seed(split_seed)
    images = torch.randn(64, 3, 32, 32, generator=generator)
    labels = torch.arange(64) % 10
    return DataSplits(
        train=TensorDataset(images[:48], labels[:48]),
        test=TensorDataset(images[48:], labels[48:]),
        input_shape=(3, 32, 32),
        num_classes=10,
    )


# A data set of your own is added in the same way, before fit.
DATASETS.register("cifar10-generated")(
    DataEntry(
        load=generated,
        summary="random images in the layout of CIFAR-10",
        needs_dir=False,
        epochs=2,
        batch_size=16,
    )
)


def main() -> None:
    """Read the arguments, train, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="the folder that holds cifar-10-batches-py")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--recipe", default="two-step", help="a packaged name or a YAML file")
    parser.add_argument("--epochs", type=int, default=200, help="of each step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch-size", type=int, default=128, help="for each device")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--out", default="runs/cifar10")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="two epochs on 48 generated images")
    args = parser.parse_args()
    if not args.smoke and args.data_dir is None:
        parser.error("give --data-dir, or --smoke to try without data")

    config = TrainConfig(
        model=args.model,
        model_args={"width": args.width},
        data="cifar10",
        data_dir=args.data_dir,
        recipe=args.recipe,
        epochs=args.epochs,
        learning_rate=args.lr,
        batch_size=args.batch_size,
        num_workers=args.workers,
        accelerator=args.accelerator,
        devices=args.devices,
        num_nodes=args.nodes,
        strategy=args.strategy,
        out=args.out,
    )
    if args.smoke:
        # torchvision takes only the real archive, so this needs none of it.
        print("smoke: generated images in the layout of CIFAR-10", file=sys.stderr)
        config = TrainConfig(
            model="resnet8",
            data="cifar10-generated",
            recipe=args.recipe,
            epochs=1,
            devices=args.devices,
            strategy=args.strategy,
            out=tempfile.mkdtemp() if args.out == parser.get_default("out") else args.out,
        )
    run = fit(config, resume=args.resume, progress=not args.smoke)
    if run.is_main:  # the other processes of ddp are silent
        print(f"test accuracy {run.test_accuracy:.4f} after {run.epochs} epochs")
        print(f"checkpoint    {run.checkpoint}")
        print(f"history       {run.history}")


if __name__ == "__main__":
    main()
