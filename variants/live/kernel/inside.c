// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KVM seen from inside, for eventdiff: linked into a kvm.ko built with -fsanitize-coverage=trace-pc.
 *
 * The compiler has each basic block of the instrumented files call __sanitizer_cov_trace_pc (the
 * name counts: objtool takes those calls out of code that must not be traced). The thread that has
 * opened the device then notes the block, and may let a message land there, as if another processor
 * had written its ICR at that moment. Nothing at all is done on other threads, in interrupts, while
 * it is off, and once a signal is pending: what KVM does from there on is the agent's doing.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched/signal.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include <trace/events/ipi.h>

#include "inside.h"
#include "lapic.h"

static struct inside *area;
static struct task_struct *owner;
static struct file *vcpu_file;
static bool busy; /* the callback is at work: what it calls is instrumented too */
static bool switching; /* in a preempt notifier: the scheduler holds what a wake-up takes */
static struct preempt_ops *kvm_ops; /* KVM's own notifiers */
static DEFINE_MUTEX(one_user);

static struct kvm_vcpu *target(void)
{
	return vcpu_file ? vcpu_file->private_data : NULL;
}

/*
 * KVM's own delivery takes no locks. A kick sends nothing to the processor that it is called on;
 * where it would have stopped the guest, this sends what another processor would have sent.
 */
static bool land(struct kvm_vcpu *vcpu, u32 icr)
{
	struct kvm_lapic_irq irq = {
		.vector = icr & APIC_VECTOR_MASK,
		.delivery_mode = icr & APIC_MODE_MASK,
		.level = (icr & APIC_INT_ASSERT) != 0,
		.trig_mode = (icr & APIC_INT_LEVELTRIG) != 0,
	};
	bool in_guest = READ_ONCE(vcpu->mode) == IN_GUEST_MODE, kicked;
	int cpu;

	kvm_apic_set_irq(vcpu, &irq, NULL);
	kicked = in_guest && READ_ONCE(vcpu->mode) == EXITING_GUEST_MODE;
	if (kicked) {
		cpu = get_cpu(); /* not as an argument: a macro may take that twice */
		smp_send_reschedule(cpu);
		put_cpu();
	}
	return kicked;
}

static bool is_there(const struct inside_message *message, u32 pc)
{
	u32 i;

	for (i = 0; i < min_t(u32, message->places, INSIDE_PLACES); i++)
		if (message->place[i] == pc)
			return true;
	return !message->places;
}

static void at_block(u32 number, u32 pc)
{
	struct inside_message *message;
	u32 i;

	for (i = 0; i < min_t(u32, area->messages, INSIDE_MESSAGES); i++) {
		message = &area->message[i];
		if (message->landed)
			continue;
		if (message->seen <= message->at) {
			message->seen += is_there(message, pc);
			if (message->seen <= message->at)
				continue;
		} else if (message->further) {
			message->further--;
		}
		if (message->further || switching || !target())
			continue; /* the next block will do */
		message->landed = 1 + number;
		message->landed_pc = pc;
		message->interrupts_off = irqs_disabled();
		message->kicked = land(target(), message->icr);
	}
}

void notrace __sanitizer_cov_trace_pc(void);
void notrace __sanitizer_cov_trace_pc(void)
{
	u32 pc = (u32)_RET_IP_;

	if (current != READ_ONCE(owner) || busy || !READ_ONCE(area->on))
		return;
	if (!in_task() || signal_pending(current))
		return;
	busy = true;
	if (area->count < INSIDE_ROOM)
		area->pc[area->count] = pc;
	if (area->messages)
		at_block(area->count, pc);
	area->count++;
	busy = false;
}
EXPORT_INSIDE(__sanitizer_cov_trace_pc);

static void sched_in(struct preempt_notifier *notifier, int cpu)
{
	switching = true;
	kvm_ops->sched_in(notifier, cpu);
	switching = false;
}

static void sched_out(struct preempt_notifier *notifier, struct task_struct *next)
{
	switching = true;
	kvm_ops->sched_out(notifier, next);
	switching = false;
}

static struct preempt_ops bracketed = { .sched_in = sched_in, .sched_out = sched_out };

static void set_file(struct file *file)
{
	if (vcpu_file)
		fput(vcpu_file);
	vcpu_file = file;
}

static long set_vcpu(int fd)
{
	struct file *file = fget(fd);
	struct preempt_notifier *notifier;

	if (!file)
		return -EBADF;
	if (strncmp(file->f_path.dentry->d_name.name, "kvm-vcpu", strlen("kvm-vcpu"))) {
		fput(file);
		return -EINVAL;
	}
	set_file(file);
	notifier = &target()->preempt_notifier;
	if (notifier->ops != &bracketed) {
		kvm_ops = notifier->ops;
		notifier->ops = &bracketed;
	}
	return 0;
}

static long inside_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	if (current != owner)
		return -EPERM;
	if (request == INSIDE_VCPU)
		return set_vcpu(argument);
	if (request != INSIDE_LAND)
		return -ENOTTY;
	if (!target())
		return -EINVAL;
	land(target(), argument);
	return 0;
}

static int inside_open(struct inode *inode, struct file *file)
{
	int error = 0;

	mutex_lock(&one_user);
	if (owner)
		error = -EBUSY;
	else if (!area && !(area = vmalloc_user(sizeof(*area))))
		error = -ENOMEM;
	else
		memset(area, 0, sizeof(*area));
	if (!error)
		WRITE_ONCE(owner, current);
	mutex_unlock(&one_user);
	return error;
}

static int inside_release(struct inode *inode, struct file *file)
{
	mutex_lock(&one_user);
	WRITE_ONCE(owner, NULL);
	set_file(NULL);
	mutex_unlock(&one_user);
	return 0;
}

static int inside_mmap(struct file *file, struct vm_area_struct *vma)
{
	return remap_vmalloc_range(vma, area, 0);
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = inside_open,
	.release = inside_release,
	.mmap = inside_mmap,
	.unlocked_ioctl = inside_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = INSIDE_DEVICE,
	.fops = &operations,
	.mode = 0600,
};

/* KVM's own code says what its modules do when they are loaded; a parameter comes in beside that. */
static int make_device(const char *value, const struct kernel_param *param)
{
	int error = misc_register(&device);

	if (!error)
		__module_get(THIS_MODULE); /* for good */
	return error;
}

static const struct kernel_param_ops device_ops = { .set = make_device };
module_param_cb(inside, &device_ops, NULL, 0200);
