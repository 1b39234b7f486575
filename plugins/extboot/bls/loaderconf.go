package bls

import "strings"

// defaults gives every default that a loader.conf names, in order.
func defaults(config string) []string {
	var patterns []string
	for line := range strings.Lines(config) {
		if key, value, ok := cutLine(strings.TrimRight(line, "\r\n")); ok && key == "default" {
			patterns = append(patterns, value)
		}
	}
	return patterns
}

// Default gives what loader.conf says the default is, "" for nothing: the last word
// counts.
func Default(config string) string {
	if patterns := defaults(config); len(patterns) > 0 {
		return patterns[len(patterns)-1]
	}
	return ""
}

// SetDefault gives a loader.conf whose only default is the pattern; lines that said
// something else become comments, everything else stays.
func SetDefault(config, pattern string) string {
	if patterns := defaults(config); len(patterns) == 1 && patterns[0] == pattern {
		return config
	}
	var text strings.Builder
	for line := range strings.Lines(config) {
		if len(defaults(line)) > 0 {
			text.WriteString("# before tbupdate: ")
		}
		text.WriteString(line)
		if !strings.HasSuffix(line, "\n") {
			text.WriteString("\n")
		}
	}
	return text.String() + "default " + pattern + "\n"
}
