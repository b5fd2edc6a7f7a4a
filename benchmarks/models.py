"""Images a second of every architecture, and side by side with peers.

    python benchmarks/models.py [--size 256,256] [--batch 2] [--rounds 5] [NAME ...]

Each network runs in a process of its own. A network and its peer are measured in turns, so that
what else the machine does meets both. A training step is forward, cross entropy at the images'
size, backward and momentum. Peers need `pip install 'kerasseg[bench,hub]'`.
"""

# The folder pipelines/ is kerasseg.pipelines once installed, which pyright does not follow.
# pyright: reportMissingImports=false

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

CLASSES = 19
# Ours, and the peers that do the same: networks of the same parameters but for keras-hub's, whose
# encoder is not dilated.
PEERS = (
    ("kerasseg:unet", "torch:unet"),
    ("kerasseg:eomt", "torch:eomt"),
    ("kerasseg:deeplabv3", "torch:deeplabv3"),
    ("kerasseg:deeplabv3", "dilated:deeplabv3"),
    ("kerasseg:deeplabv3", "hub:deeplabv3"),
    ("kerasseg:segformer", "torch:segformer"),
    ("kerasseg:upernet", "torch:upernet"),
    ("kerasseg:lraspp", "torch:lraspp"),
)
# The forms that the peers have.
FORMS = {
    "unet": {"variant": "milesial"},
    "deeplabv3": {"encoder": "resnet50", "variant": "torchvision"},
    "eomt": {"encoder": "dinov2_small"},
    "segformer": {"encoder": "mit_b0"},
    "upernet": {"encoder": "convnext_tiny", "auxiliary": False, "drop_path": 0.0},
    "lraspp": {"encoder": "mobilenetv3_large", "variant": "torchvision"},
}


def main() -> None:
    """Prints the two tables."""
    parser = argparse.ArgumentParser(description="Measures architectures.")
    parser.add_argument("names", nargs="*", help="architectures; all if none is given")
    parser.add_argument("--size", default="256,256")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--peers-only", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options)
        return
    if not options.no_peers:
        compare_peers(options)
    if not options.peers_only:
        list_architectures(options)


class Worker:
    """A subject in a process of its own, measured on request."""

    def __init__(self, subject: str, options):
        command = [sys.executable, __file__, "--worker", subject, "--size", options.size]
        self._process = subprocess.Popen(
            [*command, "--batch", str(options.batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.facts = self._read()

    def _read(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": "the process ended"}

    def measure(self, mode: str) -> float:
        """Returns images a second over some seconds of `train` or `infer`."""
        assert self._process.stdin is not None
        self._process.stdin.write(mode + "\n")
        self._process.stdin.flush()
        return self._read().get("images_per_second", float("nan"))

    def close(self) -> dict:
        """Ends the process; returns its peak memory."""
        assert self._process.stdin is not None
        self._process.stdin.write("end\n")
        self._process.stdin.close()
        facts = self._read()
        self._process.wait()
        return facts


def compare_peers(options) -> None:
    """Measures ours and a peer in turns."""
    print(f"images a second at {options.size}, batch {options.batch}; ratio = ours / peer")
    for ours, peer in PEERS:
        if options.names and ours.partition(":")[2] not in options.names:
            continue
        workers = [Worker(subject, options) for subject in (ours, peer)]
        errors = [worker.facts["error"] for worker in workers if "error" in worker.facts]
        if errors:
            print(f"{ours} / {peer}: not measured ({errors[0]})")
            continue
        counts = [f"{worker.facts['parameters']:,}" for worker in workers]
        print(f"{ours} ({counts[0]} parameters) / {peer} ({counts[1]})", flush=True)
        for mode in ("train", "infer"):
            turns = [[w.measure(mode) for w in workers] for _ in range(options.rounds)]
            ratios = sorted(one / other for one, other in turns)
            medians = [statistics.median(column) for column in zip(*turns, strict=True)]
            print(
                f"  {mode}: {medians[0]:.2f} / {medians[1]:.2f}, ratio median "
                f"{statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})",
                flush=True,
            )
        for worker in workers:
            worker.close()


def list_architectures(options) -> None:
    """Measures each architecture in its default form."""
    from kerasseg import models

    print(f"\nsize {options.size}, batch {options.batch}, {CLASSES} classes")
    print(f"{'model':15}{'parameters':>14}{'train im/s':>12}{'infer im/s':>12}{'peak MiB':>10}")
    for name in options.names or models.names():
        worker = Worker(f"default:{name}", options)
        if "error" in worker.facts:
            print(f"{name:15} {worker.facts['error']}")
            continue
        train, infer = worker.measure("train"), worker.measure("infer")
        peak = worker.close()["peak_mib"]
        count = worker.facts["parameters"]
        print(f"{name:15}{count:14,}{train:12.2f}{infer:12.2f}{peak:10.0f}", flush=True)


def serve(options) -> None:
    """Answers a parent's requests, a JSON line each."""
    answer, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not meet the answers
    height, width = map(int, options.size.split(","))
    kind, _, name = options.worker.partition(":")

    def send(**facts) -> None:
        print(json.dumps(facts), file=answer, flush=True)

    try:
        make = torch_steps if kind == "torch" else keras_steps
        parameters, steps = make(kind, name, (options.batch, height, width))
    except Exception as error:  # told to the parent
        send(error=f"{type(error).__name__}: {str(error).splitlines()[0]}")
        return
    send(parameters=parameters)
    warm = set()
    for line in sys.stdin:
        mode = line.strip()
        if mode == "end":
            break
        if mode not in warm:
            steps[mode]()
            steps[mode]()
            warm.add(mode)
        begun, count = time.perf_counter(), 0
        while count < 2 or time.perf_counter() - begun < 3:
            steps[mode]()
            count += 1
        send(images_per_second=count * options.batch / (time.perf_counter() - begun))
    send(peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def keras_steps(kind: str, name: str, shape):
    """Builds a Keras network; returns its parameters and steps."""
    from kerasseg.pipelines.runtime import allocator, environment

    # As `kerasseg fit` and `predict` do.
    environment.prepare()
    allocator.keep_freed(allocator.ARRAYS)
    import numpy as np
    import tensorflow as tf

    import kerasseg

    model, loss_of = _keras_model(kind, name, shape)
    variables = model.trainable_variables
    optimizer = kerasseg.optimizers.SGD(1e-4, momentum=0.9)
    optimizer.build(variables)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.uniform(0, 255, (*shape, 3)).astype(np.float32))
    labels = tf.constant(rng.integers(0, CLASSES, shape).astype(np.int32))

    @tf.function
    def train():
        with tf.GradientTape() as tape:
            loss = loss_of(model(images, training=True), labels)
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]))
        return loss

    # As `kerasseg predict` runs a network; peers have no such form.
    forward = model if kind == "hub" else kerasseg.inference.with_constant_weights(model)

    @tf.function
    def infer():
        return forward(images, training=False)

    parameters = sum(int(np.prod(v.shape)) for v in variables)
    return parameters, {"train": lambda: train().numpy(), "infer": lambda: infer().numpy()}


def _keras_model(kind: str, name: str, shape):
    import keras
    import tensorflow as tf

    import kerasseg

    def loss_of(outputs, labels):
        heads = [outputs]
        if isinstance(outputs, dict):  # what the queries of mask classification find is no head
            heads = [head for name, head in outputs.items() if "queries" not in name]
        return tf.add_n([loss_of_head(head, labels) for head in heads])

    def loss_of_head(head, labels):
        if head.shape[-1] == 1:
            return kerasseg.losses.BoundaryCrossEntropy()(labels, head)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, head))

    if kind == "hub":
        return _hub_model(shape), loss_of
    options: dict[str, Any] = {} if kind == "default" else FORMS[name]
    model = kerasseg.models.builder(name)(num_classes=CLASSES, **options)
    if kind == "dilated":
        model = keras.models.clone_model(model, clone_function=_with_keras_dilation)
    return model, loss_of


def _with_keras_dilation(layer):
    """Replaces our native dilated convolution by Keras' own."""
    import keras

    config = layer.get_config()
    if isinstance(layer, keras.layers.Conv2D) and max(layer.dilation_rate) > 1:
        return keras.layers.Conv2D.from_config({**config, "padding": "same"})
    return layer.__class__.from_config(config)


def _hub_model(shape):
    """keras-hub's DeepLab v3 on its ResNet-50, with random weights."""
    import keras
    import keras_hub

    size: Any = (*shape[1:], 3)
    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
        image_shape=size,
    )
    backbone = keras_hub.models.DeepLabV3Backbone(
        image_encoder=encoder,
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[12, 24, 36],
        image_shape=size,
    )
    logits = keras.layers.Conv2D(CLASSES, 1)(backbone.output)
    logits = keras.layers.Resizing(size[0], size[1])(logits)
    return keras.Model(backbone.inputs, logits)


def torch_steps(kind: str, name: str, shape):
    """Builds a PyTorch network in its faster memory format; returns its parameters and steps."""
    import torch
    import torch_models

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    network = torch_models.NETWORKS[name](CLASSES)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    images = torch.rand(shape[0], 3, *shape[1:]) * 255
    labels = torch.randint(0, CLASSES, shape)

    def train() -> float:
        network.train()
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer():
        network.eval()
        with torch.inference_mode():
            return network(images).sum().item()

    def seconds() -> float:
        train()
        begun = time.perf_counter()
        train()
        return time.perf_counter() - begun

    contiguous = seconds()
    network.to(memory_format=torch.channels_last)
    images = images.to(memory_format=torch.channels_last)
    if seconds() > contiguous:
        network.to(memory_format=torch.contiguous_format)
        images = images.contiguous()
    return sum(p.numel() for p in network.parameters()), {"train": train, "infer": infer}


if __name__ == "__main__":
    main()
