// The patch of 22 Sep 2020 ("emulate wait-for-SIPI and SIPI-VMExit") for the Linux 5.10 source,
// in our own words.

// A SIPI that meets a latched INIT is kept while L2 runs. Vendor-neutral code: SVM gets it too.
@sipi_is_kept_in_guest_mode@
identifier vcpu;
expression bits;
statement drop;
@@
 kvm_apic_accept_events(struct kvm_vcpu *vcpu)
 {
 <+...
  if (kvm_vcpu_latch_init(vcpu)) {
  ...
- if (test_bit(KVM_APIC_SIPI, bits))
+ if (!is_guest_mode(vcpu) && test_bit(KVM_APIC_SIPI, bits))
    drop
  ...
  }
 ...+>
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
