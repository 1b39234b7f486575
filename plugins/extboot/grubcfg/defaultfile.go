package grubcfg

import (
	"fmt"
	"strings"
)

// defaultFileSize is more than one sector, so that no filesystem keeps the file
// within its inode, where its bytes would go through the journal.
const defaultFileSize = 1024

// FormatDefault gives the content of DefaultFile for the default id, "" for none.
// All that differs between two of them lies within the first sector, so that one
// overwritten with another is always one of the two.
func FormatDefault(id string) []byte {
	text := fmt.Sprintf("set %s=%s\nset %s=%s\n", VariableDefault, id, VariableEntries, id)
	return []byte(text + strings.Repeat("#", defaultFileSize-len(text)-1) + "\n")
}

// ParseDefault undoes FormatDefault.
func ParseDefault(data []byte) (id string, ok bool) {
	line, _, _ := strings.Cut(string(data), "\n")
	id, ok = strings.CutPrefix(line, "set "+VariableDefault+"=")
	if !ok || string(FormatDefault(id)) != string(data) {
		return "", false
	}
	return id, true
}
