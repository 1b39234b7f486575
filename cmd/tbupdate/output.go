package main

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/trebuchet-update/tbupdate/core/evidence"
	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/update"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// timeLayout is how times are shown to people, in local time.
const timeLayout = "2006-01-02 15:04:05"

func (p *program) printInit(done *update.Initialised) error {
	if p.flags.json {
		return p.printJSON(map[string]any{"generation": done.Generation.ID, "version": done.Generation.Version, "already": done.Already, "reboot": done.Reboot})
	}
	if done.Already {
		p.say("The system is in the layout already: generation %s (%s). Nothing was changed.", done.Generation.ID, done.Generation.Version)
		return nil
	}
	p.say("The installed system is generation %s (%s) now, and the boot loader's default.", done.Generation.ID, done.Generation.Version)
	if done.Reboot {
		p.say("What runs is still the subvolume that it came from: reboot to run from %s.", generation.RootName)
	}
	return nil
}

func (p *program) printApply(done *update.Applied, dryRun, reboot bool) error {
	if p.flags.json {
		return p.printJSON(map[string]any{"generation": done.Generation.ID, "version": done.Generation.Version,
			"bytes_read": done.BytesRead, "seconds": done.Took.Seconds(), "reboot": reboot})
	}
	if dryRun {
		p.say("The update could be applied (%d bytes read). Nothing was changed.", done.BytesRead)
		return nil
	}
	p.say("Generation %s (%s) is armed: the next boot tries it once. It took %s for %d bytes.",
		done.Generation.ID, done.Generation.Version, done.Took.Round(time.Millisecond), done.BytesRead)
	if reboot {
		p.say("Rebooting.")
	} else {
		p.say(`Reboot when it suits; "tbupdate confirm" makes it permanent, anything else comes back to what runs now.`)
	}
	return nil
}

func (p *program) printConfirm(done *update.Confirmed) error {
	if p.flags.json {
		id := generation.ID("")
		if done.Generation != nil {
			id = done.Generation.ID
		}
		return p.printJSON(map[string]any{"confirmed": id})
	}
	if done.Generation == nil {
		p.say("Nothing is on trial. Nothing was changed.")
		return nil
	}
	p.say("Generation %s (%s) is good, and the boot loader's default.", done.Generation.ID, done.Generation.Version)
	return nil
}

func (p *program) printRollback(done *update.RolledBack) error {
	if p.flags.json {
		failed := generation.ID("")
		if done.GivenUp != nil {
			failed = done.GivenUp.ID
		}
		return p.printJSON(map[string]any{"generation": done.To.ID, "version": done.To.Version, "failed": failed, "reboot": done.Reboot})
	}
	if done.GivenUp != nil {
		p.say("Generation %s (%s) was taken back and is marked failed.", done.GivenUp.ID, done.GivenUp.Version)
	}
	p.say("Generation %s (%s) boots next.", done.To.ID, done.To.Version)
	if done.Reboot {
		p.say("Reboot to run it.")
	}
	return nil
}

func (p *program) printRecover(done *update.Recovered) error {
	if p.flags.json {
		trial := generation.ID("")
		if done.OnTrial != nil {
			trial = done.OnTrial.ID
		}
		actions := done.Actions
		if actions == nil {
			actions = []string{}
		}
		return p.printJSON(map[string]any{"actions": actions, "trial": trial})
	}
	for _, action := range done.Actions {
		p.say("%s", action)
	}
	if done.OnTrial != nil {
		p.say("Generation %s (%s) runs on trial and waits for its confirmation.", done.OnTrial.ID, done.OnTrial.Version)
	} else if len(done.Actions) == 0 {
		p.say("Everything is in order. Nothing was changed.")
	}
	return nil
}

func (p *program) printCollect(done *update.Collected) error {
	if p.flags.json {
		removed := []generation.ID{}
		for _, g := range done.Removed {
			removed = append(removed, g.ID)
		}
		return p.printJSON(map[string]any{"removed": removed})
	}
	if len(done.Removed) == 0 {
		p.say("There is nothing to remove.")
	}
	for _, g := range done.Removed {
		p.say("Removed generation %s (%s).", g.ID, g.Version)
	}
	return nil
}

func (p *program) printStatus(status *update.Status) error {
	if p.flags.json {
		return p.printJSON(status)
	}
	standard := named(status, status.Default)
	if status.Foreign != "" {
		standard = fmt.Sprintf("%q, which is not an entry of ours", status.Foreign)
	}
	p.say("State      %s", status.Condition)
	p.say("Running    %s", named(status, status.Booted)+from(status))
	p.say("Default    %s", standard)
	if status.Trial != "" {
		p.say("Trial      %s", named(status, status.Trial)+tries(status))
	}
	if status.TrialFailed != "" {
		p.say("           was given up: %s", status.TrialFailed)
	}
	if status.InFlight != nil {
		p.say("In flight  %s of %s, at the step %q", status.InFlight.Kind, status.InFlight.Generation.ID, status.InFlight.Step)
	}
	p.say("")
	return p.table(func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "GENERATION\tVERSION\tSTATE\tROLES\tKERNEL\tINSTALLED\tREASON")
		for _, g := range status.Generations {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", g.ID, g.Version, g.State, strings.Join(g.Roles, ","),
				g.Kernel, g.InstalledAt.Local().Format(timeLayout), g.Reason)
		}
	})
}

// named gives a generation's id with its version.
func named(status *update.Status, id generation.ID) string {
	for _, g := range status.Generations {
		if g.ID == id {
			return fmt.Sprintf("%s (%s)", id, g.Version)
		}
	}
	if id == "" {
		return "no generation"
	}
	return string(id)
}

func from(status *update.Status) string {
	if status.BootedFrom == "" {
		return ""
	}
	return ", from " + status.BootedFrom
}

func tries(status *update.Status) string {
	if status.TriesLeft == 0 {
		return ""
	}
	return fmt.Sprintf(", armed for %d more boot(s) of %d", status.TriesLeft, status.Tries)
}

func (p *program) printHistory(events []generation.Event) error {
	if p.flags.json {
		if events == nil {
			events = []generation.Event{}
		}
		return p.printJSON(map[string]any{"events": events})
	}
	return p.table(func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "TIME\tWHAT\tRESULT\tGENERATION\tVERSION\tREASON")
		for _, e := range events {
			reason := e.Reason
			if e.Evidence != "" {
				reason += fmt.Sprintf(" [tbupdate evidence %.8s]", e.Generation)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Time.Local().Format(timeLayout), e.Kind, e.Result, e.Generation, e.Version, reason)
		}
	})
}

func (p *program) printEvidence(kept *update.Evidence) error {
	if p.flags.json {
		files := kept.Files
		if files == nil {
			files = []evidence.File{}
		}
		return p.printJSON(map[string]any{"generation": kept.Generation.ID, "version": kept.Generation.Version,
			"reason": kept.Generation.Reason, "files": files})
	}
	if len(kept.Files) == 0 {
		p.say("No evidence is kept.")
		return nil
	}
	p.say("Generation %s (%s): %s", kept.Generation.ID, kept.Generation.Version, cmp.Or(kept.Generation.Reason, string(kept.Generation.State)))
	return p.table(func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "FILE\tBYTES")
		for _, file := range kept.Files {
			fmt.Fprintf(w, "%s\t%d\n", file.Name, file.Size)
		}
	})
}

func (p *program) printEvidenceFile(name string, content []byte) error {
	if p.flags.json {
		return p.printJSON(map[string]any{"name": name, "content": strings.ToValidUTF8(string(content), "?")})
	}
	if _, err := p.stdout.Write(content); err != nil {
		return outputError{err}
	}
	return nil
}

func (p *program) printCheck(findings []sdk.Finding) error {
	if p.flags.json {
		list := []map[string]string{}
		ready := true
		for _, f := range findings {
			ready = ready && f.Severity != sdk.SeverityBlocking
			list = append(list, map[string]string{"severity": string(f.Severity), "subject": f.Subject, "problem": f.Problem, "remedy": f.Remedy})
		}
		return p.printJSON(map[string]any{"ready": ready, "findings": list})
	}
	if len(findings) == 0 {
		p.say("This machine can be updated and rolled back. Nothing was found.")
	}
	for _, f := range findings {
		p.say("%-9s %s: %s\n          %s", f.Severity, f.Subject, f.Problem, f.Remedy)
	}
	return nil
}

// table prints aligned columns, unless silence was asked for.
func (p *program) table(fill func(*tabwriter.Writer)) error {
	if p.flags.quiet {
		return nil
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fill(w)
	if err := w.Flush(); err != nil {
		return outputError{err}
	}
	return nil
}
