package update

import (
	"context"
	"errors"
	"fmt"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// metadataReserve is the room that snapshots, renames and the journal need beside
// the payload, in bytes.
const metadataReserve = 16 << 20

// checkReady refuses an update, before anything is changed, for which the machine
// is not ready. It gives the current tree.
func (s *session) checkReady(ctx context.Context, options ApplyOptions) (sdk.Subvolume, error) {
	if err := s.checkLoader(ctx); err != nil {
		return sdk.Subvolume{}, err
	}
	current, err := s.currentTree(ctx)
	if err == nil && options.Origin != "" {
		err = s.checkOrigin(ctx, current, options)
	}
	return current, err
}

// checkIdle makes sure that nothing is in flight and nothing waits for a judgement.
func (s *session) checkIdle(ctx context.Context) error {
	if err := s.requireSettled(ctx); err != nil {
		return err
	}
	booted, subvolume, err := s.booted(ctx)
	if err != nil {
		return err
	}
	if trial := s.journal.Trial; trial != nil {
		if booted != nil && booted.ID == trial.ID {
			return refusal(Failed, "generation %s is on trial; confirm it or roll it back first", trial.ID)
		}
		if s.Live() && trial.BootID != s.BootID {
			return refusal(Unclear, "the boot after generation %s was armed was not judged yet; run \"tbupdate recover\"", trial.ID)
		}
		return refusal(Failed, "generation %s is armed for a trial; reboot, or take it back with \"tbupdate rollback\"", trial.ID)
	}
	if booted == nil {
		return refusal(Unclear, "the system runs from %s, which is no generation; reboot first", describe(subvolume))
	}
	if booted.ID != s.journal.Roles.Root {
		return refusal(Failed, "generation %s runs and %s is to boot next; reboot first", booted.ID, s.journal.Roles.Root)
	}
	return nil
}

// describe names a subvolume for people.
func describe(subvolume sdk.Subvolume) string {
	if subvolume.Name == "" {
		return "subvolume " + string(subvolume.Identity)
	}
	return subvolume.Name
}

// checkLoader makes sure that the boot loader can try a generation, and would come
// back from it to the running pair.
func (s *session) checkLoader(ctx context.Context) error {
	if !s.BootPlugin.Has(sdk.CapabilityOneShot) && !s.BootPlugin.Has(sdk.CapabilityCounted) {
		return refusal(Failed, "the boot plugin %s cannot boot a generation on trial here; \"tbupdate check\" says why", s.BootPlugin.Name)
	}
	if s.Policy.Tries > 1 && !s.BootPlugin.Has(sdk.CapabilityCounted) {
		return refusal(Usage, "update.tries is %d, and the boot plugin %s cannot count", s.Policy.Tries, s.BootPlugin.Name)
	}
	state, err := s.Boot.State(ctx)
	if err != nil {
		return err
	}
	if state.Default != string(s.journal.Default) {
		what := "the entry of generation " + state.Default
		if state.Default == "" {
			what = state.Foreign
		}
		return refusal(Unclear, "the boot loader's default is %s instead of generation %s, so it would not come back to what runs; run \"tbupdate recover\"", what, s.journal.Default)
	}
	for _, entry := range state.Entries {
		if entry.ID == state.Default && entry.Problem != "" {
			return refusal(Unclear, "the boot loader could not come back to generation %s: %s; roll back to another one, or put the file back from its tree", entry.ID, entry.Problem)
		}
	}
	return nil
}

// currentTree gives snapshots/current after making sure that it is an unchanged
// copy of the running generation's pristine tree.
func (s *session) currentTree(ctx context.Context) (sdk.Subvolume, error) {
	current, err := s.FS.Lookup(ctx, generation.CurrentName)
	if errors.Is(err, sdk.ErrNotFound) {
		return current, refusal(Unclear, "%w; run \"tbupdate recover\"", err)
	}
	if err != nil {
		return current, err
	}
	g, err := s.member(s.journal.Roles.Current)
	if err != nil {
		return current, err
	}
	unchanged, err := s.isCopy(ctx, generation.CurrentName, g.ID)
	if err == nil && !(unchanged && current.ReadOnly && current.Origin == g.Pristine) {
		err = refusal(Unclear, "%s is not a read-only, unchanged copy of generation %s; run \"tbupdate recover\"", generation.CurrentName, g.ID)
	}
	return current, err
}

// checkOrigin holds the digest that a payload asks for against the current tree.
func (s *session) checkOrigin(ctx context.Context, current sdk.Subvolume, options ApplyOptions) error {
	have, _, err := s.currentDigests(ctx, current, options.VerifyFull)
	if err == nil && have != options.Origin {
		err = refusal(Refused, "it starts from the tree %s, and this machine's current tree is %s", options.Origin, have)
	}
	return err
}

// currentDigests gives both digests of the current tree. They are those that were recorded
// when it was sealed, where its revision proves that nothing was changed since. Else, and
// with full, the tree is read.
func (s *session) currentDigests(ctx context.Context, current sdk.Subvolume, full bool) (classic, exact string, err error) {
	g, err := s.member(s.journal.Roles.Current)
	if err != nil {
		return "", "", err
	}
	if !full && g.Revision != "" && current.Revision == g.Revision {
		return g.Tree, g.Exact, nil
	}
	return readSealed(ctx, current, *g)
}

// checkRoom measures the room on the volume and in /boot. What a bare stream of version 0
// does not tell its size stands for, and the running generation's kernel set for the new
// one; the exact check is the plugin's, when it installs.
func (s *session) checkRoom(ctx context.Context, current sdk.Subvolume, o *offer) error {
	size, boot := o.room()
	volume, err := s.FS.Volume(ctx)
	if err != nil {
		return err
	}
	need := uint64(max(size, 0)) + metadataReserve
	if volume.FreeBytes < need || volume.MetadataFreeBytes < metadataReserve {
		return refusal(NoRoom, "%s has %s free (%s for metadata), and it takes %s", volume.Device,
			bytesText(volume.FreeBytes), bytesText(volume.MetadataFreeBytes), bytesText(need))
	}
	set, err := s.Boot.Inspect(ctx, current.Path)
	if err != nil {
		return err
	}
	room, err := s.Boot.Room(ctx)
	if err != nil {
		return err
	}
	if boot > 0 && room.Free < uint64(boot) {
		return refusal(NoRoom, "the boot filesystem has %s of %s free, and the new kernel set takes %s",
			bytesText(room.Free), bytesText(room.Total), bytesText(uint64(boot)))
	}
	if boot == 0 && room.Free < set.Bytes {
		return refusal(NoRoom, "the boot filesystem has %s of %s free, and a kernel set like the running one takes %s",
			bytesText(room.Free), bytesText(room.Total), bytesText(set.Bytes))
	}
	return nil
}

// bytesText writes a number of bytes for people: exact below 1 KiB, then with one
// decimal in binary units.
func bytesText(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
