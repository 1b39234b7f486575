package image

// Memory of an x86 machine in MiB: enough for the updater beside a kernel and an
// initramfs that are unpacked.
const x86Memory = 512

// x86Kernel are the arguments of a kernel on the board: it would count the interrupts of a
// timer that a busy host emulates too slowly, and panic.
const x86Kernel = "console=ttyS0 no_timer_check"

// pc is the board of the x86 machines: a plain processor with what compilers take for granted
// today. One with all that the emulator can do takes a tenth longer to boot and to update, and
// with wide registers digests take it 1.7 times as long. Code that is translated once is kept.
var pc = []string{"-accel", "tcg,thread=multi,tb-size=256", "-machine", "pc", "-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16", "-smp", "1"}

// x86Platforms are PCs.
func x86Platforms() []Platform {
	return []Platform{grubBIOS(), grubEFI(), systemdBoot(), systemdBootXbootldr(), extlinux()}
}
