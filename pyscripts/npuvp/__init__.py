"""A SystemC TLM-2.0 virtual platform of an NPU for diffusion language models."""
