"""How fast is the screening network, from pixels in memory to a probability, on one core?

    python benchmarks/classify.py [--quick] [--seed N]

The time includes background, segmentation, frame and network; images have 64 x 64 pixels. The peer is a ConvNeXt-nano
(Liu et al. 2022, arXiv 2201.03545; depths 2, 2, 8, 2, widths 80 to 640, 15 million weights, here random) at 224 pixels,
in the same run, with the same runtime (OpenVINO) and in single precision; for it only the network is timed, on images
that are ready. Times are CPU times, the best of several rounds in which all take turns.

Keys of the last line:

    images_per_second_core   pixels to probability
    speed_ratio              that over the peer's images per second
    peer_images_per_second
    front_end_ms             CPU milliseconds per image for background, segmentation, frame and folding
    network_ms               CPU milliseconds per image for the network
    network_alone            images per second of the network alone
    fast_images_per_second   pixels to probability with `--fast` (bf16 where the processor has it)
"""

from __future__ import annotations

import time

import numpy as np
import record

from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.networks import ClassifySettings, classify, load_network
from emeraldcut.networks.preprocessing import prepare

DEPTHS, WIDTHS, SIDE = (2, 2, 8, 2), (80, 160, 320, 640), 224


def convnext_nano(batch: int):
    """The compiled peer, with random weights: one thread, 32-bit floats."""
    import openvino
    from openvino import opset8 as ops

    rng = np.random.default_rng(0)

    def weights(*shape):
        return ops.constant(np.float32(rng.normal(0, 0.02, shape)))

    def bias(width):
        return weights(1, width, 1, 1)

    def normalised(x, width):
        x = ops.mvn(x, ops.constant(np.array([1])), True, 1e-6, "inside_sqrt")
        return ops.add(ops.multiply(x, bias(width)), bias(width))

    def dense(x, out, width, side=1, stride=1):
        kernel = weights(out, width, side, side)
        return ops.add(ops.convolution(x, kernel, [stride] * 2, [0, 0], [0, 0], [1, 1]), bias(out))

    picture = ops.parameter([batch, 3, SIDE, SIDE], np.float32)
    x, before = picture, 3
    for stage, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
        if stage == 0:
            x = normalised(dense(x, width, before, 4, 4), width)
        else:
            x = dense(normalised(x, before), width, before, 2, 2)
        for _ in range(depth):
            y = ops.group_convolution(x, weights(width, 1, 1, 7, 7), [1, 1], [3, 3], [3, 3], [1, 1])
            y = normalised(ops.add(y, bias(width)), width)
            y = dense(ops.gelu(dense(y, 4 * width, width), "erf"), width, 4 * width)
            x = ops.add(x, ops.multiply(y, bias(width)))
        before = width
    x = ops.reduce_mean(x, ops.constant(np.array([2, 3])), True)
    x = ops.softmax(ops.reshape(dense(normalised(x, before), 4, before), ops.constant(np.array([batch, 4])), False), 1)
    model = openvino.Model([x], [picture], "convnext_nano")
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    return openvino.Core().compile_model(model, "CPU", options)


def cpu_seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    arguments = record.parser(__doc__, "1,000 images and 4 rounds instead of 4,000 and 10", seed=0).parse_args()
    number, rounds, pictures = (1000, 4, 16) if arguments.quick else (4000, 10, 64)
    images = synthesise(SynthesiseSettings(number=number), seed=arguments.seed)
    network, fast = load_network("screener"), ClassifySettings(fast=True)
    inputs, _, _ = prepare(network.card["preprocessing"], images, None, network.card["input_size"])
    peers = {batch: convnext_nano(batch) for batch in (1, 8)}
    batches = {batch: np.random.default_rng(1).random((batch, 3, SIDE, SIDE), np.float32) for batch in peers}
    works = {
        "all": lambda: classify(images),
        "front end": lambda: prepare(network.card["preprocessing"], images, None, network.card["input_size"]),
        "network": lambda: network.predictor(inputs),
        "fast": lambda: classify(images, fast),
        **{
            f"peer {batch}": lambda batch=batch: [peers[batch](batches[batch]) for _ in range(pictures // batch)]
            for batch in peers
        },
    }
    best = dict.fromkeys(works, np.inf)
    for k in range(rounds + 1):
        for name, work in works.items():
            spent = cpu_seconds(work)
            if k:  # the first round compiles and warms up
                best[name] = min(best[name], spent)
    ours = number / best["all"]
    peer = pictures / min(best[f"peer {batch}"] for batch in peers)
    result = {
        "images_per_second_core": ours,
        "speed_ratio": ours / peer,
        "network_alone": number / best["network"],
        "front_end_ms": 1e3 * best["front end"] / number,
        "network_ms": 1e3 * best["network"] / number,
        "fast_images_per_second": number / best["fast"],
        "peer_images_per_second": peer,
    }
    record.finish("classify", result, arguments, peers=("openvino",))


if __name__ == "__main__":
    main()
