"""The peers of `models.py` in plain PyTorch: U-Net, DeepLab v3 on ResNet-50, and LR-ASPP.

The same architectures as `kerasseg.build("unet", variant="milesial")`,
`kerasseg.build("deeplabv3", encoder="resnet50", variant="torchvision")` and
`kerasseg.build("lraspp", encoder="mobilenetv3_large", variant="torchvision")`.
"""

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1, rate: int = 1, relu=True):
    padding = rate * (kernel - 1) // 2
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, rate, bias=False)
    layers = [convolution, nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class UNet(nn.Module):
    """Padded, batch-normalised, five levels from 64 to 1024 channels."""

    def __init__(self, num_classes: int):
        super().__init__()
        channels = [64, 128, 256, 512, 1024]

        def double(inputs, outputs):
            return nn.Sequential(_unit(inputs, outputs, 3), _unit(outputs, outputs, 3))

        self.down = nn.ModuleList(
            double(a, b) for a, b in zip([3, *channels], channels, strict=False)
        )
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, 2, 2) for c in channels[3::-1])
        self.up = nn.ModuleList(double(2 * c, c) for c in channels[3::-1])
        self.classify = nn.Conv2d(64, num_classes, 1)

    def forward(self, images):
        """Returns the logits at the images' size."""
        skips, features = [], images
        for level, block in enumerate(self.down):
            features = block(nn.functional.max_pool2d(features, 2) if level else features)
            skips.append(features)
        for enlarge, block, skip in zip(self.enlarge, self.up, skips[3::-1], strict=True):
            features = block(torch.cat([skip, enlarge(features)], dim=1))
        return self.classify(features)


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, rate: int):
        super().__init__()
        self.body = nn.Sequential(
            _unit(inputs, width, 1),
            _unit(width, width, 3, stride, rate),
            _unit(width, 4 * width, 1, relu=False),
        )
        changed = stride > 1 or inputs != 4 * width
        self.shortcut = _unit(inputs, 4 * width, 1, stride, relu=False) if changed else None

    def forward(self, features):
        """Returns the block's output."""
        shortcut = features if self.shortcut is None else self.shortcut(features)
        return nn.functional.relu(self.body(features) + shortcut, inplace=True)


class DeepLabV3(nn.Module):
    """Output stride 8, rates 12, 24 and 36, the first block of a stage at the rate before."""

    def __init__(self, num_classes: int):
        super().__init__()
        stages = [(64, 3, 1, [1] * 3), (128, 4, 2, [1] * 4)]
        stages += [(256, 6, 1, [1, 2, 2, 2, 2, 2]), (512, 3, 1, [2, 4, 4])]
        blocks, inputs = [_unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
        for width, depth, stride, rates in stages:
            for index in range(depth):
                blocks.append(_Bottleneck(inputs, width, stride if index == 0 else 1, rates[index]))
                inputs = 4 * width
        self.encoder = nn.Sequential(*blocks)
        self.branches = nn.ModuleList(
            [_unit(2048, 256, 1), *(_unit(2048, 256, 3, rate=rate) for rate in (12, 24, 36))]
        )
        self.pool = _unit(2048, 256, 1)
        self.project = _unit(1280, 256, 1)
        self.head = nn.Sequential(
            nn.Dropout(0.5), _unit(256, 256, 3), nn.Conv2d(256, num_classes, 1)
        )

    def forward(self, images):
        """Returns the logits at the images' size."""
        features = self.encoder(images)
        maps = [branch(features) for branch in self.branches]
        pooled = self.pool(features.mean((2, 3), keepdim=True))
        maps.append(pooled.expand(-1, -1, *features.shape[2:]))
        logits = self.head(self.project(torch.cat(maps, dim=1)))
        return nn.functional.interpolate(logits, images.shape[2:], mode="bilinear")


class _SqueezeExcitation(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        squeezed = -(-channels // 32) * 8
        self.reduce, self.expand = (
            nn.Conv2d(channels, squeezed, 1),
            nn.Conv2d(squeezed, channels, 1),
        )

    def forward(self, features):
        """Returns the weighed channels."""
        means = nn.functional.adaptive_avg_pool2d(features, 1)
        weights = self.expand(nn.functional.relu(self.reduce(means)))
        return nn.functional.hardsigmoid(weights) * features


# Kernel, channels of the depthwise convolution, channels, squeeze and excitation, hard swish,
# stride and dilation of each block of MobileNetV3-Large at output stride 16.
_MOBILE_BLOCKS = (
    (3, 16, 16, False, False, 1, 1),
    (3, 64, 24, False, False, 2, 1),
    (3, 72, 24, False, False, 1, 1),
    (5, 72, 40, True, False, 2, 1),
    (5, 120, 40, True, False, 1, 1),
    (5, 120, 40, True, False, 1, 1),
    (3, 240, 80, False, True, 2, 1),
    (3, 200, 80, False, True, 1, 1),
    (3, 184, 80, False, True, 1, 1),
    (3, 184, 80, False, True, 1, 1),
    (3, 480, 112, True, True, 1, 1),
    (3, 672, 112, True, True, 1, 1),
    (5, 672, 160, True, True, 1, 2),
    (5, 960, 160, True, True, 1, 2),
    (5, 960, 160, True, True, 1, 2),
)


def _mobile_unit(inputs, outputs, kernel, activation, stride=1, rate=1, groups=1):
    padding = rate * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, rate, groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
        *([activation(inplace=True)] if activation else []),
    )


class _InvertedResidual(nn.Module):
    def __init__(self, inputs, kernel, expanded, outputs, squeezes, hard, stride, rate):
        super().__init__()
        activation = nn.Hardswish if hard else nn.ReLU
        layers = []
        if expanded != inputs:
            layers.append(_mobile_unit(inputs, expanded, 1, activation))
        layers.append(
            _mobile_unit(expanded, expanded, kernel, activation, stride, rate, groups=expanded)
        )
        if squeezes:
            layers.append(_SqueezeExcitation(expanded))
        self.body = nn.Sequential(*layers, _mobile_unit(expanded, outputs, 1, None))
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, features):
        """Returns the block's output."""
        result = self.body(features)
        return result + features if self.has_shortcut else result


class LRASPP(nn.Module):
    """On MobileNetV3-Large at output stride 16, with global pooling."""

    def __init__(self, num_classes: int):
        super().__init__()
        blocks, inputs = [_mobile_unit(3, 16, 3, nn.Hardswish, 2)], 16
        for block in _MOBILE_BLOCKS:
            blocks.append(_InvertedResidual(inputs, *block))
            inputs = block[2]
        blocks.append(_mobile_unit(inputs, 960, 1, nn.Hardswish))
        self.low, self.high = nn.Sequential(*blocks[:5]), nn.Sequential(*blocks[5:])
        self.reduce = _unit(960, 128, 1)
        self.scale = nn.Conv2d(960, 128, 1, bias=False)
        self.low_classify = nn.Conv2d(40, num_classes, 1)
        self.high_classify = nn.Conv2d(128, num_classes, 1)

    def forward(self, images):
        """Returns the logits at the images' size."""
        low = self.low(images)
        high = self.high(low)
        weights = torch.sigmoid(self.scale(nn.functional.adaptive_avg_pool2d(high, 1)))
        context = nn.functional.interpolate(
            self.reduce(high) * weights, low.shape[2:], mode="bilinear"
        )
        logits = self.low_classify(low) + self.high_classify(context)
        return nn.functional.interpolate(logits, images.shape[2:], mode="bilinear")


NETWORKS = {"unet": UNet, "deeplabv3": DeepLabV3, "lraspp": LRASPP}
