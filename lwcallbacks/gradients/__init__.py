"""What a step of an optimizer is made of, layer by layer. Pure functions of tensors, without Lightning.

readings = read([Row("net.weight", parameter)], LogHistogram(), ["norms"])    # in a hook: waits for nothing
layers = finished(readings)                                     # in the background: waits for the device
layers.norms, layers.total("norms"), layers.grouped(1).names
"""
