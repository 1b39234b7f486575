package uboottest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// EnvironmentSize is that of the environment of a U-Boot that counts, in bytes. In
// flash it fills one sector.
const EnvironmentSize = 256 << 10

// flashSize is that of the machine's second flash, at whose beginning the environment is.
const flashSize = 64 << 20

// Counting is a U-Boot that counts by itself, with an environment as its maker gave it.
type Counting struct {
	// Arguments are for Start: this U-Boot, and the flash that it uses.
	Arguments []string
	// Copies are the files with the environment, in a directory: "flash" is the
	// machine's flash, the others are files for the filesystem of the state.
	Copies []string
}

// NewCounting has the laboratory build a U-Boot, the first time in some minutes, and
// makes its environment. It is in "flash", in a "fat" file or in two ("redundant").
func NewCounting(t testing.TB, environment, directory string) Counting {
	t.Helper()
	m := &Machine{t: t, dir: directory}
	built := strings.Fields(string(m.run(nil, "go", "run", "github.com/trebuchet-update/tbupdate/lab", "firmware", environment)))
	if len(built) != 2 {
		t.Fatalf("the laboratory built %q", built)
	}
	c := Counting{Arguments: []string{"-bios", built[0]}} // the last one counts
	options := []string{"-s", strconv.Itoa(EnvironmentSize)}
	names := []string{environment}
	switch environment {
	case "fat":
		names = []string{"uboot.env"}
	case "redundant":
		names = []string{"uboot.env", "uboot-redund.env"}
		options = append(options, "-r")
	}
	for _, name := range names {
		path := filepath.Join(directory, name)
		m.run(nil, "mkenvimage", append(options, "-o", path, built[1])...)
		c.Copies = append(c.Copies, path)
	}
	if environment == "flash" {
		m.must(os.Truncate(c.Copies[0], flashSize))
		c.Arguments = append(c.Arguments, "-drive", "if=pflash,unit=1,format=raw,file="+c.Copies[0])
	}
	return c
}
