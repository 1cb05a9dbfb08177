"""Train a binary ResNet-18 on ImageNet in two steps, on any number of devices and nodes.

python examples/imagenet.py --data-dir /data/imagenet --accelerator gpu --devices 8 --strategy ddp
torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \
    examples/imagenet.py --data-dir /data/imagenet --accelerator gpu --devices 8 --nodes 2 \
    --strategy ddp
python examples/imagenet.py --smoke     # generated images, CPU

The folder holds train/<class>/*.JPEG and val/<class>/*.JPEG. It is read by torchvision:
pip install 'bnn-torch[vision]'. The network is ResNet-18 with PreBasicBlock, PReLU and the dabnn
stem; the recipe two-step makes the activations binary, then the weights too. The settings are
those of the two-step schedule (Adam, 5e-4 falling linearly, 256 images in all). We have not run
this script to its end, so no accuracy is claimed for it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from bnn.training import DATASETS, DataEntry, DataSplits, TrainConfig, fit

MODEL_ARGS = {"block_type": "PreBasicBlock", "activation": "PReLU", "stem_type": "dabnn"}


def has_torchvision() -> bool:
    """Say whether torchvision can be used beside the torch that is installed."""
    try:
        from torchvision.datasets import ImageFolder  # noqa: F401
    except (ImportError, RuntimeError):  # RuntimeError: it was built for another torch
        return False
    return True


def write_images(root: Path) -> None:
    """Write 2 classes of 4 training and 2 held-out images, in ImageNet's layout."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 2)):
        for name in ("n01440764", "n01443537"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 256, (256, 256, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.JPEG")


def generated(_data_dir: str | None, split_seed: int) -> DataSplits:
    """Return the same as arrays, for machines without torchvision."""
    images = torch.randn(12, 3, 224, 224, generator=torch.Generator().manual_seed(split_seed))
    labels = torch.arange(12) % 2
    return DataSplits(
        train=TensorDataset(images[:8], labels[:8]),
        test=TensorDataset(images[8:], labels[8:]),
        input_shape=(3, 224, 224),
        num_classes=2,
    )


DATASETS.register("imagenet-generated")(
    DataEntry(
        load=generated,
        summary="random images of ImageNet's size",
        needs_dir=False,
        epochs=2,
        batch_size=4,
    )
)


def smoke_config(recipe: str, devices: int, strategy: str, folder: Path) -> TrainConfig:
    """Return the same run with narrow layers, on generated images."""
    data, data_dir = "imagenet-generated", None
    if has_torchvision() and devices == 1:
        data, data_dir = "imagenet", str(folder / "images")
        write_images(folder / "images")
        print("smoke: generated image files, read by torchvision", file=sys.stderr)
    else:
        print("smoke: generated arrays, without torchvision", file=sys.stderr)
    return TrainConfig(
        model="resnet18",
        model_args={**MODEL_ARGS, "width": 8},
        data=data,
        data_dir=data_dir,
        recipe=recipe,
        epochs=1,
        batch_size=4,
        devices=devices,
        strategy=strategy,
        out=str(folder / "run"),
    )


def main() -> None:
    """Read the arguments, train, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="the folder that holds train/ and val/")
    parser.add_argument("--recipe", default="two-step", help="a packaged name or a YAML file")
    parser.add_argument("--epochs", type=int, default=256, help="of each step")
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--batch-size", type=int, help="for each device; 256 in all if not given")
    parser.add_argument("--workers", type=int, default=8, help="loading processes of each device")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--out", default="runs/imagenet")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="an epoch a step, 8 generated images")
    args = parser.parse_args()
    if args.smoke:
        folder = Path(tempfile.mkdtemp())
        config = smoke_config(args.recipe, args.devices, args.strategy, folder)
    elif args.data_dir is None:
        parser.error("give --data-dir, or --smoke to try without data")
    else:
        config = TrainConfig(
            model="resnet18",
            model_args=MODEL_ARGS,
            data="imagenet",
            data_dir=args.data_dir,
            recipe=args.recipe,
            epochs=args.epochs,
            learning_rate=args.lr,
            schedule="linear",
            batch_size=args.batch_size or max(1, 256 // (args.devices * args.nodes)),
            num_workers=args.workers,
            accelerator=args.accelerator,
            devices=args.devices,
            num_nodes=args.nodes,
            strategy=args.strategy,
            out=args.out,
        )
    run = fit(config, resume=args.resume, progress=not args.smoke)
    if run.is_main:  # the other processes of ddp are silent
        print(f"test accuracy {run.test_accuracy:.4f} after {run.epochs} epochs")
        print(f"checkpoint    {run.checkpoint}")
        print(f"history       {run.history}")


if __name__ == "__main__":
    main()
