package scenario

import (
	"errors"
	"fmt"
	"path"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
)

// hold puts the plugin that holds in the place of the boot plugin, in the system that
// runs, and gives it its order.
func (p *player) hold(_ *testscript.TestScript, words []string) error {
	if len(words) != 2 {
		return errors.New("usage: hold CALL before|after")
	}
	read, err := p.machine.Deliver(p.machine.Releases.Hold())
	if err != nil {
		return err
	}
	ctx, cancel := p.within(eventLimit)
	defer cancel()
	plugin := "/usr/lib/tbupdate/plugins/tbupdate-boot-" + p.it.Platform.Plugin
	for _, command := range []string{
		"mkdir -p " + protocol.RealPlugins + " " + path.Dir(protocol.HoldOrder),
		"mv " + plugin + " " + protocol.RealPlugins,
		read + " >" + plugin + " && chmod 755 " + plugin,
		fmt.Sprintf("echo %s %s >%s", words[0], words[1], protocol.HoldOrder),
	} {
		if _, err := p.machine.Shell(ctx, command); err != nil {
			return err
		}
	}
	return nil
}

// held waits until the plugin holds.
func (p *player) held(*testscript.TestScript, []string) error {
	ctx, cancel := p.within(eventLimit)
	defer cancel()
	_, position, err := p.machine.Console.Wait(ctx, p.booted, regexp.MustCompile(`^`+protocol.Held+` `))
	p.position = max(p.position, position)
	return err
}
