package arm64tree

import (
	"debug/elf"
	"fmt"
	"strings"
)

// moduleDependencies reads what a kernel module says that it needs: the field
// "depends" of the section that modinfo(8) shows.
func moduleDependencies(path string) ([]string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read module %s: %w", path, err)
	}
	defer file.Close()
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("cannot read module %s: it has no .modinfo", path)
	}
	data, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("cannot read module %s: %w", path, err)
	}
	for field := range strings.SplitSeq(string(data), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}

// loaded is what the kernel and the dynamic linker load for a program: its
// interpreter's path, empty for a static program, and the names of libraries.
func loaded(path string) (interpreter string, libraries []string, err error) {
	file, err := elf.Open(path)
	if err != nil {
		return "", nil, fmt.Errorf("cannot read program %s: %w", path, err)
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, segment.Filesz)
		if _, err := segment.ReadAt(name, 0); err != nil {
			return "", nil, fmt.Errorf("cannot read program %s: %w", path, err)
		}
		interpreter = strings.TrimRight(string(name), "\x00")
	}
	libraries, err = file.ImportedLibraries()
	if err != nil {
		return "", nil, fmt.Errorf("cannot read program %s: %w", path, err)
	}
	return interpreter, libraries, nil
}
