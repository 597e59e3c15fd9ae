"""Recorded traces of KVM: what one says of who sent what to whom, as schedules."""
