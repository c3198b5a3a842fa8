"""What `eval.bench_gpu` times above the sparse ops: whole attention modules, matcher and stereo."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_ops import QuadtreeAttention, use_backend
from attention_ops.bench import loftr_linear
from eval.gpu_ops import Bench, Job, Row, ready_contenders
from matching.config import PRESETS as MATCHERS
from matching.model import Matcher, build_matcher
from stereo.config import PRESETS as STEREO_NETWORKS
from stereo.model import build_stereo

Call = Callable[[], object]
Time = Callable[..., Row]
HEADS, CHANNELS = 8, 256
# Maps of coarse tokens (H, W) and the top-K of their levels.
MODULES = {(60, 80): (32, 16, 16), (104, 104): (16, 8, 8), (144, 144): (16, 8, 8)}
SIZES_PX = ((480, 640), (832, 832), (1152, 1152))  # H, W
BATCHES = (1, 8)
RUNS = ("eager", "compiled")  # each also replayed from a CUDA graph, where it can be captured
COMPILED_BATCHES = (1,)  # torch.compile takes most of a minute for each shape


def module_jobs(bench: Bench, time: Time) -> Iterator[Job]:
    """Attention between two maps without its projections: forward, and a training step."""
    maps = {(8, 12): (2, 2, 2)} if bench.tiny else MODULES
    dtypes = (torch.float32,) if bench.tiny else (torch.float32, torch.bfloat16)
    for (H, W), topk in maps.items():
        for dtype in dtypes:
            names = [f"quadtree {name}" for name in ready_contenders(bench.device)]
            for contender in (*names, "sdpa", "linear", "linear compiled"):
                for step in ("forward", "training"):
                    short = str(dtype).removeprefix("torch.")
                    job = partial(_module, contender, (H, W), topk, dtype, step, bench, time)
                    yield f"{W} x {H} {short} {contender} {step}", job


def network_jobs(bench: Bench, time: Time) -> Iterator[Job]:
    """Matcher and stereo network `small` at whole image sizes, in bfloat16 where it is fast.

    The last, sparse stages of the matcher ask how many cells matched, so that no CUDA graph holds
    them: "matcher tokens" is everything before, the part that is compiled and captured.
    """
    sizes, batches = (((64, 96),), (1,)) if bench.tiny else (SIZES_PX, BATCHES)
    for (H, W), batch in itertools.product(sizes, batches):
        for what in ("matcher", "matcher tokens", "stereo"):
            for run in RUNS if what != "matcher" else RUNS[:1]:
                if run == "compiled" and batch not in COMPILED_BATCHES:
                    continue
                job = partial(_network, what, (H, W), batch, run, bench, time)
                yield f"{what} {W} x {H} batch {batch} {run}", job


def _module(
    contender: str,
    size: tuple[int, int],
    topk: tuple[int, ...],
    dtype: torch.dtype,
    step: str,
    bench: Bench,
    time: Time,
) -> Row:
    generator = torch.Generator().manual_seed(0)
    shape = (1, *size, CHANNELS)
    q, k, v = (torch.randn(shape, generator=generator).to(bench.device, dtype) for _ in range(3))
    leaves = [x.requires_grad_(step == "training") for x in (q, k, v)]
    forward = _attention(contender, leaves, topk, bench)
    if step == "forward":
        return time(torch.no_grad()(forward))
    grad = torch.randn(forward().shape, device=bench.device, dtype=dtype)
    return time(lambda: torch.autograd.grad(forward(), leaves, grad))


def _attention(
    contender: str, leaves: list[Tensor], topk: tuple[int, ...], bench: Bench
) -> Callable[[], Tensor]:
    if contender.startswith("quadtree"):
        module = QuadtreeAttention(CHANNELS, HEADS, "self", topk=topk).to(bench.device).eval()
        backend = contender.split()[1]

        def quadtree() -> Tensor:
            with use_backend(backend):
                return module.attend(leaves[0], leaves[1], leaves[2], None, None)

        return quadtree
    if contender == "sdpa":
        heads = [x.flatten(1, 2).unflatten(2, (HEADS, -1)).transpose(1, 2) for x in leaves]
        return lambda: F.scaled_dot_product_attention(*heads)

    def linear(*maps: Tensor) -> Tensor:
        return loftr_linear(*(x.flatten(1, 2).unflatten(2, (HEADS, -1)) for x in maps))

    run = _compiled(linear, bench) if contender.endswith("compiled") else linear
    return lambda: run(*leaves)


def _network(
    what: str, size: tuple[int, int], batch: int, run: str, bench: Bench, time: Time
) -> Row:
    generator = torch.Generator().manual_seed(0)
    channels = 3 if what == "stereo" else 1
    images = [torch.rand(batch, channels, *size, generator=generator) for _ in range(2)]
    images = [x.to(bench.device) for x in images]
    network: nn.Module = build_stereo(STEREO_NETWORKS["small"])
    if what != "stereo":
        matcher = build_matcher(MATCHERS["small"])
        network = matcher if what == "matcher" else _Tokens(matcher)
    network = network.to(bench.device).eval()
    called = _compiled(network, bench) if run == "compiled" else network
    mixed = bench.device == "cuda"

    def call() -> object:
        with torch.no_grad(), torch.autocast(bench.device, torch.bfloat16, enabled=mixed):
            return called(*images)

    return time(call, with_peak=True)


class _Tokens(nn.Module):
    """A matcher up to its coarse tokens and fine maps."""

    def __init__(self, matcher: Matcher) -> None:
        super().__init__()
        self.matcher = matcher

    def forward(self, image0: Tensor, image1: Tensor) -> tuple[Tensor, ...]:
        features0, features1 = self.matcher.extract(image0), self.matcher.extract(image1)
        tokens = self.matcher.coarse_tokens(features0, features1)
        return *tokens, features0.fine, features1.fine


def _compiled(call: Callable[..., Tensor] | nn.Module, bench: Bench) -> Callable[..., Tensor]:
    """Through torch.compile; the tiny run leaves out the compiler of the machine."""
    torch.compiler.reset()
    backend = "eager" if bench.tiny else "inductor"
    compiled: Callable[..., Tensor] = torch.compile(call, backend=backend)
    return compiled
