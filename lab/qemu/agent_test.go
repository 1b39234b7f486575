package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
)

// guestEnd is the other end of an agent's line.
type guestEnd struct {
	t    *testing.T
	link net.Conn
	read *bufio.Reader
}

func newGuest(t *testing.T) (*agent, *guestEnd) {
	t.Helper()
	ours, theirs := net.Pipe()
	a := newAgent(ours)
	t.Cleanup(func() { a.close(); theirs.Close() })
	return a, &guestEnd{t, theirs, bufio.NewReader(theirs)}
}

func (g *guestEnd) send(answer protocol.Answer) {
	line, err := json.Marshal(answer)
	if err != nil {
		g.t.Error(err)
	}
	g.sendText(string(line) + "\n")
}

func (g *guestEnd) sendText(text string) {
	if _, err := g.link.Write([]byte(text)); err != nil {
		g.t.Error(err)
	}
}

func (g *guestEnd) request() protocol.Request {
	line, err := g.read.ReadBytes('\n')
	if err != nil {
		g.t.Error(err)
	}
	var r protocol.Request
	if err := json.Unmarshal(line, &r); err != nil {
		g.t.Error(err)
	}
	return r
}

func TestAgentWaitsForHello(t *testing.T) {
	a, g := newGuest(t)
	waiting := a.hello() // somebody waits before the guest is there
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.run(ctx, "true", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a guest that has not said hello was spoken to: %v", err)
	}
	g.send(protocol.Answer{Hello: true})
	<-waiting
	go func() {
		r := g.request()
		g.sendText("no JSON\n")
		g.send(protocol.Answer{ID: r.ID + 100, Stdout: "another's"})
		g.send(protocol.Answer{ID: r.ID, Stdout: r.Command, Exit: 3})
	}()
	answer, err := a.run(t.Context(), "echo", nil)
	if err != nil || answer.Exit != 3 || answer.Stdout != "echo" {
		t.Errorf("the answer is %+v, %v", answer, err)
	}
}

func TestResetEndsRequests(t *testing.T) {
	for _, how := range []string{"noticed", "by the next hello"} {
		t.Run(how, func(t *testing.T) {
			a, g := newGuest(t)
			first := a.hello()
			g.send(protocol.Answer{Hello: true})
			<-first
			failed := make(chan error)
			go func() {
				_, err := a.run(t.Context(), "sleep", nil)
				failed <- err
			}()
			g.request()
			if how == "noticed" {
				a.forget()
			} else {
				g.send(protocol.Answer{Hello: true})
			}
			if err := <-failed; !errors.Is(err, ErrReset) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
