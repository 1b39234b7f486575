package sdk_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
)

func TestCheckSettings(t *testing.T) {
	keys := []sdk.Key{
		{Name: "mount", Type: sdk.KeyString, Required: true},
		{Name: "loader", Type: sdk.KeyString, Allowed: []string{"grub", "extlinux"}},
		{Name: "tries", Type: sdk.KeyInteger},
		{Name: "trim", Type: sdk.KeyBoolean},
		{Name: "size", Type: "duration"}, // of a later contract
	}
	for name, test := range map[string]struct {
		keys     []sdk.Key
		settings map[string]string
		want     []string
	}{
		"all right":            {keys, map[string]string{"mount": "/boot", "loader": "grub", "tries": "-3", "trim": "false", "size": "5m"}, nil},
		"only the required":    {keys, map[string]string{"mount": ""}, nil},
		"required is missing":  {keys, nil, []string{"mount is required and not set"}},
		"not allowed":          {keys, map[string]string{"mount": "/", "loader": "lilo"}, []string{`loader is "lilo"; allowed are grub, extlinux`}},
		"not an integer":       {keys, map[string]string{"mount": "/", "tries": "1.5"}, []string{`tries is "1.5", which is not an integer of at most 64 bits`}},
		"too large an integer": {keys, map[string]string{"mount": "/", "tries": "9223372036854775808"}, []string{`tries is "9223372036854775808", which is not an integer of at most 64 bits`}},
		"not a boolean":        {keys, map[string]string{"mount": "/", "trim": "yes"}, []string{`trim is "yes", which is neither true nor false`}},
		"unknown":              {keys, map[string]string{"mount": "/", "mnt": "/"}, []string{"mnt is not known; known are loader, mount, size, tries, trim"}},
		"several, sorted":      {keys, map[string]string{"zzz": "", "aaa": "", "trim": ""}, []string{"aaa is not known; known are loader, mount, size, tries, trim", "mount is required and not set", `trim is "", which is neither true nor false`, "zzz is not known; known are loader, mount, size, tries, trim"}},
		"no keys":              {nil, map[string]string{"a": ""}, []string{"a is not known; this plugin has no settings"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range sdk.CheckSettings(test.keys, test.settings) {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
