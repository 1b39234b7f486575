package image

// Memory of an x86 machine in MiB: enough for the updater beside a kernel and an
// initramfs that are unpacked.
const x86Memory = 512

// x86Kernel are the arguments of a kernel on the board: it would count the interrupts of a
// timer that a busy host emulates too slowly, and panic.
const x86Kernel = "console=ttyS0 no_timer_check"

// pc is the board of the x86 machines: as much processor as the emulator can do but for the
// wide registers, with which digests take it 1.7 times as long as without. Code that is
// translated once is kept.
var pc = []string{"-accel", "tcg,thread=multi,tb-size=256", "-machine", "pc", "-cpu", "max,-avx,-avx2", "-smp", "1"}

// x86Platforms are PCs.
func x86Platforms() []Platform {
	return []Platform{grubBIOS(), grubEFI(), systemdBoot(), systemdBootXbootldr(), extlinux()}
}
