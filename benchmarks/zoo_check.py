"""Every published network at its full size, from a step of training to a loaded packed file.

python -m benchmarks.zoo_check [NAME ...] [--images N] [--tiny] [--write] [--json FILE]

Exit code 1 if a network fails: a parameter without a finite gradient, a part that is not packed, a
sum that differs, an answer that differs by more than rounding explains, another result after saving
and loading.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import bnn
from benchmarks.answers import TIE, Answers, compare
from benchmarks.machine import describe
from benchmarks.zoo_bench.signs import NEXT_TO_0
from bnn.layers import BinaryLayer
from bnn.models import MODELS, create

RESULTS = Path(__file__).parent / "results" / "zoo-check.md"
BATCH = 4  # images at a time: of BNext-Large they take 3 GB in training

HEAD = """# Published networks at full size

`python -m benchmarks.zoo_check --write`: each network with random weights. One step of training on
{batch} random images; statistics of the batch norms from {images}; torch.export; `bnn.pack`;
`bnn.verify`; a file saved and loaded. {cpu}, {isa}.

- Gradients: parameters that have a finite one that is not all zero.
- Emulated: layers that are not packed.
- Sums: whether every integer sum of every binary layer is that of the unpacked layer.
- The next three: to how many images the packed and the unpacked network give the same answer; and
  the unpacked network and itself in float64, to compare with. Fitted: a float classifier gives each
  of the {images} images a class of its own, by least squares, so that a small difference changes no
  answer. New: as many other images, with the same classifier. Random: the new images, with the
  classifier that the network began with, of which the best two logits lie close together.
- Flips: answers that differ, where of the first binary layer that got other signs all of them lie
  within {near:.0e} of 0, or of another threshold, relative to its largest input: a float before it
  was rounded otherwise. In deep networks of random weights such a sign changes many that follow it.
  Ties: no sign differs, and the best two logits are the same within {tie:.0e} of the largest.

"""


@dataclass(frozen=True)
class Row:
    """What was found of one network.

    Attributes:
        name: The network.
        parameters: How many tensors have a finite gradient that is not all zero.
        without: Names of those that have none.
        exported: Largest difference of the exported program's logits, by the largest logit.
        binary: Binary layers that are packed.
        emulated: Layers that are not, with the reason.
        sums: Whether all sums are the same.
        fitted: Answers to the images to which the classifier was fitted.
        new: Answers to others.
        random: Answers to the others before the classifier was fitted.
        answers: How many different answers the fitted images had.
        bytes: Of the file.
        loaded: Whether the loaded file computes the same bits.
        seconds: For all of it.
    """

    name: str
    parameters: int
    without: tuple[str, ...]
    exported: float
    binary: int
    emulated: dict[str, str]
    sums: bool
    fitted: Answers
    new: Answers
    random: Answers
    answers: int
    bytes: int
    loaded: bool
    seconds: float

    @property
    def good(self) -> bool:
        """Whether nothing is missing."""
        complete = not self.without and not self.emulated and self.sums and self.loaded
        same = self.fitted.same == self.fitted.images
        explained = not self.new.unexplained and not self.random.unexplained
        return complete and same and explained and self.answers > 1 and self.exported < 1e-4


def check(name: str, images: int, *, tiny: bool = False) -> Row:
    """Take one network through everything.

    Args:
        name: Of ``bnn.models``.
        images: How many random ones it is compared on.
        tiny: Take its small instance, for tests.
    """
    start = time.perf_counter()
    entry = MODELS[name]
    torch.manual_seed(0)
    model = create(name, **(entry.tiny if tiny else {}))
    shape = entry.tiny_shape if tiny else entry.input_shape
    x = torch.randn(images, *shape)
    new = torch.randn(images, *shape, generator=torch.Generator().manual_seed(1))
    without = train_a_step(model, x[:BATCH])
    parameters = sum(1 for _ in model.parameters()) - len(without)
    calibrate(model, x)
    random = compare(model, bnn.pack(model, x[:1]), new, BATCH)
    teach_classifier(model, x)
    exported = export_error(model, x[:2])
    packed = bnn.pack(model, x[:1])
    agreement = bnn.verify(model, packed, x.split(BATCH))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.bnn"
        packed.save(file)
        size = file.stat().st_size
        loaded = bnn.load(file)
        with torch.inference_mode():
            answers = torch.cat([packed(part) for part in x.split(BATCH)])
            again = torch.cat([loaded(part) for part in x.split(BATCH)])
    layers = sorted(place for place, m in model.named_modules() if isinstance(m, BinaryLayer))
    emulated = dict(packed.report.emulated) | {
        place: "not in the report" for place in layers if place not in packed.report.binary
    }
    return Row(
        name=name,
        parameters=parameters,
        without=without,
        exported=exported,
        binary=len(packed.report.binary),
        emulated=emulated,
        sums=agreement.identical,
        fitted=compare(model, packed, x, BATCH),
        new=compare(model, packed, new, BATCH),
        random=random,
        answers=len(answers.argmax(1).unique()),
        bytes=size,
        loaded=torch.equal(answers, again),
        seconds=round(time.perf_counter() - start, 1),
    )


def train_a_step(model: nn.Module, x: Tensor) -> tuple[str, ...]:
    """Make one step of SGD; return the parameters whose gradient is missing, zero or not finite."""
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    loss = nn.functional.cross_entropy(model.train()(x), torch.arange(len(x)))
    loss.backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    optimizer.step()
    optimizer.zero_grad()
    return tuple(
        name for name, g in found.items() if g is None or not g.isfinite().all() or not g.any()
    )


@torch.no_grad()
def calibrate(model: nn.Module, x: Tensor) -> None:
    """Give the batch norms the statistics of the images, and evaluate.

    With those of a new network, soon all signs are alike where no shortcut carries floats.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average of all batches
    model.train()
    # Twice: where a norm precedes a sign, the second time sees the first one's statistics.
    for part in (*x.split(BATCH), *x.split(BATCH)):
        model(part)
    model.eval()


@torch.no_grad()
def teach_classifier(model: nn.Module, x: Tensor) -> None:
    """Let a float classifier give each image a class of its own, by least squares.

    Of a random one, the best two of 1000 logits lie so close that the answers of float32 and of
    float64 differ.
    """
    classifier = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    if isinstance(classifier, BinaryLayer):
        return
    seen: list[Tensor] = []
    hook = classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0].double()))
    for part in x.split(BATCH):
        model(part)
    hook.remove()
    features = torch.cat(seen)
    mean = features.mean(0)
    centred = features - mean
    classes = torch.arange(len(x)) % classifier.out_features
    wanted = nn.functional.one_hot(classes, classifier.out_features).double()
    inner = centred @ centred.T
    weight = centred.T @ torch.linalg.pinv(inner, rtol=1e-6, hermitian=True) @ wanted
    classifier.weight.copy_(weight.T)
    if classifier.bias is not None:
        classifier.bias.copy_(wanted.mean(0) - mean @ weight)


def export_error(model: nn.Module, x: Tensor) -> float:
    """Return how far the exported program's logits are off."""
    program = torch.export.export(model, (x,))
    with torch.inference_mode():
        expected = model(x)
        return float((program.module()(x) - expected).abs().max() / expected.abs().max())


def table(rows: Iterable[Row]) -> str:
    """Return the rows in Markdown."""
    lines = [
        "| network | gradients | binary layers | emulated | sums | fitted | new | random "
        "| file, bytes | export's error | loaded | |",
        "|---|---:|---:|---|---|---|---|---|---:|---:|---|---|",
    ]
    for row in rows:
        of = row.parameters + len(row.without)
        cells = (
            f"`{row.name}`",
            f"{row.parameters} of {of}",
            str(row.binary),
            "; ".join(f"{k}: {v}" for k, v in row.emulated.items()) or "none",
            "the same" if row.sums else "differ",
            str(row.fitted),
            str(row.new),
            str(row.random),
            f"{row.bytes:,}",
            f"{row.exported:.0e}",
            "the same bits" if row.loaded else "differs",
            "" if row.good else "**fails**",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Check what is asked for; return 1 if something fails."""
    published = [name for name in MODELS if MODELS[name].figures]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all that are published")
    parser.add_argument("--images", type=int, default=16, help="compare on so many")
    parser.add_argument("--tiny", action="store_true", help="small instances, in seconds")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(published))
    if unknown or given.images < 2:
        parser.error(
            f"no published network {unknown[0]!r}; known: {', '.join(published)}"
            if unknown
            else f"--images must be at least 2, not {given.images}"
        )
    rows = []
    for name in given.names or published:
        rows.append(check(name, given.images, tiny=given.tiny))
        print(table(rows[-1:]).splitlines()[-1], f"{rows[-1].seconds:.0f} s", flush=True)
    machine = describe()
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "rows": list(map(asdict, rows))}))
    if given.write:
        head = HEAD.format(
            batch=BATCH,
            images=given.images,
            cpu=machine["cpu"],
            isa=bnn.runtime_info().isa,
            near=NEXT_TO_0,
            tie=TIE,
        )
        RESULTS.write_text(f"{head}{table(rows)}\n", encoding="utf-8")
    bad = [row.name for row in rows if not row.good]
    print(f"failed: {', '.join(bad)}" if bad else f"all {len(rows)} are good")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
