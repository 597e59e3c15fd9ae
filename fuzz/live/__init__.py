"""The models held against real KVM."""
