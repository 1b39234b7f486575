package qemu

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// monitor is a connection to QEMU's control protocol (QMP: docs/interop/qmp-spec of
// QEMU), as far as the lab needs it: commands without arguments, and the names of
// events.
type monitor struct {
	link    net.Conn
	answers chan error
}

// message is whatever QEMU sends: greeting, answer or event.
type message struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
}

// newMonitor takes the greeting and leaves the negotiation mode. heard gets the name of each
// event.
func newMonitor(link net.Conn, heard func(event string)) (*monitor, error) {
	m := &monitor{link: link, answers: make(chan error, 1)}
	go m.read(heard)
	return m, m.execute("qmp_capabilities")
}

func (m *monitor) read(heard func(event string)) {
	defer close(m.answers)
	lines := bufio.NewReader(m.link)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var got message
		if err := json.Unmarshal(line, &got); err != nil {
			continue
		}
		switch {
		case got.Event != "":
			heard(got.Event)
		case got.Error != nil:
			m.answers <- fmt.Errorf("%s: %s", got.Error.Class, got.Error.Desc)
		case got.Return != nil:
			m.answers <- nil
		}
	}
}

// execute runs a command and waits for its answer.
func (m *monitor) execute(command string) error {
	request, err := json.Marshal(map[string]string{"execute": command})
	if err != nil {
		return err
	}
	if _, err := m.link.Write(append(request, '\n')); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	select {
	case err, open := <-m.answers:
		if !open {
			return fmt.Errorf("%s: %w", command, ErrOff)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		return nil
	case <-time.After(startTimeout):
		return errors.New(command + ": QEMU does not answer")
	}
}

func (m *monitor) close() { m.link.Close() }
