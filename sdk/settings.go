package sdk

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// SettingProblem says what is wrong with one setting.
type SettingProblem struct {
	Key     string
	Problem string // a sentence without the key: "is not known; known are device and mount"
}

// String gives "Key Problem".
func (p SettingProblem) String() string { return p.Key + " " + p.Problem }

// CheckSettings compares settings with the keys that a plugin announced and
// gives all problems, sorted by key: unknown and missing settings, values that
// are not of the key's type, values that are not allowed. A required setting
// that is there may be empty only if its type and Allowed permit that.
//
// The host calls it to refuse a configuration by line and column, and Serve
// calls it again, so that a plugin's Configure never sees such settings.
func CheckSettings(keys []Key, settings map[string]string) []SettingProblem {
	var problems []SettingProblem
	add := func(key, format string, args ...any) {
		problems = append(problems, SettingProblem{Key: key, Problem: fmt.Sprintf(format, args...)})
	}
	known := make(map[string]Key, len(keys))
	for _, key := range keys {
		known[key.Name] = key
		if _, set := settings[key.Name]; key.Required && !set {
			add(key.Name, "is required and not set")
		}
	}
	for name, value := range settings {
		key, ok := known[name]
		if !ok {
			add(name, "is not known; %s", knownNames(keys))
			continue
		}
		if problem := checkValue(key, value); problem != "" {
			add(name, "%s", problem)
		}
	}
	slices.SortFunc(problems, func(a, b SettingProblem) int { return strings.Compare(a.Key, b.Key) })
	return problems
}

// checkValue says what is wrong with a value, "" for nothing. A KeyType of a
// later contract accepts every value: the plugin that announced it will judge.
func checkValue(key Key, value string) string {
	switch key.Type {
	case KeyInteger:
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			return fmt.Sprintf("is %q, which is not an integer of at most 64 bits", value)
		}
	case KeyBoolean:
		if value != "true" && value != "false" {
			return fmt.Sprintf("is %q, which is neither true nor false", value)
		}
	}
	if len(key.Allowed) > 0 && !slices.Contains(key.Allowed, value) {
		return fmt.Sprintf("is %q; allowed are %s", value, strings.Join(key.Allowed, ", "))
	}
	return ""
}

func knownNames(keys []Key) string {
	if len(keys) == 0 {
		return "this plugin has no settings"
	}
	names := make([]string, 0, len(keys))
	for _, key := range keys {
		names = append(names, key.Name)
	}
	slices.Sort(names)
	return "known are " + strings.Join(names, ", ")
}
