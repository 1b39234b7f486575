package pluginhost

import (
	"fmt"
	"math/rand/v2"
)

// NewGrease gives a Spec.Grease that sends an unknown capability in one of four
// cases, as the source of random numbers decides.
//
// A plugin that only ever sees the capabilities that exist today may come to
// depend on knowing all of them, and break on the day one is added; so it sees
// others from the start.
func NewGrease(source rand.Source) func() string {
	random := rand.New(source)
	return func() string {
		if random.IntN(4) != 0 {
			return ""
		}
		return fmt.Sprintf("grease.%08x", random.Uint32())
	}
}
