package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
)

// ErrReset is the error of a request whose answer the guest's end has cut off.
var ErrReset = errors.New("the guest was reset meanwhile")

// agent is the lab's end of the line to the agent in the guest.
type agent struct {
	link net.Conn

	mu      sync.Mutex
	up      chan struct{} // closed when the guest has said hello
	reset   chan struct{} // closed when it went
	waiting map[int]chan protocol.Answer
	last    int
}

func newAgent(link net.Conn) *agent {
	a := &agent{link: link, up: make(chan struct{}), reset: make(chan struct{}), waiting: map[int]chan protocol.Answer{}}
	go a.read()
	return a
}

// read hands answers to who waits for them. A line that a reset cut in two is no JSON, and
// nobody waits for it any more.
func (a *agent) read() {
	lines := bufio.NewReader(a.link)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var answer protocol.Answer
		if json.Unmarshal(line, &answer) != nil {
			continue
		}
		a.take(answer)
	}
}

func (a *agent) take(answer protocol.Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if answer.Hello {
		// A hello ends what was before: a reset may be noticed later than this.
		a.newLife()
		close(a.up)
		return
	}
	if waiter, ok := a.waiting[answer.ID]; ok {
		delete(a.waiting, answer.ID)
		waiter <- answer
	}
}

// forget says that the guest is gone.
func (a *agent) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.newLife()
}

// newLife cuts off what was asked, and begins to wait for a hello. mu is held.
func (a *agent) newLife() {
	close(a.reset)
	a.reset = make(chan struct{})
	select {
	case <-a.up:
		a.up = make(chan struct{})
	default: // nobody has said hello yet: who waits for that, waits on
	}
	a.waiting = map[int]chan protocol.Answer{}
}

func (a *agent) hello() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.up
}

// run sends a command to a guest that has said hello, and waits for its answer.
func (a *agent) run(ctx context.Context, command string, ended <-chan struct{}) (protocol.Answer, error) {
	select {
	case <-a.hello():
	case <-ctx.Done():
		return protocol.Answer{}, ctx.Err()
	case <-ended:
		return protocol.Answer{}, ErrOff
	}
	a.mu.Lock()
	a.last++
	request := protocol.Request{ID: a.last, Command: command}
	answer, reset := make(chan protocol.Answer, 1), a.reset
	a.waiting[request.ID] = answer
	a.mu.Unlock()

	line, err := json.Marshal(request)
	if err != nil {
		return protocol.Answer{}, err
	}
	if _, err := a.link.Write(append(line, '\n')); err != nil {
		return protocol.Answer{}, fmt.Errorf("%w: %w", ErrOff, err)
	}
	select {
	case got := <-answer:
		return got, nil
	case <-reset:
		return protocol.Answer{}, ErrReset
	case <-ended:
		return protocol.Answer{}, ErrOff
	case <-ctx.Done():
		return protocol.Answer{}, ctx.Err()
	}
}

func (a *agent) close() { a.link.Close() }
