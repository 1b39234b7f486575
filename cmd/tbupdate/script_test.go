package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trebuchet-update/tbupdate/core/delta"
)

// TestScripts runs the user stories in testdata/script, each on disks of its own.
// They have these commands beside those of testscript:
//
//	system DIR VERSION KERNEL   write a small root filesystem
//	delta FILE OLD NEW          write a tbdiff stream
//	keys NAME                   write NAME.key and NAME.pub
//	bundle FILE KEY VERSION NEW [OLD…] [-] [updater=V]   write a bundle for the product gateway, hardware a,
//	                            with deltas from OLD, and with the whole tree unless "-" says so
//	machine DIR [fs=SIZE] [boot=SIZE]   make disks, install DIR, write config.toml and cmdline
//	power-on                    start as GRUB would: uses up a trial, writes cmdline
//	layout                      print the subvolumes
//	fill fs|boot LEAVE          fill a disk until so many bytes are left
//	unfill fs|boot              undo that
//	mount-boot [OPTION]         keep /boot mounted at $BOOT
//	unmount-boot                undo that
//	mount-volume                keep the volume's top level mounted at $VOLUME
//	unmount-volume              undo that
//	rot PATH                    have the disk lose a block of a file of the volume
//	capture VAR REGEX           take the first group out of the last output
//	append FILE TEXT            add a line to a file
//	install MODE FILE TARGET    copy a file, with this mode whatever the umask
//	json MEMBER…                the last output is one JSON object with these members
//	serve                       serve the files over http at $WEB; below /half only the first half of each
func TestScripts(t *testing.T) {
	plugins := buildPlugins(t)
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			runScript(t, file, plugins)
		})
	}
}

// runScript runs one script with a machine of its own.
func runScript(t *testing.T, file, plugins string) {
	machine := &testMachine{t: t, plugins: plugins}
	testscript.RunT(inPlace{t}, testscript.Params{
		Files: []string{file},
		Setup: func(env *testscript.Env) error {
			machine.work = env.WorkDir
			env.Setenv("PLUGINS", plugins)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"system": func(ts *testscript.TestScript, _ bool, a []string) { makeSystem(t, ts.MkAbs(a[0]), a[1], a[2]) },
			"delta": func(ts *testscript.TestScript, _ bool, a []string) {
				ts.Check(writeDelta(ts.MkAbs(a[0]), ts.MkAbs(a[1]), ts.MkAbs(a[2])))
			},
			"keys": func(ts *testscript.TestScript, _ bool, a []string) { ts.Check(writeKeys(ts.MkAbs(a[0]))) },
			"bundle": func(ts *testscript.TestScript, _ bool, a []string) {
				target, origins, whole, updater := ts.MkAbs(a[3]), []string{}, true, ""
				for _, word := range a[4:] {
					if v, ok := strings.CutPrefix(word, "updater="); ok {
						updater = v
					} else if word == "-" {
						whole = false
					} else {
						origins = append(origins, ts.MkAbs(word))
					}
				}
				if whole {
					origins = append(origins, "")
				}
				ts.Check(writeBundle(ts.MkAbs(a[0]), ts.MkAbs(a[1]), a[2], target, origins, updater))
			},
			"machine":  func(ts *testscript.TestScript, _ bool, a []string) { machine.set(ts, a) },
			"power-on": func(*testscript.TestScript, bool, []string) { machine.powerOn() },
			"layout": func(ts *testscript.TestScript, _ bool, _ []string) {
				_, err := fmt.Fprint(ts.Stdout(), machine.layout())
				ts.Check(err)
			},
			"fill": func(ts *testscript.TestScript, _ bool, a []string) {
				leave, err := strconv.ParseUint(a[1], 10, 64)
				ts.Check(err)
				machine.with(a[0], func(top string) { machine.fill(top, leave) })
			},
			"unfill": func(ts *testscript.TestScript, _ bool, a []string) {
				machine.with(a[0], func(top string) { ts.Check(os.Remove(top + "/filler")) })
			},
			"mount-boot": func(ts *testscript.TestScript, _ bool, a []string) {
				top := machine.boot.Mount(t, a...)
				ts.Setenv("BOOT", top)
			},
			"unmount-boot": func(ts *testscript.TestScript, _ bool, _ []string) { machine.boot.Unmount(t, ts.Getenv("BOOT")) },
			"mount-volume": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Setenv("VOLUME", machine.fs.Mount(t, "subvolid=5"))
			},
			"unmount-volume": func(ts *testscript.TestScript, _ bool, _ []string) { machine.fs.Unmount(t, ts.Getenv("VOLUME")) },
			"rot":            func(_ *testscript.TestScript, _ bool, a []string) { machine.fs.LoseBlock(t, a[0], "subvolid=5") },
			"install":        func(ts *testscript.TestScript, _ bool, a []string) { installFile(ts, a[0], a[1], a[2]) },
			"json":           func(ts *testscript.TestScript, _ bool, a []string) { checkObject(ts, a) },
			"serve":          func(ts *testscript.TestScript, _ bool, _ []string) { serve(t, ts) },
			"capture":        func(ts *testscript.TestScript, _ bool, a []string) { capture(ts, a[0], a[1]) },
			"append": func(ts *testscript.TestScript, _ bool, a []string) {
				f, err := os.OpenFile(ts.MkAbs(a[0]), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
				ts.Check(err)
				defer f.Close()
				_, err = fmt.Fprintln(f, a[1])
				ts.Check(err)
			},
		},
	})
}

// inPlace runs a script in the goroutine of the test that it is given, so that its
// commands may fail that test.
type inPlace struct{ *testing.T }

func (p inPlace) Run(_ string, script func(testscript.T)) { script(p) }
func (inPlace) Parallel()                                 {}
func (inPlace) Verbose() bool                             { return testing.Verbose() }

// with mounts one of the disks, fs or boot, for the length of act.
func (m *testMachine) with(disk string, act func(top string)) {
	if disk == "boot" {
		m.withBoot(act)
		return
	}
	m.withVolume(act)
}

// set makes the disks and the configuration that goes with them.
func (m *testMachine) set(ts *testscript.TestScript, arguments []string) {
	for _, option := range arguments[1:] {
		name, value, _ := strings.Cut(option, "=")
		size, err := strconv.ParseInt(value, 10, 64)
		ts.Check(err)
		switch name {
		case "fs":
			m.volumeSize = size
		case "boot":
			m.bootSize = size
		default:
			ts.Fatalf("unknown option %s", option)
		}
	}
	m.install(ts.MkAbs(arguments[0]))
	ts.Setenv("FS_DEVICE", m.fs.Path)
	ts.Setenv("BOOT_DEVICE", m.boot.Path)
	m.write(m.work+"/config.toml", m.config())
}

// capture sets an environment variable to what the first group of the expression
// matches in the last standard output.
func capture(ts *testscript.TestScript, name, expression string) {
	match := regexp.MustCompile("(?m)" + expression).FindStringSubmatch(ts.ReadFile("stdout"))
	if match == nil {
		ts.Fatalf("no match for %s", expression)
	}
	ts.Setenv(name, match[1])
}

// installFile copies a file, with a mode in octal.
func installFile(ts *testscript.TestScript, mode, from, to string) {
	bits, err := strconv.ParseUint(mode, 8, 32)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(to), []byte(ts.ReadFile(from)), 0o600))
	ts.Check(os.Chmod(ts.MkAbs(to), os.FileMode(bits)))
}

// checkObject fails unless the last standard output is one JSON object with these
// members.
func checkObject(ts *testscript.TestScript, members []string) {
	decoder := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	var object map[string]any
	ts.Check(decoder.Decode(&object))
	if decoder.More() {
		ts.Fatalf("more than one object was printed")
	}
	for _, member := range members {
		if _, ok := object[member]; !ok {
			ts.Fatalf("the object lacks %q", member)
		}
	}
}

// serve serves the files of the script.
func serve(t *testing.T, ts *testscript.TestScript) {
	directory := ts.MkAbs(".")
	files := http.FileServer(http.Dir(directory))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, half := strings.CutPrefix(r.URL.Path, "/half/")
		if !half {
			files.ServeHTTP(w, r)
			return
		}
		content, err := os.ReadFile(filepath.Join(directory, name))
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content[:len(content)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(server.Close)
	ts.Setenv("WEB", server.URL)
}

func writeDelta(path, origin, target string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := delta.Create(context.Background(), f, origin, target, delta.Options{}); err != nil {
		return err
	}
	return f.Close()
}
