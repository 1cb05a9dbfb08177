"""The report's tables, for the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.kernel_bench.targets import Target
from benchmarks.network_bench.breakdown import GROUPS
from benchmarks.network_bench.measure import COMPETITORS, PACKED
from benchmarks.page import Page

Row = Mapping[str, Any]
Table = tuple[str, list[list[str]]]
SLOWEST = 8


def _ratio(value: float | None, form: str = "{:.2f}") -> str:
    return "-" if value is None else form.format(value)


def _where(row: Row) -> str:
    return f"{row['network']}, batch {row['batch']}" + (" *" if row["disturbed"] else "")


def _times(report: Row) -> list[list[str]]:
    head = ["ms, minimum (median)", *COMPETITORS]
    body = []
    for row in report["rows"]:
        cells = []
        for name in COMPETITORS:
            time = row["times"].get(name)
            cells.append(
                f"{time['minimum_us'] / 1e3:.2f} ({time['median_us'] / 1e3:.2f})" if time else "-"
            )
        body.append([_where(row), *cells])
    return [head, *body]


RATIOS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("packed against", _where),
    ("torch fp32", lambda row: _ratio(row["x_torch"], "{:.1f}x")),
    ("torch.compile", lambda row: _ratio(row["x_compiled"], "{:.1f}x")),
    ("OpenVINO fp32", lambda row: _ratio(row["x_openvino"], "{:.1f}x")),
    ("OpenVINO int8", lambda row: _ratio(row["x_int8"], "{:.1f}x")),
    ("emulated / float", lambda row: _ratio(row["emulated_ratio"])),
    ("float peak KiB", lambda row: f"{row['memory']['float'] / 2**10:.0f}"),
    ("packed peak KiB", lambda row: f"{row['memory']['packed'] / 2**10:.0f}"),
    ("packed / float", lambda row: _ratio(row["memory_ratio"])),
)


def _making(found: Row, key: str, form: str, unit: float = 1.0) -> str:
    return form.format(found[key] / unit) if key in found else "-"


MAKING: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("network", lambda found: found["network"]),
    ("image", lambda found: f"{found['size']}x{found['size']}"),
    ("binary layers", lambda found: f"{found['binary']}"),
    ("not packed", lambda found: f"{len(found['emulated']) + len(found['opaque'])}"),
    ("negative inputs", lambda found: f"{found['negative_share']:.0%}"),
    ("signs differ", lambda found: f"{found['different_signs']} of {found['signs']:,}"),
    ("same labels", lambda found: f"{found['same_labels']} of {found['images']}"),
    ("float MiB", lambda found: _making(found, "float_bytes", "{:.2f}", 2**20)),
    ("packed MiB", lambda found: _making(found, "packed_bytes", "{:.2f}", 2**20)),
    ("file MB", lambda found: _making(found, "file_bytes", "{:.2f}", 1e6)),
    ("s to pack", lambda found: _making(found, "pack_seconds", "{:.2f}")),
    ("s first time", lambda found: _making(found, "first_pack_seconds", "{:.2f}")),
    ("ms to load", lambda found: _making(found, "load_ms", "{:.1f}")),
)


def _columns(
    columns: Sequence[tuple[str, Callable[[Row], str]]], rows: Sequence[Row]
) -> list[list[str]]:
    return [[name for name, _ in columns], *([cell(row) for _, cell in columns] for row in rows)]


def _groups(report: Row) -> list[list[str]]:
    """Return where the packed network's time goes."""
    head = ["us", *GROUPS, "sum", "around it", "packed"]
    body = []
    for row in report["rows"]:
        total = sum(row["groups"].values())
        packed = row["times"][PACKED]["minimum_us"]
        cells = [
            f"{row['groups'][name]:.0f} ({row['groups'][name] / total:.0%})"
            if name in row["groups"]
            else "-"
            for name in GROUPS
        ]
        body.append(
            [_where(row), *cells, f"{total:.0f}", f"{row['around_us']:.0f}", f"{packed:.0f}"]
        )
    return [head, *body]


def slowest(row: Row, count: int = SLOWEST) -> list[list[str]]:
    """Return the table of the operations that took longest."""
    operations = row["operations"]
    total = sum(operation["us"] for operation in operations)
    longest = sorted(operations, key=lambda operation: -operation["us"])[:count]
    return [
        ["layer", "operation", "group", "us", "share"],
        *(
            [o["name"], o["operation"], o["group"], f"{o['us']:.1f}", f"{o['us'] / total:.0%}"]
            for o in longest
        ),
    ]


def tables(report: Row) -> Iterator[Table]:
    """Yield heading and rows, the first of them the columns' names, of each table."""
    yield "Time of one call", _times(report)
    yield "How many times faster packed is, and memory", _columns(RATIOS, report["rows"])
    yield "Packing", _columns(MAKING, report["networks"])
    yield "Where the packed network's time goes", _groups(report)
    for row in report["rows"]:
        if row["batch"] == min(other["batch"] for other in report["rows"]):
            heading = f"{row['network']}, batch {row['batch']}: the {SLOWEST} slowest operations"
            yield heading, slowest(row)


def machine_lines(report: Row) -> list[str]:
    """Return what the figures depend on."""
    place = report["machine"]
    peers = ", ".join(
        f"{name} {report[key]['version'] or 'absent: ' + report[key]['install']}"
        for name, key in (("OpenVINO", "openvino"), ("nncf", "nncf"))
    )
    return [
        f"cpu     {place['cpu']}, {place['isa']}, {place['cores']} cores, "
        f"{report['threads']} thread(s), load average before {report['load_average']:.1f}",
        f"build   bnn {place['bnn']} {report['isa']}, torch {place['torch']}, {peers}, "
        f"Python {place['python']}",
        f"command `{report['command']}`",
    ]


def notes(report: Row) -> list[str]:
    """Return what a reader of the tables must know."""
    found = [
        "Every result was checked before it was timed, on several images: the float competitors "
        f"against torch, the binary ones against the emulated model. {report['seconds']} s for "
        "each row, all competitors in turn; ratios are of the minima, torch's and the emulated "
        "model's of the faster memory format.",
        "The float competitors compute the float network, ours the same one binarized: float stay "
        "the stem, the classifier and the 1x1 shortcuts. Weights are random; batch norms have the "
        "statistics of the images. `negative inputs` is the share of -1 among what the binary "
        "layers read; after ReLU there is none, which changes no kernel's time.",
        "Peaks are of activations, input and output included: of the tensors that live at one time "
        "in eager torch, without what an operation takes for itself, against the packed plan.",
        "Each operation's time is the minimum of many runs of its own; `around it` is what one "
        "call takes beyond their sum: Python, and the caches that the other competitors left. "
        "`other` is what lies between binary convolutions, such as pooling.",
    ]
    found += sorted(
        {
            f"{row['network']}, batch {row['batch']}: {name} takes no part: {reason}."
            for row in report["rows"]
            for name, reason in row["absent"].items()
        }
    )
    found += _distances(report)
    if any(row["disturbed"] for row in report["rows"]):
        found.append(
            "* A median is far above its minimum: the machine was busy, and the ratios of this "
            "row are not to be trusted."
        )
    return found


def _distances(report: Row) -> Iterator[str]:
    for name in COMPETITORS:
        found = [row["distances"][name] for row in report["rows"] if name in row["distances"]]
        if found:
            yield (
                f"{name}: logits at most {max(found):.1e} of their spread over the images away "
                "from the expected ones."
            )


def page(report: Row, wanted: Sequence[Target]) -> Page:
    """Return what the report says."""
    return Page("Networks", machine_lines(report), list(tables(report)), notes(report), wanted)
