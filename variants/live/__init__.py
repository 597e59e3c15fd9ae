"""The live half: the same schedules on real `kvm.ko` builds of the variants."""
