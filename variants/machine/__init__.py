"""A model of Linux 5.10 KVM's vCPU event loop, whose functions variants replace."""
