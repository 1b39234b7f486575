package scenario

import (
	"errors"

	"github.com/rogpeppe/go-internal/testscript"
)

func (p *player) hold(*testscript.TestScript, []string) error { return errors.New("not yet") }
func (p *player) held(*testscript.TestScript, []string) error { return errors.New("not yet") }
