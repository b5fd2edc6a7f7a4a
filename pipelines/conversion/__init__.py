"""Conversion: pairs of image and label to shards of records, in processes or on Beam."""
