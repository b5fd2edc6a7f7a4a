"""The peers of `models.py` in plain PyTorch: networks of the same arithmetic and parameters.

`FORMS` in `models.py` has the arguments with which `kerasseg.build` makes the same networks.
"""

import itertools

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


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int):
        super().__init__()
        self.heads = heads
        self.query, self.project = nn.Linear(width, width), nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.reduce = nn.Conv2d(width, width, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(width) if reduction > 1 else None

    def forward(self, tokens, size):
        """Returns what each token attends to; tokens are (batch, positions, width)."""
        batch, _, width = tokens.shape

        def of_heads(values):
            return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        reduced = tokens
        if self.reduce is not None and self.norm is not None:
            reduced = self.reduce(tokens.transpose(1, 2).reshape(batch, width, *size))
            reduced = self.norm(reduced.flatten(2).transpose(1, 2))
        keys, values = self.keys_values(reduced).chunk(2, dim=-1)
        attended = nn.functional.scaled_dot_product_attention(
            of_heads(self.query(tokens)), of_heads(keys), of_heads(values)
        )
        return self.project(attended.transpose(1, 2).flatten(2))


class _MixFeedForward(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.depthwise = nn.Conv2d(4 * width, 4 * width, 3, padding=1, groups=4 * width)

    def forward(self, tokens, size):
        """Returns the tokens after a perceptron that sees neighbours."""
        hidden = self.widen(tokens).transpose(1, 2).unflatten(2, size)
        hidden = nn.functional.gelu(self.depthwise(hidden))
        return self.narrow(hidden.flatten(2).transpose(1, 2))


class _TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int, drop_path: float):
        super().__init__()
        self.drop_path = drop_path
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.branches = nn.ModuleList([_Attention(width, heads, reduction), _MixFeedForward(width)])

    def forward(self, tokens, size):
        """Returns the tokens after two residual branches."""
        for norm, branch in zip(self.norms, self.branches, strict=True):
            change = branch(norm(tokens), size)
            if self.training and self.drop_path:
                kept = torch.rand(len(change), 1, 1) >= self.drop_path
                change = change * kept / (1 - self.drop_path)
            tokens = tokens + change
        return tokens


class SegFormer(nn.Module):
    """SegFormer-B0 with the authors' decoder."""

    def __init__(self, num_classes: int, widths=(32, 64, 160, 256), blocks: int = 2):
        super().__init__()
        kernels, inputs = (7, 3, 3, 3), (3, *widths[:3])
        self.patches = nn.ModuleList(
            nn.Conv2d(a, b, k, (k + 1) // 2, k // 2)
            for a, b, k in zip(inputs, widths, kernels, strict=True)
        )
        self.patch_norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.stages = nn.ModuleList()
        for stage, (width, heads) in enumerate(zip(widths, (1, 2, 5, 8), strict=True)):
            rates = [0.1 * (blocks * stage + i) / (4 * blocks - 1) for i in range(blocks)]
            self.stages.append(
                nn.ModuleList(
                    _TransformerBlock(width, heads, (8, 4, 2, 1)[stage], rate) for rate in rates
                )
            )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.project = nn.ModuleList(nn.Linear(width, 256) for width in widths)
        self.fuse = _unit(1024, 256, 1)
        self.head = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(256, num_classes, 1))

    def forward(self, images):
        """Returns the logits at the images' size."""
        features, maps = images, []
        for stage, patches in enumerate(self.patches):
            features = patches(features)
            size = features.shape[2:]
            tokens = self.patch_norms[stage](features.flatten(2).transpose(1, 2))
            for block in self.stages[stage]:
                tokens = block(tokens, size)
            tokens = self.norms[stage](tokens)
            features = tokens.transpose(1, 2).unflatten(2, size)
            projected = self.project[stage](tokens).transpose(1, 2).unflatten(2, size)
            size = maps[0].shape[2:] if maps else size
            maps.append(nn.functional.interpolate(projected, size, mode="bilinear"))
        logits = self.head(self.fuse(torch.cat(maps[::-1], dim=1)))
        return nn.functional.interpolate(logits, images.shape[2:], mode="bilinear")


class _ChannelNorm(nn.LayerNorm):
    def forward(self, features):
        """Normalises over the channels of a map."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _ConvNeXtBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width, 1e-6),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, features):
        """Returns the block's output."""
        branch = self.perceptron(self.depthwise(features).permute(0, 2, 3, 1))
        return features + (self.gamma * branch).permute(0, 3, 1, 2)


class UPerNet(nn.Module):
    """ConvNeXt-T, pyramid pooling with 1, 2, 3 and 6 bins, and a head of 512 channels."""

    def __init__(self, num_classes: int):
        super().__init__()
        widths, filters = (96, 192, 384, 768), 512
        steps = [nn.Sequential(nn.Conv2d(3, 96, 4, 4), _ChannelNorm(96, 1e-6))]
        for before, width in itertools.pairwise(widths):
            steps.append(nn.Sequential(_ChannelNorm(before, 1e-6), nn.Conv2d(before, width, 2, 2)))
        self.stages = nn.ModuleList(
            nn.Sequential(step, *(_ConvNeXtBlock(width) for _ in range(depth)))
            for step, width, depth in zip(steps, widths, (3, 3, 9, 3), strict=True)
        )
        self.norms = nn.ModuleList(_ChannelNorm(width, 1e-6) for width in widths)
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), _unit(768, filters, 1))
            for bins in (1, 2, 3, 6)
        )
        self.pooled = _unit(768 + 4 * filters, filters, 3)
        self.laterals = nn.ModuleList(_unit(width, filters, 1) for width in widths[:3])
        self.smooth = nn.ModuleList(_unit(filters, filters, 3) for _ in range(3))
        self.fuse = _unit(4 * filters, filters, 3)
        self.classify = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(filters, num_classes, 1))

    def forward(self, images):
        """Returns the logits at the images' size."""
        features, found = images, []
        for stage, norm in zip(self.stages, self.norms, strict=True):
            features = stage(features)
            found.append(norm(features))
        maps = [found[3], *(_resized(pool(found[3]), found[3]) for pool in self.pools)]
        pyramid = [self.pooled(torch.cat(maps, dim=1))]
        path = pyramid[0]
        for level in (2, 1, 0):
            lateral = self.laterals[level](found[level])
            path = lateral + _resized(path, lateral)
            pyramid.append(self.smooth[level](path))
        finest = pyramid[-1]
        fused = self.fuse(torch.cat([_resized(each, finest) for each in pyramid[::-1]], dim=1))
        return _resized(self.classify(fused), images)


def _resized(features, reference):
    return nn.functional.interpolate(features, reference.shape[2:], mode="bilinear")


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


class _ScaledBlock(nn.Module):
    """A pre-norm block with LayerScale, as in DINOv2."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale1, self.scale2 = (nn.Parameter(torch.ones(width)) for _ in range(2))

    def forward(self, tokens):
        """Returns the tokens after the block."""
        batch, count, width = tokens.shape
        split = self.qkv(self.norm1(tokens)).view(batch, count, 3, self.heads, -1)
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        attended = nn.functional.scaled_dot_product_attention(queries, keys, values)
        attended = attended.transpose(1, 2).reshape(batch, count, width)
        tokens = tokens + self.scale1 * self.proj(attended)
        hidden = nn.functional.gelu(self.fc1(self.norm2(tokens)))
        return tokens + self.scale2 * self.fc2(hidden)


class EoMT(nn.Module):
    """DINOv2-S with queries before the last three blocks; its logits are logarithms of scores."""

    def __init__(self, num_classes: int, side: int = 32, queries: int = 100, width: int = 384):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.prefix = nn.Parameter(0.02 * torch.randn(1, 5, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, side * side, width))
        self.queries = nn.Parameter(torch.randn(1, queries, width))
        self.blocks = nn.ModuleList(_ScaledBlock(width, 6) for _ in range(12))
        self.norm = nn.LayerNorm(width, 1e-6)
        self.classify = nn.Linear(width, num_classes + 1)
        self.embed = nn.Sequential(
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
        )
        self.upscale = nn.Sequential(
            *[
                layer
                for _ in range(2)
                for layer in (
                    nn.ConvTranspose2d(width, width, 2, 2),
                    nn.GELU(),
                    nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
                    _ChannelNorm(width, 1e-6),
                )
            ]
        )
        self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53])[:, None, None])
        self.register_buffer("std", torch.tensor([58.395, 57.12, 57.375])[:, None, None])

    def forward(self, images):
        """Returns the logits at the images' size."""
        patches = self.patches((images - self.mean) / self.std)
        batch, width, *grid = patches.shape
        tokens = patches.flatten(2).transpose(1, 2) + self.positions
        tokens = torch.cat([self.prefix.expand(batch, -1, -1), tokens], dim=1)
        for index, block in enumerate(self.blocks):
            if index == len(self.blocks) - 3:
                tokens = torch.cat([self.queries.expand(batch, -1, -1), tokens], dim=1)
            tokens = block(tokens)
        tokens = self.norm(tokens)
        queries, patches = tokens[:, : self.queries.shape[1]], tokens[:, -grid[0] * grid[1] :]
        features = self.upscale(patches.transpose(1, 2).reshape(batch, width, *grid))
        masks = torch.einsum("bqc,bchw->bqhw", self.embed(queries), features)
        classes = self.classify(queries).softmax(-1)[..., :-1]
        size = images.shape[2:]
        masks = nn.functional.interpolate(masks, size, mode="bilinear", align_corners=False)
        scores = torch.einsum("bqk,bqhw->bkhw", classes, masks.sigmoid())
        return scores.clamp_min(1e-20).log()


NETWORKS = {
    "eomt": EoMT,
    "unet": UNet,
    "deeplabv3": DeepLabV3,
    "segformer": SegFormer,
    "upernet": UPerNet,
    "lraspp": LRASPP,
}
