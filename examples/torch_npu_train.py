"""PyTorch's own NPU backend on pyacl's emulator: an MLP and a CNN learn the same on the "npu" as on the CPU.

    pip install torch==2.13.0 torch_npu==2.13.0 pyyaml numpy
    pyacl emulator run -- python examples/torch_npu_train.py

Nothing here knows about pyacl: on a machine with an NPU the script runs as it is.
"""

from __future__ import annotations

import sys

import torch
import torch_npu  # noqa: F401  (gives torch its "npu" device)
from torch import nn
from torch.nn import functional as F

STEPS = 5
TOLERANCE = 1e-3


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 4))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 4))


def train(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, device: str) -> list[float]:
    """The loss of each step."""
    model, inputs, labels = model.to(device), inputs.to(device), labels.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> int:
    print(f"torch {torch.__version__}, devices: {torch.npu.device_count()}, {torch.npu.get_device_name(0)}")
    different = 0
    for build, shape in ((mlp, (64, 20)), (cnn, (16, 1, 12, 12))):
        torch.manual_seed(0)
        inputs, labels = torch.randn(shape), torch.randint(0, 4, shape[:1])
        losses = {}
        for device in ("cpu", "npu"):
            torch.manual_seed(1)
            losses[device] = train(build(), inputs, labels, device)
        for step, (cpu, npu) in enumerate(zip(losses["cpu"], losses["npu"])):
            same = abs(cpu - npu) <= TOLERANCE * max(1.0, abs(cpu))
            different += not same
            print(f"{build.__name__} step {step}: cpu {cpu:.6f} npu {npu:.6f}{'' if same else '  DIFFERENT'}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
