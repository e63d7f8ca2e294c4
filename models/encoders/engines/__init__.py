"""Engines: what computes a network. One network, the same vectors, whichever of them runs it.

`openvino` compiles it for the processor, `torch` runs it as it stands, on a processor or on CUDA.
"""
