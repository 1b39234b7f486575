package update

import (
	"testing"

	"github.com/trebuchet-update/tbupdate/core/evidence"
	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
)

func TestReasonOfFailure(t *testing.T) {
	t.Parallel()
	const panicked = "<0>[    2.2] Kernel panic - not syncing: Attempted to kill init!\n"
	modem := generation.TrialBoot{BootID: "a", Failed: "health check 30-modem failed: no carrier"}
	late := generation.TrialBoot{BootID: "b", Failed: "not confirmed within 5m0s"}
	up := generation.TrialBoot{BootID: "c"}
	for _, c := range []struct {
		name  string
		tries int
		boots []generation.TrialBoot
		left  int // tries that the loader has left, if it is armed
		armed bool
		crash string
		want  string
	}{
		{"never came up", 1, nil, 0, false, "", "the boot loader came back to OLD: the trial boot did not succeed"},
		{"came up and went", 1, []generation.TrialBoot{up}, 0, false, "", "the boot loader came back to OLD: the trial came up, and then hung, crashed or lost power"},
		{"crashed", 1, nil, 0, false, panicked, "the kernel crashed: Kernel panic - not syncing: Attempted to kill init!"},
		{"came up and crashed", 1, []generation.TrialBoot{up}, 0, false, panicked, "the kernel crashed: Kernel panic - not syncing: Attempted to kill init!"},
		{"unhealthy", 1, []generation.TrialBoot{modem}, 0, false, "", "health check 30-modem failed: no carrier"},
		{"unhealthy, and crashed while it went down", 1, []generation.TrialBoot{modem}, 0, false, panicked, "health check 30-modem failed: no carrier"},
		{"not tried", 1, nil, 1, true, "", "OLD was booted while the trial was still armed: the boot loader did not try it"},
		{"unhealthy each time", 3, []generation.TrialBoot{modem, {BootID: "d", Failed: modem.Failed}, {BootID: "e", Failed: modem.Failed}}, 0, false, "", "health check 30-modem failed: no carrier (after 3 tries)"},
		{"each time something else", 3, []generation.TrialBoot{modem, late}, 0, false, panicked, "health check 30-modem failed: no carrier; not confirmed within 5m0s; the kernel crashed: Kernel panic - not syncing: Attempted to kill init! (after 3 tries)"},
		{"given up at the loader's menu", 3, []generation.TrialBoot{modem}, 2, true, "", "OLD was booted after 1 of 3 tries: health check 30-modem failed: no carrier"},
		{"a loader that does not count", 1, []generation.TrialBoot{modem}, 1, true, "", "health check 30-modem failed: no carrier"},
		{"a loader that counts for itself", 1, []generation.TrialBoot{modem, late}, 0, false, "", "health check 30-modem failed: no carrier; not confirmed within 5m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &session{
				journal:  &generation.Journal{Trial: &generation.TrialRun{ID: "new", Tries: c.tries, Boots: c.boots}},
				evidence: evidence.NewStore(t.TempDir(), 1000),
			}
			if err := s.evidence.Keep("new", "crash-dmesg", []byte(c.crash)); err != nil {
				t.Fatal(err)
			}
			state := sdk.BootState{}
			if c.armed {
				state.Trial, state.TriesLeft = "new", c.left
			}
			if got := s.reasonOfFailure("OLD", state); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
