"""NumPy twins of the machine: bit for bit what the C++ kernels compute, on any host."""
