"""Train with every parameter divided among the processes: FSDP, in a loop of your own.

torchrun --nproc-per-node 2 examples/sharded.py            # two processes on the CPU
torchrun --nproc-per-node 8 examples/sharded.py --gpu      # one for each GPU
python examples/sharded.py --smoke                         # one process, a few batches

Adam's two averages are divided too: each process holds 1 / N of the weights and of their state. The
loss curve is that of one process with the same global batch: the network has no batch norm, whose
statistics would be each process's own.
"""

import argparse
import functools
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from bnn import BinaryChef
from bnn.models import resnet8
from bnn.training import (
    CrossEntropyLoss,
    LossInputs,
    OptimizerCase,
    clamp_latent_weights_,
    load_data,
    make_optimizer,
)


def network() -> nn.Module:
    """Return the network, binary as the recipe says; a division would come too early before."""
    torch.manual_seed(0)  # the same start in every process
    norm = functools.partial(nn.GroupNorm, 2)
    model = resnet8(in_channels=1, num_classes=10, width=16, norm_layer=norm)
    return BinaryChef("xnor-net").next(model)


def train(device: str, batch_size: int, steps: int, out: str | None) -> None:
    """Train, print the mean loss of all processes, and save the whole network."""
    rank, world = dist.get_rank(), dist.get_world_size()
    model = network().to(device)
    mesh = init_device_mesh(device, (world,))
    for stage in (model.layer1, model.layer2, model.layer3):
        fully_shard(stage, mesh=mesh)  # these are put together one after the other
    fully_shard(model, mesh=mesh)
    cases = [OptimizerCase(claims="rest", weight_decay=1e-5)]
    optimizer = make_optimizer(model, cases, learning_rate=1e-2)
    loss_of = CrossEntropyLoss()

    data = load_data("digits").train
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))
    for step in range(steps):
        start = step * batch_size % (len(data) - batch_size)
        mine = order[start : start + batch_size][rank::world]
        images, labels = (
            torch.stack([data[int(i)][0] for i in mine]).to(device),
            torch.tensor([int(data[int(i)][1]) for i in mine], device=device),
        )
        loss = loss_of(LossInputs(model=model, logits=model(images), labels=labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clamp_latent_weights_(model, 1.0)
        mean = loss.detach() / world
        dist.all_reduce(mean)
        if rank == 0 and (step % 5 == 0 or step == steps - 1):
            print(f"step {step}: loss {mean.item():.5f}", flush=True)

    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(model, options=whole)  # all processes take part
    if rank == 0 and out is not None:
        torch.save(state, out)


def main() -> None:
    """Join the processes that torchrun has started; alone, be the only one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", action="store_true", help="one GPU for each process")
    parser.add_argument("--batch-size", type=int, default=128, help="of all processes together")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", help="file for the whole network's state dict")
    parser.add_argument("--smoke", action="store_true", help="three steps")
    args = parser.parse_args()
    alone = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "RANK": "0", "WORLD_SIZE": "1"}
    if "RANK" not in os.environ:
        os.environ.update(alone)
    if args.gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if args.gpu else "gloo")
    try:
        steps = 3 if args.smoke else args.steps
        train("cuda" if args.gpu else "cpu", args.batch_size, steps, args.out)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
