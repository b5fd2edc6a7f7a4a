"""The peers of `models.py` in plain PyTorch: U-Net, DeepLab v3 on a dilated ResNet-50, and EoMT.

The same architectures as `kerasseg.build("unet", variant="milesial")`,
`kerasseg.build("deeplabv3", encoder="resnet50", variant="torchvision")` and
`kerasseg.build("eomt", encoder="dinov2_small")`, the last for images of 512 x 512 only.
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


class _Block(nn.Module):
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


class _ChannelNorm(nn.LayerNorm):
    def forward(self, features):
        """Normalises the channels of (batch, channels, height, width)."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class EoMT(nn.Module):
    """DINOv2-S with queries before the last three blocks; its logits are logarithms of scores."""

    def __init__(self, num_classes: int, side: int = 32, queries: int = 100, width: int = 384):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.prefix = nn.Parameter(0.02 * torch.randn(1, 5, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, side * side, width))
        self.queries = nn.Parameter(torch.randn(1, queries, width))
        self.blocks = nn.ModuleList(_Block(width, 6) for _ in range(12))
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
        scores = torch.einsum("bqk,bqhw->bkhw", classes, masks.sigmoid())
        size = images.shape[2:]
        scores = nn.functional.interpolate(scores, size, mode="bilinear", align_corners=False)
        return scores.clamp_min(1e-20).log()
