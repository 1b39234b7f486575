package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bootBench is a machine on which a real boot loader decides.
type bootBench interface {
	// powerCut gives the path of an image of the disk as it is on the medium now.
	powerCut() string
	// boot starts the image once, with what the boot loader writes to it, and says what
	// was booted.
	boot(image string) string
}

// bootStep is something that is done, and what each start in a row boots after it.
type bootStep struct {
	name string
	do   func()
	want []string
}

// playBoots cuts the power after each step, and compares what is booted. takeBack shows the
// plugin what the loader wrote to the image; nil leaves the disk as the plugin knows it.
func playBoots(t testing.TB, bench bootBench, takeBack func(image string), steps []bootStep) {
	t.Helper()
	for _, step := range steps {
		step.do()
		image := bench.powerCut()
		var got []string
		for range step.want {
			got = append(got, bench.boot(image))
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s:\n%s", step.name, diff)
		}
		if takeBack != nil {
			takeBack(image)
		}
	}
}
