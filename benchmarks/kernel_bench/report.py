"""The report's tables, for the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.kernel_bench import targets
from benchmarks.page import Page

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]


def _time(competitor: str, value: str = "minimum_us") -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        times = row["times"].get(competitor)
        return f"{times[value]:.1f}" if times else "-"

    return cell


def _number(key: str, form: str) -> Callable[[Row], str]:
    return lambda row: form.format(row[key]) if row.get(key) else "-"


def _openvino(row: Row) -> str:
    times = row["times"].get("openvino")
    return f"{times['minimum_us']:.1f}" if times else row["openvino"]


def _layer(row: Row) -> str:
    return row["layer"] + (" *" if row.get("disturbed") else "")


LAYER: Column = ("layer", _layer)
FLOATS: tuple[Column, ...] = (
    LAYER,
    ("us min", _time("ours")),
    ("us median", _time("ours", "median_us")),
    ("GBOP/s", _number("gbops", "{:.0f}")),
    ("% roof", _number("roof_share", "{:.0%}")),
    ("x OpenVINO", _number("x_openvino", "{:.2f}")),
    ("both pad -1", _number("x_openvino_pad", "{:.2f}")),
    ("x torch fp32", _number("x_torch", "{:.1f}")),
    ("functional us", _time("functional")),
    ("OpenVINO us", _openvino),
    ("torch us", _time("torch fp32")),
)
THREADED: tuple[Column, ...] = (
    ("1 thread us", _time("1 thread")),
    ("x 1 thread", _number("x_one_thread", "{:.2f}")),
)
BITS: tuple[Column, ...] = (
    LAYER,
    ("us min", _time("bits")),
    ("us median", _time("bits", "median_us")),
    ("GBOP/s", _number("bits_gbops", "{:.0f}")),
    ("% roof", _number("bits_roof_share", "{:.0%}")),
    ("kernel", lambda row: row["kernel"]),
)
PACK: tuple[Column, ...] = (
    LAYER,
    ("us min", _time("pack")),
    ("us median", _time("pack", "median_us")),
    ("GB/s read", _number("gigabytes", "{:.1f}")),
)
WEIGHT_ONLY: tuple[Column, ...] = (
    LAYER,
    ("us min", _time("weight-only")),
    ("us median", _time("weight-only", "median_us")),
    ("GFLOP/s", _number("gflops", "{:.0f}")),
    ("x torch fp32", _number("x_torch", "{:.1f}")),
    ("torch us", _time("torch fp32")),
)


def tables(report: Mapping[str, Any]) -> list[tuple[str, list[list[str]]]]:
    """Return heading and rows, the first of them the columns' names, of each table."""
    threaded = THREADED if report["threads"] > 1 else ()
    found = (
        ("Float tensor in, float tensor out, packing included", (*FLOATS, *threaded), "layers"),
        ("Bits in, bits out", BITS, "layers"),
        ("Packing float32, channels_last", PACK, "pack"),
        ("Weight-only: floats with 1-bit weights", WEIGHT_ONLY, "weight_only"),
    )
    return [
        (
            heading,
            [[name for name, _ in columns]]
            + [[cell(row) for _, cell in columns] for row in report[key]],
        )
        for heading, columns, key in found
        if report[key]
    ]


def machine_lines(report: Mapping[str, Any]) -> list[str]:
    """Return what the figures depend on."""
    place = report["machine"]
    openvino = report["openvino"]
    return [
        f"cpu     {place['cpu']}, {place['isa']}, {place['cores']} cores, "
        f"{report['threads']} thread(s), load average before {report['load_average']:.1f}",
        f"build   bnn {place['bnn']} {report['isa']}, torch {place['torch']}, "
        f"OpenVINO {openvino['version'] or 'absent: ' + openvino['install']}, "
        f"Python {place['python']}",
        f"roof    {report['roof']['gbops']:.0f} GBOP/s: {report['roof']['statement']}",
        f"command `{report['command']}`",
    ]


def notes(report: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the tables must know."""
    lines = [
        f"Every result was checked before it was timed. {report['seconds']} s for each layer, all "
        "competitors in turn in slices of 4 ms; ratios and GBOP/s are of the minima.",
        "GBOP/s = 2 x multiplications / time, with all taps. Kernels skip the taps that lie in "
        "zero padding, and AVX-512's counts three words with two popcounts: both let a share of "
        "the roof, which knows neither, pass 100 %.",
        "Convolutions have zero padding, as nn.Conv2d's; `both pad -1` has the ratio with -1. Ours "
        "has a scale for each channel and floats in channels_last, OpenVINO NCHW floats and no "
        "scale; a word instead of its time says why it takes no part. `functional` is ours with "
        "the checks, torch's dispatch and new outputs.",
    ]
    if any(row["disturbed"] for row in report["layers"]):
        lines.append(
            "* A median is far above its minimum: the machine was busy, and the ratios of this "
            "layer are not to be trusted."
        )
    limit = report["openvino"].get("probe")
    if limit:
        ratio = limit["limited_us"] / limit["free_us"]
        effect = "in effect" if ratio > 1.2 else "WITHOUT EFFECT, so OpenVINO's AVX-512 was met"
        lines.append(
            f"OpenVINO and torch were limited to AVX2 by environment variables: {effect}; OpenVINO "
            f"takes {limit['limited_us']:.0f} us for a layer that it does in "
            f"{limit['free_us']:.0f} without the limit."
        )
    return lines


def page(report: Mapping[str, Any], wanted: Sequence[targets.Target]) -> Page:
    """Return what the report says."""
    return Page("Kernels", machine_lines(report), list(tables(report)), notes(report), wanted)
