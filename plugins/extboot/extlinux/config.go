package extlinux

import (
	"errors"
	"fmt"
	"strings"
)

// ConfigFile is the name of the configuration in extlinux' directory.
const ConfigFile = "extlinux.conf"

// DefaultLineSize is the length in bytes of a configuration's first line, which
// says what the default is. It is the same in every version and lies within the
// first sector, so that another default is one sector's change.
const DefaultLineSize = 128

const (
	blockBegin = "# BEGIN tbupdate: do not edit up to END"
	blockEnd   = "# END tbupdate"
	noDefault  = "# DEFAULT: none"
	parked     = "# tbupdate put on the first line: "
)

// Errors of configurations.
var (
	// ErrForeign says that a configuration has a way of its own to choose what
	// boots, on which the first line has no influence.
	ErrForeign = errors.New("the configuration chooses what boots in a way that cannot be taken over")
	ErrValue   = errors.New("not possible in extlinux.conf")
)

// Entry is one installed entry: two labels, the plain one and its trial.
type Entry struct {
	ID             string
	Title          string
	Kernel         string // path on the boot filesystem, without a leading slash
	Initrd         string // "" for none
	DeviceTree     string // one blob, "" for none
	DeviceTrees    string // directory of blobs among which U-Boot chooses, "" for none
	CommandLine    string
	TrialArguments string // added for the trial, "" for none
}

// Config is a configuration: a default, what others wrote, and our entries.
type Config struct {
	Default string // label; "" for none
	Foreign string // everything that is not ours, with its line ends
	// Block is the text of our entries as it stands in the file.
	Block string
}

// Label gives the name of an entry's label. A trial's has a dot, which no id has,
// so that the two kinds cannot collide.
func Label(id string, trial bool) string {
	if trial {
		return "tbupdate-" + id + ".trial"
	}
	return "tbupdate-" + id
}

// ParseLabel undoes Label.
func ParseLabel(label string) (id string, trial, ok bool) {
	id, ok = strings.CutPrefix(label, "tbupdate-")
	id, trial = strings.CutSuffix(id, ".trial")
	return id, trial, ok && id != ""
}

// Parse reads a configuration, ours or a foreign one. The loader takes the last
// DEFAULT line; a foreign one is taken out, to become the first line.
//
// Errors: ErrForeign, with the line.
func Parse(text string) (Config, error) {
	var config Config
	var foreign, block strings.Builder
	inBlock := false
	for line := range strings.Lines(text) {
		switch plain := strings.TrimSuffix(line, "\n"); {
		case plain == blockBegin:
			inBlock = true
			continue
		case plain == blockEnd:
			inBlock = false
			continue
		case inBlock:
			block.WriteString(line)
			continue
		case strings.HasPrefix(plain, noDefault):
			continue
		}
		keyword, value := cutKeyword(line)
		switch keyword {
		case "default":
			if strings.HasSuffix(value, ".c32") {
				return Config{}, fmt.Errorf("%w: %q", ErrForeign, strings.TrimSpace(line))
			}
			// A label that we name may have been named by others before.
			if config.Default != "" && !isOurs(config.Default) {
				foreign.WriteString(parked + "DEFAULT " + config.Default + "\n")
			}
			config.Default = value
			continue
		case "ui", "include", "ontimeout":
			return Config{}, fmt.Errorf("%w: %q", ErrForeign, strings.TrimSpace(line))
		case "menu":
			if sub, _ := cutKeyword(value); sub == "default" || sub == "include" || sub == "begin" {
				return Config{}, fmt.Errorf("%w: %q", ErrForeign, strings.TrimSpace(line))
			}
		}
		foreign.WriteString(line)
	}
	config.Foreign, config.Block = endLine(foreign.String()), endLine(block.String())
	return config, nil
}

func endLine(text string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		return text + "\n"
	}
	return text
}

func isOurs(label string) bool {
	_, _, ok := ParseLabel(label)
	return ok
}

// cutKeyword splits a line as the loader does: keywords have no case, and white
// space before them does not count.
func cutKeyword(line string) (keyword, value string) {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return "", ""
	}
	value = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), fields[0]))
	return strings.ToLower(fields[0]), value
}

// HasLabel reports whether our block holds a label of this name.
func (c Config) HasLabel(label string) bool {
	return strings.Contains("\n"+c.Block, "\nLABEL "+label+"\n")
}

// ForeignLabel is a label that somebody else wrote.
type ForeignLabel struct {
	Name        string
	CommandLine string // its APPEND line
}

// ForeignLabels gives the labels of others, in their order.
func (c Config) ForeignLabels() []ForeignLabel {
	var labels []ForeignLabel
	for line := range strings.Lines(c.Foreign) {
		switch keyword, value := cutKeyword(line); {
		case keyword == "label":
			labels = append(labels, ForeignLabel{Name: value})
		case keyword == "append" && len(labels) > 0:
			labels[len(labels)-1].CommandLine = value
		}
	}
	return labels
}

// Format gives the whole file. Our block comes last, since a foreign global APPEND
// or KERNEL line after it would count for our last label.
//
// Errors: ErrValue.
func (c Config) Format() (string, error) {
	first, err := FormatDefaultLine(c.Default)
	if err != nil {
		return "", err
	}
	return first + c.Foreign + blockBegin + "\n" + c.Block + blockEnd + "\n", nil
}

// FormatDefaultLine gives the first line of a file, DefaultLineSize bytes, for a
// label or "" for none. The spaces come before the label: U-Boot would take those
// after it as a part.
//
// Errors: ErrValue.
func FormatDefaultLine(label string) (string, error) {
	// Bytes, where the verbs of fmt would count characters.
	padding := DefaultLineSize - len("DEFAULT \n") - len(label)
	if padding < 0 || strings.ContainsAny(label, "\n\r") || strings.TrimSpace(label) != label {
		return "", fmt.Errorf("%w: label %q", ErrValue, label)
	}
	if label == "" {
		return fmt.Sprintf("%-*s\n", DefaultLineSize-1, noDefault), nil
	}
	return "DEFAULT " + strings.Repeat(" ", padding) + label + "\n", nil
}

// HasDefaultLine reports whether the file begins with a line that can be
// overwritten in place, and no other line overrules it.
func HasDefaultLine(text string) bool {
	if len(text) < DefaultLineSize || text[DefaultLineSize-1] != '\n' {
		return false
	}
	first := text[:DefaultLineSize-1]
	if strings.Contains(first, "\n") || !strings.HasPrefix(first, "DEFAULT ") && !strings.HasPrefix(first, noDefault) {
		return false
	}
	for line := range strings.Lines(text[DefaultLineSize:]) {
		if keyword, _ := cutKeyword(line); keyword == "default" {
			return false
		}
	}
	return true
}

// Put adds an entry's two labels, in place of the ones it had. Other entries'
// labels stay as they are, to the byte.
//
// Errors: ErrValue for a value that does not fit on a line.
func (c *Config) Put(e Entry) error {
	for _, value := range []string{e.ID, e.Title, e.Kernel, e.Initrd, e.DeviceTree, e.DeviceTrees, e.CommandLine, e.TrialArguments} {
		if strings.ContainsAny(value, "\n\r\x00") {
			return fmt.Errorf("%w: line feed in %q", ErrValue, value)
		}
	}
	c.Drop(e.ID)
	c.Block += e.Labels()
	return nil
}

// Drop takes an entry's labels away.
func (c *Config) Drop(id string) {
	var kept strings.Builder
	drop := false
	for line := range strings.Lines(c.Block) {
		if keyword, name := cutKeyword(line); keyword == "label" {
			drop = name == Label(id, false) || name == Label(id, true)
		}
		if !drop {
			kept.WriteString(line)
		}
	}
	c.Block = kept.String()
}

// IDs gives the ids of the entries whose plain label the block holds.
func (c Config) IDs() []string {
	var ids []string
	for line := range strings.Lines(c.Block) {
		if keyword, name := cutKeyword(line); keyword == "label" {
			if id, trial, ok := ParseLabel(name); ok && !trial {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// HasLabels reports whether the block holds exactly these labels of an entry.
func (c Config) HasLabels(e Entry) bool { return strings.Contains("\n"+c.Block, "\n"+e.Labels()) }

// Labels gives the text of an entry's two labels.
func (e Entry) Labels() string { return e.label(false) + e.label(true) }

func (e Entry) label(trial bool) string {
	title, commandLine := e.Title, e.CommandLine
	if trial {
		title += " (trial)"
		commandLine = strings.TrimSpace(commandLine + " " + e.TrialArguments)
	}
	lines := []string{"LABEL " + Label(e.ID, trial), "\tMENU LABEL " + title, "\tLINUX /" + e.Kernel}
	if e.Initrd != "" {
		lines = append(lines, "\tINITRD /"+e.Initrd)
	}
	if e.DeviceTree != "" {
		lines = append(lines, "\tFDT /"+e.DeviceTree)
	}
	if e.DeviceTrees != "" {
		lines = append(lines, "\tFDTDIR /"+e.DeviceTrees)
	}
	// Always, also when empty: else a global APPEND of others would count.
	lines = append(lines, "\tAPPEND "+commandLine)
	return strings.Join(lines, "\n") + "\n"
}
