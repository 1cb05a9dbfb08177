"""What is measured, and torch in float32, each checked before it is timed."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.kernel_bench.layers import Problem
from bnn.packed import functional, layout, runtime
from bnn.packed.shapes import words

Run = Callable[[], object]


class WrongResultError(Exception):
    """A competitor that is to be exact is not."""


class Ours:
    """One layer in bnn. Outputs are allocated once, as OpenVINO's are.

    The native part is called through bnn.packed.runtime, which has no checks; ``functional`` is
    what users call, with its checks, torch's dispatch and new outputs.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, layer = problem, problem.layer
        self.isa = runtime.isa()
        self.weight = layout.pack(problem.weight)
        self.panels = {
            value: runtime.make_panel(layer.shape(value), self.weight, self.isa)
            for value in (0, -1)
        }
        self.bits = layout.pack(problem.x)
        pixels = (layer.batch, layer.out_size, layer.out_size)
        self.out = torch.empty(*pixels, layer.out_channels)
        self.out_bits = torch.empty(*pixels, words(layer.out_channels), dtype=torch.int64)
        self.epilogue = functional.Epilogue(
            scale=problem.scale, bit_scale=problem.bit_scale, bit_shift=problem.bit_shift
        )

    @property
    def kernel(self) -> str:
        """The name of the kernel that computes it."""
        return runtime.bconv2d_kernel(self.problem.layer.shape(), self.isa)

    def pack(self) -> None:
        """Floats to bits."""
        layer = self.problem.layer
        runtime.pack(
            self.problem.x,
            self.bits,
            sizes=(layer.batch, layer.channels, layer.size**2),
            channels_last=True,
            isa=self.isa,
        )

    def _convolve(self, pad_value: int, out: Tensor | None, bits: Tensor | None) -> None:
        shape = self.problem.layer.shape(pad_value)
        panel = self.panels[pad_value]
        runtime.bconv2d(
            shape, self.bits, self.weight, panel, self.epilogue, out=out, bits=bits, isa=self.isa
        )

    def float_to_float(self, pad_value: int = 0) -> Run:
        """Pack, convolve, scale."""

        def run() -> None:
            self.pack()
            self._convolve(pad_value, self.out, None)

        run()
        expected = self.problem.sums(pad_value).movedim(1, -1) * self.problem.scale
        _check_equal("float -> float", self.out, expected)
        return run

    def bits_to_bits(self) -> Run:
        """Convolve, scale, threshold."""

        def run() -> None:
            self._convolve(0, None, self.out_bits)

        run()
        p = self.problem
        sums = p.sums(0).movedim(1, -1) * p.scale
        expected = layout.pack_bits(layout.fused(sums, p.bit_scale, p.bit_shift) < 0)
        _check_equal("bits -> bits", self.out_bits, expected)
        return run

    def through_functional(self) -> Run:
        """Pack, convolve, scale, as users call it."""
        layer = self.problem.layer
        x, epilogue = self.problem.x, functional.Epilogue(scale=self.problem.scale)

        def convolve() -> Tensor:
            bits = functional.pack(x)
            return functional.bconv2d(
                bits,
                self.weight,
                layer.channels,
                stride=layer.stride,
                padding=layer.padding,
                dilation=layer.dilation,
                groups=layer.groups,
                epilogue=epilogue,
            )

        def linear() -> Tensor:
            bits = functional.pack(rows)
            return functional.blinear(bits, flat, layer.channels, epilogue=epilogue)

        rows, flat = x.flatten(1), self.weight.flatten(0, 2)
        run = linear if layer.is_linear else convolve
        out = run()
        expected = self.problem.sums(0) * self.problem.scale[:, None, None]
        _check_equal("functional", out.reshape(expected.shape), expected)
        return run

    def check_pack(self) -> Run:
        """Check that packing is right, and return it."""
        self.bits.zero_()
        self.pack()
        _check_equal("pack", self.bits, layout.pack(self.problem.x))
        return self.pack

    def weight_only(self) -> Run:
        """Floats with 1-bit weights, scaled."""
        p = self.problem
        shape, x = p.layer.shape(), p.x_nhwc.contiguous()

        def run() -> None:
            runtime.weight_only_conv2d(shape, x, self.weight, p.scale, None, self.out, isa=self.isa)

        run()
        expected = p.weight_only().movedim(1, -1) * p.scale.double()
        torch.testing.assert_close(self.out.double(), expected, rtol=1e-4, atol=1e-5)
        return run


def torch_fp32(problem: Problem) -> Run:
    """Return torch's float32 layer, channels_last."""
    layer, x = problem.layer, problem.x
    weight = problem.weight.contiguous(memory_format=torch.channels_last)
    if layer.is_linear:
        rows, flat = x.flatten(1), weight.flatten(1)
        return lambda: F.linear(rows, flat)
    return lambda: problem.convolve(x, layer.padding, weight)


def _check_equal(what: str, got: Tensor, expected: Tensor) -> None:
    if not torch.equal(got, expected):
        wrong = int((got != expected).sum())
        raise WrongResultError(f"{what}: {wrong} of {expected.numel()} values are wrong")
