package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// Settings gives the values of [TABLE.config] in the form that a plugin takes,
// after holding them against the keys that the plugin announced. table is "fs" or
// "boot". Errors are *Error.
func (c *Config) Settings(table string, known []sdk.Key) (map[string]string, error) {
	backend := c.FS
	if table == "boot" {
		backend = c.Boot.Backend
	}
	settings := map[string]string{}
	for _, name := range sortedKeys(backend.Config) {
		key := table + ".config." + name
		i := slices.IndexFunc(known, func(k sdk.Key) bool { return k.Name == name })
		if i < 0 {
			return nil, c.at(key, fmt.Sprintf("unknown key %q; the %s plugin %q allows: %s", key, table, backend.Plugin, keyNames(known)))
		}
		text, err := settingText(known[i], backend.Config[name])
		if err != nil {
			return nil, c.at(key, fmt.Sprintf("%s %v", key, err))
		}
		settings[name] = text
	}
	for _, k := range known {
		if _, set := settings[k.Name]; k.Required && !set {
			return nil, c.at(table, fmt.Sprintf("[%s.config] needs the key %q: %s", table, k.Name, k.Help))
		}
	}
	return settings, nil
}

// settingText checks one value against its key and writes it as sdk.Setup wants
// it.
func settingText(key sdk.Key, value any) (string, error) {
	var text string
	switch v := value.(type) {
	case string:
		if key.Type != sdk.KeyString {
			return "", fmt.Errorf("is a string; it must be of the type %s", key.Type)
		}
		text = v
	case int64:
		if key.Type != sdk.KeyInteger {
			return "", fmt.Errorf("is an integer; it must be of the type %s", key.Type)
		}
		text = strconv.FormatInt(v, 10)
	case bool:
		if key.Type != sdk.KeyBoolean {
			return "", fmt.Errorf("is a boolean; it must be of the type %s", key.Type)
		}
		text = strconv.FormatBool(v)
	default:
		return "", fmt.Errorf("must be of the type %s", key.Type)
	}
	if len(key.Allowed) > 0 && !slices.Contains(key.Allowed, text) {
		return "", fmt.Errorf("is %q; allowed are %s", text, strings.Join(key.Allowed, ", "))
	}
	return text, nil
}

func keyNames(keys []sdk.Key) string {
	if len(keys) == 0 {
		return "none"
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.Name
	}
	return strings.Join(names, ", ")
}

func sortedKeys(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// position is where a key stands in the file, both counted from 1.
type position struct{ line, column int }

// findPositions notes where each table and key of a document that is known to be
// well-formed stands, by dotted name. (The decoder reports positions only for what
// it refuses itself.)
func findPositions(document []byte) map[string]position {
	positions := map[string]position{}
	var parser unstable.Parser
	parser.Reset(document)
	var table []string
	for parser.NextExpression() {
		expression := parser.Expression()
		var parts []string
		var first position
		for keys := expression.Key(); keys.Next(); {
			node := keys.Node()
			if len(parts) == 0 {
				start := parser.Shape(node.Raw).Start
				first = position{line: start.Line, column: start.Column}
			}
			parts = append(parts, string(node.Data))
		}
		name := parts
		switch expression.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = parts
		case unstable.KeyValue:
			name = append(slices.Clone(table), parts...)
		}
		positions[strings.Join(name, ".")] = first
	}
	return positions
}
