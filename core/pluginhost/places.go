package pluginhost

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// StandardDirectories are where plugins are when nobody says otherwise: those of the
// installation that this program belongs to, and those of the system.
func StandardDirectories() []string {
	var directories []string
	if self, err := os.Executable(); err == nil {
		bin := filepath.Dir(self)
		directories = append(directories, filepath.Join(bin, "plugins"), filepath.Join(filepath.Dir(bin), "lib/tbupdate/plugins"))
	}
	for _, standard := range []string{"/usr/lib/tbupdate/plugins", "/usr/local/lib/tbupdate/plugins"} {
		if len(directories) < 2 || directories[1] != standard {
			directories = append(directories, standard)
		}
	}
	return directories
}

// RunDirectory makes the directory, below one of the programs that use plugins, in which
// every process of a plugin has its sockets and mounts, so that one can clear up after
// another that was killed.
func RunDirectory(below string, kind sdk.Kind, name string) (string, error) {
	directory := filepath.Join(below, string(kind)+"-"+filepath.Base(name))
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return "", fmt.Errorf("cannot make a place for sockets and mounts: %w", err)
	}
	return directory, nil
}
