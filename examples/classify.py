"""Classifies a picture with an offline model, end to end.

    python examples/classify.py resnet50.om cat.jpg --labels imagenet.txt

On a machine without an NPU, compile the model for the emulator first (pip install 'pyacl-ascend[onnx]'):

    pyacl emulator compile resnet50.onnx -o resnet50.om
    PYACL_BACKEND=emulator python examples/classify.py resnet50.om cat.ppm

Pictures are read by Pillow where it is installed; without it, binary PPM and .npy files (height x width x 3) are.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import pyacl

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def read_picture(path: str) -> np.ndarray[Any, Any]:
    """A picture as height x width x 3 bytes."""
    if path.endswith(".npy"):
        return np.load(path)  # type: ignore[no-any-return]
    if path.endswith(".ppm"):
        return read_ppm(path)
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))


def read_ppm(path: str) -> np.ndarray[Any, Any]:
    """A binary PPM of one byte a channel."""
    with open(path, "rb") as file:
        data = file.read()
    fields: list[bytes] = []
    position = 0
    while len(fields) < 4:
        end = position
        while not data[end:end + 1].isspace():
            end += 1
        if not data[position:position + 1].startswith(b"#"):
            fields.append(data[position:end])
            position = end + 1
        else:
            position = data.index(b"\n", position) + 1
    kind, width, height, largest = fields
    if kind != b"P6" or largest != b"255":
        raise ValueError(f"{path} is not a binary PPM of one byte a channel")
    return np.frombuffer(data, np.uint8, int(width) * int(height) * 3, position).reshape(int(height), int(width), 3)


def resize(picture: np.ndarray[Any, Any], height: int, width: int) -> np.ndarray[Any, Any]:
    """Bilinear."""
    def places(wanted: int, there: int) -> tuple[Any, Any, Any]:
        x = np.clip((np.arange(wanted) + 0.5) * there / wanted - 0.5, 0, there - 1)
        low = np.floor(x).astype(int)
        return low, np.minimum(low + 1, there - 1), (x - low).astype(np.float32)

    top, bottom, dy = places(height, picture.shape[0])
    left, right, dx = places(width, picture.shape[1])
    rows = picture[top] * (1 - dy)[:, None, None] + picture[bottom] * dy[:, None, None]
    return rows[:, left] * (1 - dx)[None, :, None] + rows[:, right] * dx[None, :, None]  # type: ignore[no-any-return]


def prepare(picture: np.ndarray[Any, Any], info: pyacl.model.TensorInfo) -> np.ndarray[Any, Any]:
    """A batch of one in the shape and type that the model takes, normalised as ImageNet's networks want it."""
    shape = tuple(1 if n < 0 else n for n in info.shape)
    channels_first = shape[1] == 3
    height, width = shape[2:4] if channels_first else shape[1:3]
    ready = (resize(picture[..., :3].astype(np.float32) / 255, height, width) - MEAN) / STD
    if channels_first:
        ready = ready.transpose(2, 0, 1)
    return np.ascontiguousarray(ready[None], info.dtype)


def classify(model: pyacl.Model, path: str) -> np.ndarray[Any, Any]:
    """The probability of each class."""
    scores = model(prepare(read_picture(path), model.inputs[0]))[0].reshape(-1).astype(np.float64)
    if scores.min() < 0 or abs(scores.sum() - 1) > 1e-3:  # the model ends before its softmax
        scores = np.exp(scores - scores.max())
        scores /= scores.sum()
    return scores  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="an .om that takes one picture")
    parser.add_argument("picture")
    parser.add_argument("--labels", help="a text file with a class on each line")
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--device", type=int, default=0)
    args = parser.parse_args()
    labels = Path(args.labels).read_text("utf-8").splitlines() if args.labels else []
    with pyacl.Device(args.device), pyacl.Model.from_file(args.model) as model:
        scores = classify(model, args.picture)
    for place in np.argsort(-scores)[:args.top]:
        print(f"{scores[place]:8.4f}  {labels[place] if place < len(labels) else f'class {place}'}")


if __name__ == "__main__":
    main()
