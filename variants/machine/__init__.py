"""A model of Linux 5.10 KVM's vCPU event loop, in which a variant's hooks run."""
