"""Binary (1-bit) neural networks in PyTorch: binarize, train, count, pack, run."""
