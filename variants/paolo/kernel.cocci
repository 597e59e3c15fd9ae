// The fix as posted on 5 Nov 2020 (two patches) for the Linux 5.10 source, in our own words.

// The nested check comes first; what was pending before it is then taken bit by bit. A SIPI
// outside wait-for-SIPI is left pending.
@accept_events@
identifier vcpu, apic, pe;
statement drop;
@@
 kvm_apic_accept_events(struct kvm_vcpu *vcpu)
 {
 ... when any
+ pe = smp_load_acquire(&apic->pending_events);
+ if (is_guest_mode(vcpu) && kvm_x86_ops.nested_ops->check_events(vcpu) < 0)
+	return;
+
  if (kvm_vcpu_latch_init(vcpu)) {
  ...
- if (test_bit(KVM_APIC_SIPI, &apic->pending_events))
+ if (test_bit(KVM_APIC_SIPI, &pe))
    drop
  ...
  }
- pe = xchg(&apic->pending_events, 0);
  ... when any
 }

@init_cleared@
identifier vcpu, apic, pe;
@@
 kvm_apic_accept_events(struct kvm_vcpu *vcpu)
 {
 ... when any
 struct kvm_lapic *apic = ...;
 <+...
  if (test_bit(KVM_APIC_INIT, &pe)) {
+	clear_bit(KVM_APIC_INIT, &apic->pending_events);
  ...
  }
 ...+>
 }

@sipi_cleared@
identifier vcpu, apic, pe;
expression waits;
@@
 kvm_apic_accept_events(struct kvm_vcpu *vcpu)
 {
 ... when any
 struct kvm_lapic *apic = ...;
 <+...
  if (test_bit(KVM_APIC_SIPI, &pe) && waits) {
+	clear_bit(KVM_APIC_SIPI, &apic->pending_events);
  ...
  }
 ...+>
 }

// INIT is held in VMX root operation only.
@blocked@
identifier vcpu;
expression E;
@@
 vmx_apic_init_signal_blocked(struct kvm_vcpu *vcpu)
 {
- return E;
+ return E && !is_guest_mode(vcpu);
 }

// IA32_VMX_MISC bit 8: the activity state wait-for-SIPI is there.
@advertised@
@@
 nested_vmx_setup_ctls_msrs(...)
 {
 <+...
- VMX_MISC_ACTIVITY_HLT
+ (VMX_MISC_ACTIVITY_HLT | BIT(8))
 ...+>
 }

@entry_check@
identifier vmcs12;
@@
 nested_check_guest_non_reg_state(struct vmcs12 *vmcs12)
 {
 <+...
- vmcs12->guest_activity_state != GUEST_ACTIVITY_HLT
+ (vmcs12->guest_activity_state != GUEST_ACTIVITY_HLT &&
+  vmcs12->guest_activity_state != GUEST_ACTIVITY_WAIT_SIPI)
 ...+>
 }

// An L2 entered in wait-for-SIPI does not run: the vCPU waits.
@entry@
identifier vcpu, vmcs12;
@@
 nested_vmx_run(struct kvm_vcpu *vcpu, ...)
 {
 <+...
  nested_cache_shadow_vmcs12(vcpu, vmcs12);
+ if (vmcs12->guest_activity_state == GUEST_ACTIVITY_WAIT_SIPI) {
+	to_vmx(vcpu)->nested.nested_run_pending = 0;
+	vcpu->arch.mp_state = KVM_MP_STATE_INIT_RECEIVED;
+	return 1;
+ }
 ...+>
 }

// INIT is consumed, and exits unless L2 waits for a SIPI; then a SIPI is, and exits if it does.
@init_exit@
identifier vcpu;
@@
 vmx_check_nested_events(struct kvm_vcpu *vcpu)
 {
 <+...
+ if (vcpu->arch.mp_state != KVM_MP_STATE_INIT_RECEIVED)
  nested_vmx_vmexit(vcpu, EXIT_REASON_INIT_SIGNAL, 0, 0);
 ...+>
 }

@sipi_exit@
identifier vcpu, block_nested_events, apic;
statement below;
@@
 vmx_check_nested_events(struct kvm_vcpu *vcpu)
 {
 ...
 bool block_nested_events = ...;
 ...
 struct kvm_lapic *apic = ...;
 <+...
+ if (lapic_in_kernel(vcpu) && test_bit(KVM_APIC_SIPI, &apic->pending_events)) {
+	if (block_nested_events)
+		return -EBUSY;
+	clear_bit(KVM_APIC_SIPI, &apic->pending_events);
+	if (vcpu->arch.mp_state == KVM_MP_STATE_INIT_RECEIVED)
+		nested_vmx_vmexit(vcpu, 4, 0, apic->sipi_vector & 0xffUL);
+	return 0;
+ }
  if (vcpu->arch.exception.pending && !vmx_pending_dbg_trap(vcpu)) below
 ...+>
 }

// An exit out of wait-for-SIPI saves that activity state.
@exit_activity@
identifier vcpu, vmcs12;
statement halted, active;
@@
 sync_vmcs02_to_vmcs12(struct kvm_vcpu *vcpu, struct vmcs12 *vmcs12)
 {
 <+...
+ if (vcpu->arch.mp_state == KVM_MP_STATE_INIT_RECEIVED)
+	vmcs12->guest_activity_state = GUEST_ACTIVITY_WAIT_SIPI;
+ else
  if (vcpu->arch.mp_state == KVM_MP_STATE_HALTED) halted else active
 ...+>
 }
