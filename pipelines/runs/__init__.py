"""The run folder: options, state, history and initial weights of a training."""
