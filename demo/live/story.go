package main

import (
	"context"
	"regexp"
	"time"
)

// What the console says, by what it means.
var (
	broken = regexp.MustCompile(`tbupdate: the trial of generation .* failed`)
	judged = regexp.MustCompile(`Generation .* is good`)
)

// tell is the story: the old release, a good update, a bad one.
func (s *stage) tell(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{s.oldRelease, s.goodUpdate, s.badUpdate, s.proof} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) oldRelease(ctx context.Context) error {
	s.chapter("7. The same disk in a virtual machine: the power goes on")
	s.say("From here on everything runs in the machine itself: its BIOS, GRUB, kernel and systemd.\nThe processor is emulated, and slow. The seconds count from the last start.")
	if err := s.machine.PowerOn(); err != nil {
		return err
	}
	if err := s.untilUp(ctx, "1.1"); err != nil {
		return err
	}
	return s.runAll(ctx, "uname -r", "cat /proc/cmdline", "tbupdate status")
}

func (s *stage) goodUpdate(ctx context.Context) error {
	s.chapter("8. Release 1.2 is applied while 1.1 runs; the machine reboots into it, checks itself and confirms it")
	if err := s.runAll(ctx, "mount -o ro /dev/vdb /mnt", "tbupdate apply /mnt/1.2.tbu"); err != nil {
		return err
	}
	if err := s.untilUp(ctx, "1.2"); err != nil {
		return err
	}
	if err := s.until(ctx, judged); err != nil {
		return err
	}
	return s.runAll(ctx, "uname -r", "tbupdate status")
}

func (s *stage) badUpdate(ctx context.Context) error {
	s.chapter("9. Release 1.3 boots, but its meter cannot be read: nobody touches the machine from here on")
	if err := s.runAll(ctx, "mount -o ro /dev/vdb /mnt", "tbupdate apply /mnt/1.3.tbu"); err != nil {
		return err
	}
	if err := s.until(ctx, broken); err != nil {
		return err
	}
	failed := time.Now()
	if err := s.untilUp(ctx, "1.2"); err != nil {
		return err
	}
	s.backAfter = time.Since(failed)
	return s.runAll(ctx, "tbupdate status", "tbupdate history")
}

// proof asks the machine once more, by other means than the updater's.
func (s *stage) proof(ctx context.Context) error {
	s.chapter("What was shown by the machine itself")
	for _, claim := range []struct{ what, command, want string }{
		{"release that runs", ". /etc/os-release; echo $IMAGE_VERSION", "1.2"},
		{"its modules are those of its kernel", "test $(ls /lib/modules) = $(uname -r) && echo yes", "yes"},
		{"root that runs is the default subvolume", "test $(btrfs subvolume get-default / | cut -d' ' -f2) = $(btrfs inspect-internal rootid /) && echo yes", "yes"},
		{"the same bad update again is refused", "mount -o ro /dev/vdb /mnt; tbupdate apply /mnt/1.3.tbu --no-reboot >/dev/null 2>&1; echo exit status $?", "exit status 3"},
	} {
		if err := s.prove(ctx, claim.what, claim.command, claim.want); err != nil {
			return err
		}
	}
	s.proven("seconds from the failed health check to the old release running again: %.0f", s.backAfter.Seconds())
	s.proven("%d starts of the machine, %.0f seconds", s.starts, time.Since(s.began).Seconds())
	return s.powerOff(ctx)
}
