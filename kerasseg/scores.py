"""The scores of a whole split: their names in the order of reports, and what they mean.

`kerasseg.metrics.OVERALL` computes them. This table loads no TensorFlow, as the help of the command
line reads it. More is better for each of them.
"""

MEANINGS = {
    "mean_iou": "Mean over the classes of intersection / union, of all pixels of the split.",
    "pixel_accuracy": "Share of the labelled pixels that are right.",
    "mean_accuracy": "Mean over the classes of the share of their pixels that is right.",
    "frequency_weighted_iou": "IoU of the classes, weighted by their share of the labels.",
}
