"""Fuzzer processes, and the one that collects what they find."""
