package main

import (
	"context"
	"os"

	"github.com/trebuchet-update/tbupdate/core/config"
	"github.com/trebuchet-update/tbupdate/core/health"
	"github.com/trebuchet-update/tbupdate/core/watchdog"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// recoverNote says on which boot recover was run last.
const recoverNote = runDirectory + "/recovered"

// noteRecover leaves it. Where that is not possible check says that nobody did.
func noteRecover(bootID string) { _ = os.WriteFile(recoverNote, []byte(bootID), 0o600) }

// bootUnits are those that judge a boot where systemd runs.
var bootUnits = []health.Unit{
	{Name: "tbupdate-recover.service", Without: "no boot is judged, and a trial that failed is not noticed"},
	{Name: "tbupdate-guard.service", Without: "a trial that hangs is not reset"},
	{Name: "tbupdate-confirm.service", Without: "no trial is confirmed by itself"},
}

// inspect looks at what the judgement of a trial on this machine depends on.
func inspect(ctx context.Context, settings *config.Config, bootID string) []sdk.Finding {
	others := len(settings.Health.Units)
	if settings.Health.Network != "" {
		others++
	}
	findings := health.Findings(settings.Update.Health, others)
	units := health.UnitFindings(ctx, bootUnits)
	findings = append(findings, units...)
	if noted, err := os.ReadFile(recoverNote); (err != nil || string(noted) != bootID) && len(units) == 0 {
		findings = append(findings, sdk.Finding{Severity: sdk.SeverityWarning, Subject: "boot",
			Problem: "Nobody ran tbupdate recover on this boot: it was not judged, and a trial that failed is not noticed.",
			Remedy:  "Have the init system run tbupdate-rc, or enable the units of systemd."})
	}
	if settings.Update.Watchdog != config.WatchdogOff && len(watchdog.Devices()) == 0 && !watchdog.Loadable(ctx) {
		findings = append(findings, sdk.Finding{Severity: sdk.SeverityWarning, Subject: "watchdog",
			Problem: "There is none: a trial that hangs stays so until somebody resets the machine.",
			Remedy:  "Load the driver of the hardware's watchdog, or build the kernel with softdog."})
	}
	return findings
}
