package chooser

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/envimage"
)

// Names of the copies. They fit FAT's old names, so that U-Boot has nothing to do but
// to write over a sector.
const (
	DefaultA = "defaulta.env" // in the directory tbupdate of the boot filesystem
	DefaultB = "defaultb.env"
	TrialA   = "tbtriala.env" // at the top of the filesystem for the state
	TrialB   = "tbtrialb.env"
)

// Names of the words of an entry.
const (
	EntryWords = "entry.env"
	TrialWords = "trial.env"
)

// Sizes of the files in bytes. A state is one sector, so that it changes at once.
const (
	StateSize = 512
	WordsSize = 4096
)

// MaxTries is how far the chooser counts: with one digit, decimal and hexadecimal
// numbers are the same.
const MaxTries = 9

// ErrMalformed says that a file is an environment, but not the one that it should be.
var ErrMalformed = errors.New("not a state of the chooser")

// Names of variables. Those for the trial are what U-Boot's own counter goes by.
const (
	VariableAvailable = "upgrade_available"
	VariableCount     = "bootcount"
	VariableLimit     = "bootlimit"
	VariableTrial     = "tbupdate_trial"

	variableDefault     = "tbupdate_default"
	variablePrevious    = "tbupdate_previous"
	variableState       = "tbupdate_state"
	variableStateDevice = "tbupdate_state_device"
	variableCounter     = "tbupdate_counter"

	variableVersion   = "fk_kvers"
	variableArguments = "bootargs"
)

// counterBoard is the value of variableCounter when U-Boot itself counts.
const counterBoard = "board"

// Default says what boots when there is no trial, and where the chooser finds one.
type Default struct {
	ID       string // "" for none of ours
	Previous string // the default before, "" for none
	// Where the copies of Trial are: a partition's number on the disk that has the
	// boot filesystem, or, where that is another disk, a device and partition as
	// U-Boot names it ("mmc 1:2").
	Partition      int
	Device         string
	CountedByUBoot bool // the trial is in U-Boot's own environment instead
}

// Bytes encodes the default.
func (d Default) Bytes(layout envimage.Layout) ([]byte, error) {
	var e envimage.Environment
	e.Set(variableDefault, d.ID)
	e.Set(variablePrevious, d.Previous)
	if d.Partition > 0 {
		e.Set(variableState, strconv.FormatInt(int64(d.Partition), 16)) // U-Boot takes 10 for the 16th partition
	}
	e.Set(variableStateDevice, d.Device)
	if d.CountedByUBoot {
		e.Set(variableCounter, counterBoard)
	}
	return e.Bytes(StateSize, layout)
}

// ParseDefault undoes Bytes.
//
// Errors: envimage.ErrMalformed, ErrMalformed.
func ParseDefault(data []byte, layout envimage.Layout) (Default, error) {
	e, err := parse(data, layout, StateSize)
	if err != nil {
		return Default{}, err
	}
	d := Default{
		ID: e.Get(variableDefault), Previous: e.Get(variablePrevious), Device: e.Get(variableStateDevice),
		CountedByUBoot: e.Get(variableCounter) == counterBoard,
	}
	if text := e.Get(variableState); text != "" {
		number, err := strconv.ParseUint(text, 16, 16)
		if err != nil || number == 0 {
			return Default{}, fmt.Errorf("%w: %s is %q", ErrMalformed, variableState, text)
		}
		d.Partition = int(number)
	}
	return d, nil
}

// Trial is an entry that is tried, and how often it was.
type Trial struct {
	ID     string // "" for none
	Starts int    // that were counted
	Limit  int
}

// Left gives how many starts the trial still has.
func (t Trial) Left() int {
	if t.ID == "" {
		return 0
	}
	return max(0, t.Limit-t.Starts)
}

// Variables gives the trial as U-Boot's variables. "0" and "" stand for those that
// matter no more.
func (t Trial) Variables() []envimage.Variable {
	available := "1"
	if t.ID == "" {
		available = "0"
	}
	return []envimage.Variable{
		{Name: VariableAvailable, Value: available},
		{Name: VariableCount, Value: strconv.Itoa(t.Starts)},
		{Name: VariableLimit, Value: strconv.Itoa(t.Limit)},
		{Name: VariableTrial, Value: t.ID},
	}
}

// Bytes encodes the trial.
func (t Trial) Bytes(layout envimage.Layout) ([]byte, error) {
	var e envimage.Environment
	for _, v := range t.Variables() {
		e.Set(v.Name, v.Value)
	}
	return e.Bytes(StateSize, layout)
}

// ParseTrial undoes Bytes.
//
// Errors: envimage.ErrMalformed.
func ParseTrial(data []byte, layout envimage.Layout) (Trial, error) {
	e, err := parse(data, layout, StateSize)
	if err != nil {
		return Trial{}, err
	}
	return TrialOf(e.Get), nil
}

// TrialOf reads a trial from variables as the chooser does: what is not a number, or
// out of range, means that there is no trial.
func TrialOf(get func(name string) string) Trial {
	starts, err1 := strconv.Atoi(get(VariableCount))
	limit, err2 := strconv.Atoi(get(VariableLimit))
	if get(VariableAvailable) != "1" || err1 != nil || err2 != nil || starts < 0 || limit < 0 {
		return Trial{}
	}
	return Trial{ID: get(VariableTrial), Starts: starts, Limit: limit}
}

// Words are what an entry's script has to know.
type Words struct {
	Version     string // kernel release
	CommandLine string
}

// Bytes encodes the words.
//
// Errors: envimage.ErrFull for a command line that is too long.
func (w Words) Bytes(layout envimage.Layout) ([]byte, error) {
	var e envimage.Environment
	e.Set(variableVersion, w.Version)
	e.Set(variableArguments, w.CommandLine)
	if w.CommandLine == "" {
		e.Set(variableArguments, " ") // or else the value from before would stay
	}
	return e.Bytes(WordsSize, layout)
}

// ParseWords undoes Bytes.
//
// Errors: envimage.ErrMalformed.
func ParseWords(data []byte, layout envimage.Layout) (Words, error) {
	e, err := parse(data, layout, WordsSize)
	if err != nil {
		return Words{}, err
	}
	return Words{Version: e.Get(variableVersion), CommandLine: strings.TrimSpace(e.Get(variableArguments))}, nil
}

func parse(data []byte, layout envimage.Layout, size int) (envimage.Environment, error) {
	if len(data) != size {
		return envimage.Environment{}, fmt.Errorf("%w: %d bytes instead of %d", envimage.ErrMalformed, len(data), size)
	}
	return envimage.Parse(data, layout)
}
