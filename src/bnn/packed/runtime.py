"""Typed front of the native part: the only place that imports it.

What is here trusts its arguments: contiguous CPU tensors of the right types and sizes. The checks
are made by :mod:`bnn.packed.ops`.
"""

from __future__ import annotations

import functools
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from bnn.errors import ConfigError, NativePartError
from bnn.packed.epilogue import ACTIVATIONS, RESIDUAL_AT, Epilogue
from bnn.packed.shapes import ConvShape, PoolShape

ISAS = ("portable", "neon", "avx2", "avx512vpopcntdq")
"""Names of the instruction sets, in the order of the native part's enumeration."""

DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2, torch.int8: 3}
"""What can be packed, and the native part's number for it."""

PANEL_ALIGN = 64
MOST_THREADS = 1024


@functools.cache
def native() -> ModuleType:
    """Return the native part, with as many threads as torch has when it is first used.

    Raises:
        NativePartError: If it was not built, cannot be loaded, or is of another version.
    """
    remedy = (
        "Install bnn with a C++17 compiler at hand: `pip install -e .` in its checkout. "
        "Training and counting work without it."
    )
    try:
        from bnn import _native
    except ImportError as error:
        raise NativePartError(f"bnn's native part is missing: {error}. {remedy}") from error
    if not hasattr(_native, "bconv2d"):
        raise NativePartError(f"bnn's native part is version {_native.version()}. {remedy}")
    _native.set_num_threads(min(torch.get_num_threads(), MOST_THREADS))
    return _native


def available_isas() -> tuple[str, ...]:
    """Return the names of the instruction sets that this CPU runs, the fastest last."""
    return tuple(name for number, name in enumerate(ISAS) if native().isa_runs(number))


@functools.cache
def isa() -> int:
    """Return the number of the instruction set in force, decided at the first use.

    Raises:
        ConfigError: If BNN_ISA names one that there is not, or that this CPU does not run.
    """
    name = os.environ.get("BNN_ISA", "")
    if not name:
        return int(native().best_isa())
    if name not in available_isas():
        reason = "this CPU does not run it" if name in ISAS else "there is no such ISA"
        raise ConfigError(
            f"BNN_ISA={name}: {reason}. Runs here: {', '.join(available_isas())}. Unset BNN_ISA "
            "for the fastest."
        )
    return ISAS.index(name)


def set_num_threads(threads: int) -> None:
    """Set how many threads a 1-bit operation may use, the caller's own included.

    The default is what ``torch.get_num_threads()`` says when the first operation runs; a later
    ``torch.set_num_threads`` is not followed.

    Args:
        threads: 1 to 1,024, for all of the process.

    Raises:
        ConfigError: If ``threads`` is something else.

    Example:
        >>> before = get_num_threads()
        >>> set_num_threads(1)
        >>> get_num_threads()
        1
        >>> set_num_threads(before)
    """
    if not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS:
        raise ConfigError(
            f"set_num_threads: threads is {threads!r}; give an int from 1 to {MOST_THREADS:,}."
        )
    native().set_num_threads(int(threads))


def get_num_threads() -> int:
    """Return how many threads a 1-bit operation may use."""
    return int(native().num_threads())


@dataclass(frozen=True)
class RuntimeInfo:
    """What :func:`runtime_info` found.

    Attributes:
        cpu: The processor's name.
        isa: The instruction set in force.
        available_isas: Those that this CPU runs, the fastest last.
        threads: What :func:`get_num_threads` says.
        kernels: What is computed -> the kernel that computes it.
        version: The native part's version.
        library: Its file.
        library_bytes: The file's size.
    """

    cpu: str
    isa: str
    available_isas: tuple[str, ...]
    threads: int
    kernels: dict[str, str]
    version: str
    library: str
    library_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return {**asdict(self), "available_isas": list(self.available_isas)}

    def fields(self) -> dict[str, str]:
        """Return name and value of each line that ``repr`` and ``bnn info`` show."""
        return {
            "cpu": self.cpu,
            "isa": f"{self.isa} (runs here: {', '.join(self.available_isas)})",
            "threads": str(self.threads),
            **self.kernels,
            "native part": f"{self.version}, {self.library_bytes / 1024:.0f} KiB, {self.library}",
        }

    def __repr__(self) -> str:
        lines = self.fields()
        width = max(map(len, lines))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())


# A layer of each kind that has a kernel of its own.
_KINDS = {
    "convolution": ConvShape(1, 14, 14, 256, 256, 3, 3),
    "linear, 1 row": ConvShape(1, 1, 1, 1024, 1024, 1, 1),
    "linear, 64 rows": ConvShape(64, 1, 1, 1024, 1024, 1, 1),
    "depthwise": ConvShape(1, 14, 14, 256, 256, 3, 3, groups=256),
}


def runtime_info() -> RuntimeInfo:
    """Return what 1-bit operations run with: CPU, instruction set, threads, kernels.

    Raises:
        NativePartError: If the native part is missing.
        ConfigError: If BNN_ISA names an instruction set that does not run here.

    Example:
        >>> info = runtime_info()
        >>> info.isa in info.available_isas
        True
    """
    library = Path(native().__file__ or "")
    return RuntimeInfo(
        cpu=_cpu_name(),
        isa=ISAS[isa()],
        available_isas=available_isas(),
        threads=get_num_threads(),
        kernels={kind: bconv2d_kernel(shape) for kind, shape in _KINDS.items()},
        version=native().version(),
        library=str(library),
        library_bytes=library.stat().st_size,
    )


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _at(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def pack(
    x: Tensor,
    out: Tensor,
    *,
    sizes: tuple[int, int, int],
    channels_last: bool,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    isa: int,
) -> None:
    """Write the bits of ``x`` to ``out``; ``sizes`` is (batch, channels, pixels)."""
    native().pack(
        x.data_ptr(), DTYPES[x.dtype], *sizes, channels_last, _at(scale), _at(shift),
        out.data_ptr(), isa,
    )  # fmt: skip


def unpack(
    x: Tensor, out: Tensor, *, sizes: tuple[int, int, int], channels_last: bool, isa: int
) -> None:
    """Write +1 and -1 to ``out``, of any type in DTYPES; ``sizes`` is (batch, channels, pixels)."""
    native().unpack(x.data_ptr(), DTYPES[out.dtype], *sizes, channels_last, out.data_ptr(), isa)


def aligned(size: int) -> Tensor:
    """Return so many bytes, not written, at an aligned address."""
    room = torch.empty(size + PANEL_ALIGN, dtype=torch.uint8, device="cpu")  # whatever the default
    offset = -room.data_ptr() % PANEL_ALIGN
    return room[offset : offset + size]


def panel_bytes(shape: ConvShape, isa: int) -> int:
    """Return the size of the layer's panel; 0: its kernels read the weight as it is."""
    return int(native().panel_bytes(*shape, isa))


def make_panel(shape: ConvShape, weight: Tensor, isa: int) -> Tensor | None:
    """Return the panel, ``uint8`` at an aligned address, or None where there is none."""
    size = panel_bytes(shape, isa)
    if size == 0:
        return None
    panel = aligned(size)
    native().make_panel(*shape, weight.data_ptr(), panel.data_ptr(), isa)
    return panel


def panel_fits(shape: ConvShape, panel: Tensor | None, isa: int) -> bool:
    """Say whether :func:`make_panel` made it for such a layer and ISA, and it is still aligned."""
    size = 0 if panel is None else panel.numel()
    fits = native().panel_fits(*shape, _at(panel), size, isa)
    return bool(fits) and _at(panel) % PANEL_ALIGN == 0


def bconv2d(
    shape: ConvShape,
    x: Tensor,
    weight: Tensor,
    panel: Tensor | None,
    epilogue: Epilogue,
    *,
    out_int32: Tensor | None = None,
    out: Tensor | None = None,
    bits: Tensor | None = None,
    residual: Tensor | None = None,
    isa: int,
) -> None:
    """Write the convolution to the outputs that are given; ``residual`` may be ``out``."""
    e = epilogue
    native().bconv2d(
        *shape,
        x.data_ptr(),
        weight.data_ptr(),
        _at(panel),
        _at(out_int32),
        _at(out),
        _at(bits),
        _at(e.scale),
        _at(e.bias),
        _at(e.post_scale),
        ACTIVATIONS[e.first_activation],
        _at(e.first_slope),
        _at(e.affine_scale),
        _at(e.affine_shift),
        RESIDUAL_AT[e.residual_at],
        _at(residual),
        _at(e.second_shift_in),
        ACTIVATIONS[e.second_activation],
        _at(e.second_slope),
        _at(e.second_shift_out),
        _at(e.bit_scale),
        _at(e.bit_shift),
        isa,
    )


def bconv2d_kernel(shape: ConvShape, isa_number: int | None = None) -> str:
    """Return the name of the kernel that computes such a layer."""
    return str(native().bconv2d_kernel(*shape, isa() if isa_number is None else isa_number))


def max_pool2d(shape: PoolShape, x: Tensor, out: Tensor, *, isa: int) -> None:
    """Write the maximum of each window, bits to bits."""
    native().bmaxpool2d(x.data_ptr(), out.data_ptr(), *shape, isa)


def global_avg_pool(
    x: Tensor, out: Tensor, *, batch: int, pixels: int, channels: int, isa: int
) -> None:
    """Write the mean over the pixels."""
    native().bglobal_avgpool(batch, pixels, channels, x.data_ptr(), out.data_ptr(), isa)


def avg_pool2d(
    shape: PoolShape, x: Tensor, out: Tensor, *, count_include_pad: bool, isa: int
) -> None:
    """Write the mean of each window of floats."""
    native().avgpool2d(x.data_ptr(), out.data_ptr(), *shape, count_include_pad, isa)


def concat(inputs: list[Tensor], channels: list[int], out: Tensor, *, rows: int, isa: int) -> None:
    """Write the channels of all inputs in a row."""
    native().bconcat(rows, [x.data_ptr() for x in inputs], channels, out.data_ptr(), isa)


def channel_shuffle(
    x: Tensor, out: Tensor, *, rows: int, channels: int, groups: int, isa: int
) -> None:
    """Write the channels with those of all groups taken in turn."""
    native().bchannel_shuffle(rows, channels, groups, x.data_ptr(), out.data_ptr(), isa)


def weight_only_conv2d(
    shape: ConvShape,
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    out: Tensor,
    *,
    isa: int,
) -> None:
    """Write the convolution of floats with signs."""
    native().weight_only_conv2d(
        x.data_ptr(), weight.data_ptr(), _at(scale), _at(bias), out.data_ptr(), *shape, isa
    )


def clip_bits(x: Tensor, out: Tensor, *, isa: int) -> None:
    """Write a bit for each element of ``x`` in memory: whether its magnitude is at most 1."""
    native().clip_bits(x.data_ptr(), x.numel(), out.data_ptr(), isa)


def keep_bits_(x: Tensor, bits: Tensor, *, isa: int) -> None:
    """Set the elements of ``x`` whose bit is 0 to 0."""
    native().keep_bits(x.data_ptr(), x.numel(), bits.data_ptr(), isa)


def write_signs(x: Tensor, scale: Tensor | None, out: Tensor, *, isa: int) -> None:
    """Write the signs of ``x``, times the scale of each row; rows are those of axis 0."""
    rows = x.shape[0]
    native().write_signs(x.data_ptr(), rows, x.numel() // rows, _at(scale), out.data_ptr(), isa)


def latent_gradient_(
    grad: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    *,
    mean: bool,
    along: Tensor | None,
    isa: int,
) -> None:
    """Turn the gradient of a row's signs into that of the row: bnn/gradients.h."""
    rows = weight.shape[0]
    native().latent_gradient(
        weight.data_ptr(), rows, weight.numel() // rows, _at(scale), mean, grad.data_ptr(),
        _at(along), isa,
    )  # fmt: skip


def prelu_gradient(
    x: Tensor,
    slope: Tensor,
    grad: Tensor,
    grad_x: Tensor,
    along: Tensor,
    *,
    sizes: tuple[int, int, int],
    channels_last: bool,
    isa: int,
) -> None:
    """Write both gradients of a PReLU; ``sizes`` is (batch, channels, pixels)."""
    native().prelu_gradient(
        x.data_ptr(), *sizes, channels_last, slope.data_ptr(), grad.data_ptr(),
        grad_x.data_ptr(), along.data_ptr(), isa,
    )  # fmt: skip
