// Package protocol is what the lab and its agent in a guest say to each other: one
// JSON object a line, over a virtio port. Only a guest that has said hello is spoken
// to, so nothing is lost in a port that nobody has opened.
package protocol

// Port is the name of the virtio port (/sys/class/virtio-ports/*/name in the guest).
const Port = "lab.agent"

// Request asks the agent to run a command.
type Request struct {
	ID      int    `json:"id"`
	Command string `json:"command"` // for /bin/sh -c
}

// Answer is what the agent sends back; and once, unasked, with Hello, when it has
// opened its port.
type Answer struct {
	ID     int    `json:"id"`
	Exit   int    `json:"exit"` // of the command; 128+N when signal N ended it
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Hello  bool   `json:"hello,omitempty"`
}

// What guests print on the console, each at the beginning of a line.
const (
	// Up is printed when userspace is up and the agent listens:
	// "LAB-UP version=2 kernel=6.1.0-1-amd64 trial=1 uptime=3.42".
	Up = "LAB-UP"
	// Early and Late are printed when the two halves of the boot integration have
	// ended: "LAB-LATE exit=0".
	Early = "LAB-EARLY"
	Late  = "LAB-LATE"
	// Initramfs is printed when the initramfs has loaded its modules, and on a trial
	// armed the watchdog: "LAB-INITRAMFS trial=1".
	Initramfs = "LAB-INITRAMFS"
	// Held is printed by the plugin that holds: "LAB-HELD arm before".
	Held = "LAB-HELD"
	// Defect is printed by a release that has one, when it strikes: "LAB-DEFECT hang".
	Defect = "LAB-DEFECT"
	// Trouble is printed when the guest's own machinery fails.
	Trouble = "LAB-TROUBLE"
)

// The places in a release where its defects are described.
const (
	// DefectFile lies in the initramfs or the root; it holds one of the defects below.
	DefectFile = "/etc/lab/defect"
	// DefectPanic in the initramfs: the kernel panics.
	DefectPanic = "panic"
	// DefectHang in the root: /sbin/init does nothing for ever.
	DefectHang = "hang"
	// DefectLockup in the root: the kernel gets no interrupt any more.
	DefectLockup = "lockup"
	// DefectStuck in the root: the system never gets to the second half of the boot
	// integration.
	DefectStuck = "stuck"
)

// The plugin that holds takes the real one's place among the plugins.
const (
	// RealPlugins is where the real plugins have been moved to.
	RealPlugins = "/usr/lib/lab/real"
	// HoldOrder holds a call and "before" or "after": "arm before". HoldTrial is the
	// same, for trial boots only.
	HoldOrder = "/run/lab-hold/order"
	HoldTrial = "/etc/lab/hold"
)
