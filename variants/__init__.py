"""What is tested: the machine and the variants of KVM's INIT/SIPI handling that run in it."""
