"""The report's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.kernel_bench.targets import Target
from benchmarks.network_bench import breakdown
from benchmarks.network_bench.competitors import EXACT
from benchmarks.network_bench.report import slowest
from benchmarks.page import Page, Rows
from benchmarks.zoo_bench import lce_peer
from benchmarks.zoo_bench.measure import EMULATED, PACKED
from benchmarks.zoo_bench.signs import NEXT_TO_0

Row = Mapping[str, Any]


def _ms(row: Row, name: str) -> str:
    time = row["times"].get(name)
    return f"{time['minimum_us'] / 1e3:.2f} ({time['median_us'] / 1e3:.2f})" if time else "-"


def _by_network(report: Row) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in report["rows"]:
        found.setdefault(row["network"], []).append(row)
    return found


def _name(name: str, rows: Sequence[Row]) -> str:
    return name + (" *" if any(row["disturbed"] for row in rows) else "")


def _threads(report: Row, what: str) -> list[str]:
    return [f"{what}, {threads} thr." for threads in report["threads"]]


def _times(report: Row) -> Rows:
    head = [
        "ms, minimum (median)",
        *_threads(report, PACKED),
        *_threads(report, EMULATED),
        *_threads(report, "times emulated"),
    ]
    body = [
        [
            _name(name, rows),
            *(_ms(row, PACKED) for row in rows),
            *(_ms(row, EMULATED) for row in rows),
            *(f"{row['x_emulated']:.1f}x" for row in rows),
        ]
        for name, rows in _by_network(report).items()
    ]
    return [head, *body]


def _against_lce(report: Row) -> Rows:
    head = ["ms, minimum (median)", "threads", PACKED, *lce_peer.XNNPACK, "times the faster"]
    body = [
        [
            _name(row["network"], [row]),
            str(row["threads"]),
            *(_ms(row, name) for name in (PACKED, *lce_peer.XNNPACK)),
            f"{row['x_lce']:.1f}x",
        ]
        for row in report["rows"]
        if row["x_lce"]
    ]
    return [head, *body]


def _packing(report: Row) -> Rows:
    head = ["network", "image", "binary layers", "run by Python", "float MiB", "file MB"]
    head += ["signs differ", "same labels", "same logits", "others apart"]
    body = [
        [
            found["network"],
            f"{found['size']}x{found['size']}",
            f"{found['binary']} of {found['layers']}",
            str(len(found["emulated"]) + len(found["opaque"])),
            f"{found['float_bytes'] / 2**20:.2f}",
            f"{found['file_bytes'] / 1e6:.2f}",
            f"{found['different_signs']} of {found['signs']:,}",
            f"{found['same_labels']} of {found['images']}",
            f"{found['same_logits']} of {found['images']}",
            "-" if found["same_logits"] == found["images"] else f"{found['distance']:.2f}",
        ]
        for found in report["networks"]
    ]
    return [head, *body]


def _groups(row: Row) -> Rows:
    totals = breakdown.totals(row["operations"])
    whole = sum(totals.values())
    shares = [[name, f"{us:.0f}", f"{us / whole:.0%}"] for name, us in totals.items()]
    return [["part", "us", "share"], *shares, ["sum", f"{whole:.0f}", "100%"]]


def tables(report: Row) -> Iterator[tuple[str, Rows]]:
    """Yield heading and rows of each table."""
    yield "Time of one image", _times(report)
    if any(row["x_lce"] for row in report["rows"]):
        yield "Beside Larq Compute Engine", _against_lce(report)
    yield "Packing", _packing(report)
    for row in report["rows"]:
        if "operations" in row:
            yield f"{row['network']}, 1 thread: where the time goes", _groups(row)
            heading = f"{row['network']}, 1 thread: every operation, the slowest first"
            yield heading, slowest(row, len(row["operations"]))


def machine_lines(report: Row) -> list[str]:
    """Return what the figures depend on."""
    place = report["machine"]
    lce = report["lce"]
    return [
        f"cpu     {place['cpu']}, {place['isa']}, {place['cores']} cores, "
        f"load average before {report['load_average']:.1f}",
        f"build   bnn {place['bnn']} {report['isa']}, torch {place['torch']}, "
        f"LCE {lce['version'] or 'absent: ' + lce['install']}, Python {place['python']}",
        f"command `{report['command']}`",
    ]


def notes(report: Row) -> list[str]:
    """Return what a reader of the tables must know."""
    found = [
        "Each network was checked before it was timed: the packed one has the emulated one's "
        "integer sums, and its logits, image by image, for the same signs. "
        f"{report['seconds']} s for each network and number of threads, "
        "all competitors in turn in slices of 4 ms, each thread on a CPU of its own; ratios are "
        "of the minima. Emulated is the binary model as it is trained, evaluating in torch with "
        "channels_last. Weights are random; batch norms have the statistics of the images.",
        "`signs differ` counts the signs that fall to the other side because a float next to 0 is "
        "rounded another way. With random weights one such sign changes more and more of them from "
        "layer to layer; `others apart` is the largest distance of the logits of an image that has "
        "one, relative to their spread. So the emulated network was also given the packed one's "
        f"signs: none may be of a float further from 0 than {NEXT_TO_0:g} of its layer's largest, "
        f"and then all logits must be within {EXACT:g} of their spread.",
    ]
    if any(row["x_lce"] for row in report["rows"]):
        found.append(
            "LCE runs Larq Zoo's networks of random weights, converted by its converter, batch 1, "
            "in a process of its own that is given its turns and the same CPUs: "
            "`use_indirect_bgemm=True`, its float layers with and without XNNPACK. Its time is "
            "that of the interpreter's call."
        )
    found += [f"{name}: not beside LCE: {why}." for name, why in report["lce"]["absent"].items()]
    found += [
        f"{facts['network']}: {name} is run by Python: {why}."
        for facts in report["networks"]
        for name, why in {**facts["emulated"], **facts["opaque"]}.items()
    ]
    if any(row["disturbed"] for row in report["rows"]):
        found.append(
            "* A median is far above its minimum: the machine was busy, and the ratios of this "
            "row are not to be trusted."
        )
    return found


def page(report: Row, wanted: Sequence[Target]) -> Page:
    """Return what the report says."""
    return Page(
        "Published networks", machine_lines(report), list(tables(report)), notes(report), wanted
    )
