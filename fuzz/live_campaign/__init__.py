"""Fuzzing of real KVM: kernels run what Atheris makes, and say which of their blocks it reached."""
