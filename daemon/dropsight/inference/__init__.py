"""The runtime on top of a model: prepare, predict, merge views, calibrate, rank."""
