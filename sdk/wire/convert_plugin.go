package wire

import (
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"

	"github.com/trebuchet-update/tbupdate/sdk"
)

func toDescription(d sdk.Description) *pluginv1.Description {
	return &pluginv1.Description{
		Name:         text(d.Name),
		Kind:         text(d.Kind),
		Version:      text(d.Version),
		Summary:      text(d.Summary),
		Keys:         convert(d.Keys, toKey),
		Capabilities: texts(d.Capabilities),
	}
}

func fromDescription(d *pluginv1.Description) sdk.Description {
	return sdk.Description{
		Name:         d.GetName(),
		Kind:         sdk.Kind(d.GetKind()),
		Version:      d.GetVersion(),
		Summary:      d.GetSummary(),
		Keys:         convert(d.GetKeys(), fromKey),
		Capabilities: words[sdk.Capability](d.GetCapabilities()),
	}
}

func toKey(k sdk.Key) *pluginv1.Key {
	return &pluginv1.Key{
		Name:     text(k.Name),
		Type:     text(k.Type),
		Required: k.Required,
		Default:  text(k.Default),
		Allowed:  texts(k.Allowed),
		Help:     text(k.Help),
	}
}

func fromKey(k *pluginv1.Key) sdk.Key {
	return sdk.Key{
		Name:     k.GetName(),
		Type:     sdk.KeyType(k.GetType()),
		Required: k.GetRequired(),
		Default:  k.GetDefault(),
		Allowed:  words[string](k.GetAllowed()),
		Help:     k.GetHelp(),
	}
}

func toSetup(s sdk.Setup) *pluginv1.Setup {
	out := &pluginv1.Setup{
		CommandLine:      []byte(s.CommandLine),
		Live:             s.Live,
		RunDirectory:     []byte(s.RunDirectory),
		HostCapabilities: texts(s.HostCapabilities),
	}
	if len(s.Settings) > 0 {
		out.Settings = make(map[string][]byte, len(s.Settings))
	}
	for key, value := range s.Settings {
		out.Settings[text(key)] = []byte(value)
	}
	return out
}

func fromSetup(s *pluginv1.Setup) sdk.Setup {
	out := sdk.Setup{
		CommandLine:      string(s.GetCommandLine()),
		Live:             s.GetLive(),
		RunDirectory:     string(s.GetRunDirectory()),
		HostCapabilities: words[string](s.GetHostCapabilities()),
	}
	if len(s.GetSettings()) > 0 {
		out.Settings = make(map[string]string, len(s.GetSettings()))
	}
	for key, value := range s.GetSettings() {
		out.Settings[key] = string(value)
	}
	return out
}

func toFinding(f sdk.Finding) *pluginv1.Finding {
	return &pluginv1.Finding{
		Severity: text(f.Severity),
		Subject:  []byte(f.Subject),
		Problem:  []byte(f.Problem),
		Remedy:   []byte(f.Remedy),
	}
}

func fromFinding(f *pluginv1.Finding) sdk.Finding {
	return sdk.Finding{
		Severity: sdk.Severity(f.GetSeverity()),
		Subject:  string(f.GetSubject()),
		Problem:  string(f.GetProblem()),
		Remedy:   string(f.GetRemedy()),
	}
}
