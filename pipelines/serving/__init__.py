"""A SavedModel through TensorFlow's C interface; tensors, messages and connections of serving."""
