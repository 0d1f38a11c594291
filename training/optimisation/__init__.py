"""Weights are fitted here: loss, schedule, optimiser, callbacks and the Keras loop."""
