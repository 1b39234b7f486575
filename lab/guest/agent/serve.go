package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
)

// serve says that the system is up, starts what comes after that, and then runs what it
// is asked to, several commands at a time if need be.
func serve(after func()) error {
	port, err := openPort()
	if err != nil {
		return err
	}
	defer port.Close()
	var mu sync.Mutex // one answer a line
	answer := func(a protocol.Answer) {
		line, err := json.Marshal(a)
		if err != nil {
			say(protocol.Trouble, "agent: %v", err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if _, err := port.Write(append(line, '\n')); err != nil {
			say(protocol.Trouble, "agent: %v", err)
		}
	}
	say(protocol.Up, "%s", describe())
	answer(protocol.Answer{Hello: true})
	go after()
	requests := bufio.NewReader(port)
	for {
		line, err := requests.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("cannot read a request: %w", err)
		}
		var request protocol.Request
		if err := json.Unmarshal(line, &request); err != nil {
			say(protocol.Trouble, "agent: cannot parse a request: %v", err)
			continue
		}
		go func() { answer(execute(request)) }()
	}
}

// openPort finds the port by its name, which without udev is only in /sys.
func openPort() (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err == nil && strings.TrimSpace(string(content)) == protocol.Port {
			return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(name)), os.O_RDWR, 0)
		}
	}
	return nil, errors.New("there is no port " + protocol.Port)
}

func execute(request protocol.Request) protocol.Answer {
	command := exec.Command("/bin/sh", "-c", request.Command)
	command.Env = append(os.Environ(), path)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	result := protocol.Answer{ID: request.ID, Stdout: stdout.String(), Stderr: stderr.String()}
	if err == nil {
		return result
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		result.Exit, result.Stderr = 127, result.Stderr+err.Error()
		return result
	}
	result.Exit = exit.ExitCode()
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		result.Exit = 128 + int(status.Signal())
	}
	return result
}

// describe says what runs.
func describe() string {
	return fmt.Sprintf("version=%s kernel=%s trial=%s uptime=%s",
		imageVersion(), first("/proc/sys/kernel/osrelease"), trial(), first("/proc/uptime"))
}

// first gives the first word of a file.
func first(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return "?"
	}
	return strings.Fields(string(content) + " ?")[0]
}

func imageVersion() string {
	content, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "?"
	}
	for line := range strings.Lines(string(content)) {
		if version, ok := strings.CutPrefix(strings.TrimSpace(line), "IMAGE_VERSION="); ok {
			return strings.Trim(version, `"`)
		}
	}
	return "?"
}

func trial() string {
	content, err := os.ReadFile("/proc/cmdline")
	if err == nil && strings.Contains(" "+string(content), " tbupdate.trial=1") {
		return "1"
	}
	return "0"
}
